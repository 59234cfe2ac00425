from __future__ import annotations

import numpy as np
import pytest

from mutualnet3d.deploy.heat_overlay import draw_heat, heat_colours


def lightness(colours_N3):
    """Return CIE L* of sRGB colours, 0 to 100, by its definition."""
    value = colours_N3 / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(luminance > (6 / 29) ** 3, 116 * np.cbrt(luminance) - 16, luminance * (29 / 3) ** 3)


def test_equal_steps_of_the_value_are_equal_steps_of_lightness():
    levels = lightness(heat_colours().astype(float))
    assert heat_colours().shape == (256, 3)
    assert np.diff(levels).min() > 0
    assert np.abs(levels - np.linspace(levels[0], levels[-1], 256)).max() < 6
    assert levels[-1] - levels[0] > 95


def test_the_picture_stays_where_nothing_counts_and_glows_where_it_does():
    picture_HWC = np.full((40, 80, 3), 90, np.uint8)
    map_SS = np.zeros((4, 4), np.float32)
    map_SS[:2, :2] = 1.0
    drawn = draw_heat(picture_HWC, map_SS, (0.0, 0.25, 1.0, 0.75))
    assert (drawn[:, :20] == 90).all()
    assert (drawn[:, 60:] == 90).all()
    assert (drawn[30:39, 21:59] == 90).all()
    expected = np.rint(90 + 0.7 * (np.array([252, 255, 164]) - 90))
    assert np.abs(drawn[1:14, 21:34].astype(float) - expected).max() <= 1
    outline = drawn[35:39, 20].astype(int)
    assert (outline > 130).all()  # where no heat is
    assert (picture_HWC == 90).all()
    np.testing.assert_array_equal(draw_heat(picture_HWC, np.zeros((3, 3))), picture_HWC)
    assert draw_heat(np.full((2, 5, 3), 90, np.uint8), map_SS, (0.0, 0.99, 1.0, 1.0)).shape == (2, 5, 3)


def test_what_is_no_picture_or_no_map_is_refused():
    with pytest.raises(ValueError, match=r"a picture is uint8 \(H, W, 3\), RGB; got float64 \(4, 4, 3\)"):
        draw_heat(np.zeros((4, 4, 3)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"a map is float \(S, S\), 0 to 1; got uint8 \(2, 2\)"):
        draw_heat(np.zeros((4, 4, 3), np.uint8), np.zeros((2, 2), np.uint8))

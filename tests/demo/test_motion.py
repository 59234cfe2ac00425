from __future__ import annotations

import numpy as np
import pytest

from mutualnet3d.demo.motion import CLASS_NAMES, draw_main_path
from mutualnet3d.demo.style import DEFAULT_STYLE

FPS = 24


def test_single_frames_have_the_same_distribution_in_all_classes() -> None:
    clips, picks = 1500, np.random.default_rng(0)
    values = np.empty((len(CLASS_NAMES), clips, 6))
    for label in range(len(CLASS_NAMES)):
        for clip in range(clips):
            path = draw_main_path(label, np.random.default_rng((label, clip)), 48, 4 / 3, FPS, DEFAULT_STYLE)
            t = picks.integers(48)
            x, y, size, angle = path.x_T[t], path.y_T[t], np.log(path.radius_T[t]), path.angle_T[t]
            values[label, clip] = x, y, abs(x), abs(y), size, np.cos(angle)
    spread, centre = values.std((0, 1)), values.mean((0, 1))
    assert (np.abs(values.mean(1) - centre) < 4.5 * spread / np.sqrt(clips)).all()
    assert (np.abs(values.std(1) / spread - 1) < 0.1).all()
    # The centre is within the frame (half sides 0.667 and 0.5) but for the ends of a few of the fastest paths.
    assert (np.abs(values[..., 0]) < 0.667).mean() > 0.99
    assert (np.abs(values[..., 1]) < 0.5).mean() > 0.96


@pytest.mark.parametrize("seconds", [2, 3, 10])
def test_travel_and_growth_keep_to_their_limits_however_long_the_clip(seconds: int) -> None:
    for seed in range(20):
        right = draw_main_path(
            CLASS_NAMES.index("move_right"), np.random.default_rng(seed), seconds * FPS, 4 / 3, FPS, DEFAULT_STYLE
        )
        steps = np.diff(right.x_T)
        assert (steps > 0).all()
        assert np.ptp(right.x_T) < DEFAULT_STYLE.max_travel_heights
        assert seconds > 2 or steps.mean() * FPS >= DEFAULT_STYLE.speed_heights_per_s[0]
        shrink = draw_main_path(
            CLASS_NAMES.index("shrink"), np.random.default_rng(seed), seconds * FPS, 4 / 3, FPS, DEFAULT_STYLE
        )
        assert (np.diff(shrink.radius_T) < 0).all()
        assert shrink.radius_T[0] / shrink.radius_T[-1] < DEFAULT_STYLE.max_growth

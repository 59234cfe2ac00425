from __future__ import annotations

from fractions import Fraction

import pytest

from mutualnet3d.video.frame_rate import believable_rates, check_fps, choose_frame_rate, rate_fraction

MS = Fraction(1, 1000)


def test_rates_that_cannot_be_are_not_believed():
    rates = [None, Fraction(0), Fraction(90000), Fraction(24000, 1001), Fraction(1, 20), Fraction(25)]
    assert believable_rates(rates) == [24000 / 1001, 25.0]


@pytest.mark.parametrize(
    ("header", "timestamps", "time_base", "fps"),
    [
        ([24.0], None, MS, 24.0),  # no times: the header's
        ([], None, MS, None),
        ([25.0, 24.0], [0, 41, 83, 125], MS, 24.0),  # rounded times: the header's rate that agrees
        ([30.0], [0, 41, 83, 125], MS, 24.0),  # none agrees: as measured
        ([30.0], [7], MS, 30.0),
        ([30.0], [0, 40], None, 30.0),
        ([30.0], [0, 20_000], MS, 30.0),  # measured 0.05: not believed
        ([], [0, 20_000], MS, None),
    ],
)
def test_the_measured_rate_or_the_headers(header, timestamps, time_base, fps):
    assert choose_frame_rate(header, timestamps, time_base) == fps


def test_rates_as_containers_write_them():
    assert rate_fraction(29.97002997) == Fraction(30000, 1001)
    assert rate_fraction(12.5) == Fraction(25, 2)
    assert rate_fraction(None) == 30


@pytest.mark.parametrize("fps", [0, -1.0, float("nan"), float("inf"), "24", True])
def test_rates_that_are_none_are_refused(fps):
    with pytest.raises(ValueError, match=r"fps is .*; it must be a number above 0, frames per second"):
        check_fps(fps)


def test_rates_of_users():
    assert check_fps(None) is None
    assert isinstance(check_fps(24), float)

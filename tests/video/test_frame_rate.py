from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mutualnet3d.video.frame_rate import believable_rates, check_fps, choose_frame_rate, rate_fraction
from mutualnet3d.video.frame_times import are_even, typical_distances

MS = Fraction(1, 1000)


def test_rates_that_cannot_be_are_not_believed():
    rates = [None, Fraction(0), Fraction(90000), Fraction(24000, 1001), Fraction(1, 20), Fraction(25)]
    assert believable_rates(rates) == [24000 / 1001, 25.0]


@pytest.mark.parametrize(
    ("header", "times", "time_base", "fps"),
    [
        ([24.0], None, MS, 24.0),  # no times: the header's
        ([], None, MS, None),
        ([25.0, 24.0], [0, 41, 83, 125], MS, 24.0),  # rounded times: the header's rate that agrees
        ([30.0], [0, 41, 83, 125], MS, 24.0),  # none agrees: as measured
        ([30.0], [7], MS, 30.0),
        ([30.0], [0, 40], None, 30.0),
        ([30.0], [0, 20_000], MS, 30.0),  # measured 0.05: not believed
        ([], [0, 20_000], MS, None),
        ([600.0, 30.0], [0, 33, 67, 100, 133, 167], MS, 30.0),  # the nearest that agrees
        ([30.1, 29.9, 30.0], [0, 100, 200, 300], Fraction(1, 3000), 30.0),
        ([3.9], [0, 40, 80, 120, 20_120, 20_160, 20_200], MS, 25.0),  # a pause
        ([1.41, 30.0], [*(round(100 * index / 3) for index in range(89)), 63_000], MS, 30.0),  # an outlying timestamp
        ([], [0, 33, 67, 100, 20_000, 20_033, 20_067, 20_100], MS, 30.0),  # rounded times about a pause
        ([], [0, 40, 80, 160, 200, 240, 400, 440, 480], MS, 25.0),  # lost frames
    ],
)
def test_the_measured_rate_or_the_headers(header, times, time_base, fps):
    distances = None
    if times is not None:
        distances = np.diff(np.array(times, float))
        if time_base and distances.size and not are_even(distances, time_base):
            distances = typical_distances(distances)
    assert choose_frame_rate(header, distances, time_base) == (fps and pytest.approx(fps, rel=1e-12))


@pytest.mark.parametrize(
    ("header", "mean_rate", "fps"),
    [
        ([30.0, 600.0], 30.0, 30.0),
        ([600.0, 30.0], 30.0, 30.0),
        ([30.0, 29.0], 28.6, 29.0),  # some of the frames that the header promises are none
        ([600.0], 30.0, 30.0),
        ([25.0], 5000.0, 25.0),  # not believed
        ([], 24.0, 24.0),
        ([], None, None),
    ],
)
def test_without_times_frames_over_duration(header, mean_rate, fps):
    assert choose_frame_rate(header, None, None, mean_rate) == fps


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

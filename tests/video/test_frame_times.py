from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mutualnet3d.video.frame_times import (
    LONGEST_PAUSE,
    are_even,
    frame_distances,
    frame_times,
    times_of_showing,
    typical_distances,
)

MS = Fraction(1, 1000)


def rounded(fps: float, num_frames: int, unit: Fraction, round_=np.round) -> list[int]:
    return [int(round_(index / fps / float(unit))) for index in range(num_frames)]


def test_distances():
    assert frame_distances([5, 45, 85, 20_085], MS).tolist() == [40, 40, 20_000]
    assert frame_distances([5, 45, 85], MS).tolist() == [40, 40]
    assert frame_distances([0, 1, 2, 2**62], MS).tolist() == [1, 1, 1]
    assert frame_distances([5, None, 85], MS) is None
    assert frame_distances([5, 45, 45], MS) is None
    assert frame_distances([5, 45, 44], MS) is None


def test_a_pause_that_cannot_be_is_damage():
    longest = int(LONGEST_PAUSE * 1000)
    assert frame_distances([0, 40, 80, 80 + longest], MS).tolist() == [40, 40, longest]
    assert frame_distances([0, 40, 80, 81 + longest], MS).tolist() == [40, 40, 40]
    assert frame_distances([-(2**63), 0, 40, 80, 120], MS).tolist() == [40] * 4  # a difference beyond int64


@pytest.mark.parametrize("round_", [np.round, np.floor, np.ceil])
@pytest.mark.parametrize("fps", [5.0, 23.976, 24.0, 29.97, 30.0, 59.94, 120.0])
def test_rounded_times_are_even(fps, round_):
    for unit in (MS, Fraction(1, 90_000), Fraction(1, 600)):
        distances = np.diff(rounded(fps, 1000, unit, round_)).astype(float)
        assert are_even(distances, unit)
    # milliseconds that were copied into a container of finer units
    distances = 90 * np.diff(rounded(fps, 1000, MS, round_)).astype(float)
    assert are_even(distances, Fraction(1, 90_000))


@pytest.mark.parametrize("unit", [Fraction(1, 30), Fraction(1, 600), Fraction(1, 90_000)])
@pytest.mark.parametrize("place", [3, 100, 297])
def test_a_pause_or_two_lost_frames_are_seen_in_any_unit(unit, place):
    step = 1 / 30 / float(unit)
    for factor in (3, 30):
        distances = np.full(300, step)
        distances[place] *= factor
        assert not are_even(distances, unit)
        times = frame_times(distances, unit)
        assert len(times) == 301
        assert times[0] == 0.0
        assert times[place] == pytest.approx(place / 30)
        assert times[place + 1] == pytest.approx((place + factor) / 30)
        assert typical_distances(distances).tolist() == [step] * 299


@pytest.mark.parametrize(
    ("times", "depth", "expected"),
    [
        ([0, 1, 2, 5, 6], 0, [0, 1, 2, 5, 6]),
        ([0, 1, 2, 5, 6], 1, [1, 2, 5, 6, 7]),
        ([0, 1, 2, 5, 7], 2, [2, 5, 7, 9, 11]),
        ([0, 1], 2, [0, 1]),  # too few to tell
        ([0, None, 2, 5], 1, [0, None, 2, 5]),
    ],
)
def test_frames_are_shown_when_later_packets_are_decoded(times, depth, expected):
    assert times_of_showing(times, depth) == expected

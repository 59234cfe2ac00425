"""Times of a video's frames: their distances, and whether they are evenly spaced. Arithmetic only."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from operator import ge

import numpy as np

# A longer pause between two frames is taken for a damaged timestamp, seconds.
LONGEST_PAUSE = 60.0

# Containers round timestamps to this, and copies into other containers keep the rounded ones, seconds.
ROUNDING = 1e-3


def times_of_showing(decoding_times: Sequence[int | None], reorder_depth: int) -> list[int | None]:
    """Return the times at which frames are shown whose times of decoding alone are known, but for a constant.

    The frames are shown in order, each when the packet is decoded that comes `reorder_depth` later. Past the end the
    last distance goes on.
    """
    times = [time for time in decoding_times if time is not None]
    if len(times) < len(decoding_times) or len(times) < reorder_depth + 2:
        return list(decoding_times)
    last, distance = times[-1], times[-1] - times[-2]
    return [*times[reorder_depth:], *(last + distance * (number + 1) for number in range(reorder_depth))]


def frame_distances(timestamps: Sequence[int | None], time_base: Fraction) -> np.ndarray | None:
    """Return the distances between frames, float64, in units of `time_base`; the median instead of too long ones.

    Args:
        timestamps: times of the frames, at least two, in units of `time_base`.
        time_base: seconds of a unit.

    Returns:
        The distances; None: the timestamps do not ascend, or one is missing.
    """
    first, second, last = timestamps[0], timestamps[1], timestamps[-1]
    if first is not None and second is not None and last is not None and first < second:
        step, num_steps = second - first, len(timestamps) - 1
        # The usual case, quickly.
        if last - first == step * num_steps and timestamps == list(range(first, last + 1, step)):
            return np.full(num_steps, float(step))
    times = [time for time in timestamps if time is not None]
    if len(times) < len(timestamps) or any(map(ge, times, islice(times, 1, None))):
        return None
    # Damaged files have timestamps at both ends of int64, whose difference fits uint64 alone.
    distances = np.diff(np.asarray(times, np.int64).view(np.uint64)).astype(np.float64)
    is_damage = distances > LONGEST_PAUSE / float(time_base)
    return np.where(is_damage, np.median(distances), distances) if is_damage.any() else distances


def typical_distances(distances: np.ndarray) -> np.ndarray:
    """Return the distances about the median: pauses and lost frames are not among them."""
    median = np.median(distances)
    return distances[np.abs(distances - median) <= 0.5 * median]


def are_even(distances: np.ndarray, time_base: Fraction) -> bool:
    """Tell whether all frames lie on an even grid, but for the rounding of their timestamps.

    Args:
        distances: see `frame_distances`.
        time_base: seconds of a unit.
    """
    if distances.min() == distances.max():
        return True
    mean = distances.mean()
    rounding = 1.01 * max(1.0, ROUNDING / float(time_base))
    errors = np.cumsum(distances) - mean * np.arange(1, len(distances) + 1)
    # Half a frame at most: a lost frame is seen in coarse units too.
    return bool(np.abs(errors).max() <= min(rounding, 0.5 * mean))


def frame_times(distances: np.ndarray, time_base: Fraction) -> np.ndarray:
    """Return the seconds from the first frame to each, the first's 0 included, float64."""
    return np.concatenate([[0.0], np.cumsum(distances)]) * float(time_base)

"""Frame rates: those that can be believed, and the choice between a header's and a measured one. Arithmetic only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

# Frame rates out of this range are not believed, frames per second.
FPS_RANGE = (0.1, 1000.0)

# Frame rate of a video that tells none, where one is needed, frames per second.
DEFAULT_FPS = 30.0


def believable_rates(rates: Iterable[Fraction | None]) -> list[float]:
    """Return the rates of a header that can be believed, frames per second, in their order."""
    low, high = FPS_RANGE
    return [float(rate) for rate in rates if rate and low <= float(rate) <= high]


def choose_frame_rate(
    header_rates: Sequence[float], timestamps: Sequence[int] | None, time_base: Fraction | None
) -> float | None:
    """Return the rate that timestamps show; the header's, which is exact, where it agrees or nothing can be measured.

    Args:
        header_rates: believable rates of the header, frames per second, the best one first.
        timestamps: times of the frames, ascending, in units of `time_base`; None: the file has none.
        time_base: seconds of a unit; None: not known.

    Returns:
        Frames per second; None: not known.
    """
    low, high = FPS_RANGE
    if timestamps is not None and len(timestamps) > 1 and time_base:
        measured = (len(timestamps) - 1) / float((timestamps[-1] - timestamps[0]) * time_base)
        if low <= measured <= high:
            agreeing = [rate for rate in header_rates if abs(rate - measured) <= 0.01 * measured]
            return agreeing[0] if agreeing else measured
    return header_rates[0] if header_rates else None


def rate_fraction(fps: float | None) -> Fraction:
    """Return a frame rate as containers write it: 29.97 is 30000 / 1001. None: the usual rate."""
    return Fraction(DEFAULT_FPS if fps is None else fps).limit_denominator(1001)


def check_fps(fps: float | None) -> float | None:
    """Return a frame rate that a user gave, frames per second; None: not known.

    Raises:
        ValueError: no number above 0.
    """
    if fps is None:
        return None
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < math.inf:
        raise ValueError(f"fps is {fps!r}; it must be a number above 0, frames per second")
    return float(fps)

"""Frame rates: those that can be believed, and the choice between a header's and a measured one. Arithmetic only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np

# Frame rates out of this range are not believed, frames per second.
FPS_RANGE = (0.1, 1000.0)

# Frame rate of a video that tells none, where one is needed, frames per second.
DEFAULT_FPS = 30.0


def believable_rates(rates: Iterable[Fraction | None]) -> list[float]:
    """Return the rates of a header that can be believed, frames per second, in their order."""
    low, high = FPS_RANGE
    return [float(rate) for rate in rates if rate and low <= float(rate) <= high]


def choose_frame_rate(
    header_rates: Sequence[float],
    distances: np.ndarray | None,
    time_base: Fraction | None,
    mean_rate: float | None = None,
) -> float | None:
    """Return the rate that the frames' times show; the header's, which is exact, where it agrees or nothing is known.

    Args:
        header_rates: believable rates of the header, frames per second, the best one first.
        distances: distances between frames, in units of `time_base`; of unevenly spaced ones the typical distances,
            so that a pause or a lost frame changes nothing. None: the file has no times.
        time_base: seconds of a unit; None: not known.
        mean_rate: number of frames over the duration that the header states, frames per second; None: not known.

    Returns:
        Frames per second; None: not known.
    """
    if distances is not None and len(distances) and time_base:
        seconds = float(int(distances.sum()) * time_base)
        measured = _believable(len(distances) / seconds if seconds else None)
        if measured is not None:
            return _agreeing(header_rates, measured, 0.01) or measured
    if mean_rate is not None and _believable(mean_rate) is not None:
        # Headers promise some frames too many.
        return _agreeing(header_rates, mean_rate, 0.1) or mean_rate
    return header_rates[0] if header_rates else None


def _agreeing(rates: Sequence[float], measured: float, tolerance: float) -> float | None:
    """Return the nearest of the rates that differ from a measured one by a fraction of it at most; None: none does."""
    near = [rate for rate in rates if abs(rate - measured) <= tolerance * measured]
    return min(near, key=lambda rate: abs(rate - measured), default=None)


def _believable(rate: float | None) -> float | None:
    low, high = FPS_RANGE
    return rate if rate is not None and low <= rate <= high else None


def rate_fraction(fps: float | None) -> Fraction:
    """Return a frame rate as containers write it: 29.97 is 30000 / 1001. None: the usual rate."""
    return Fraction(DEFAULT_FPS if fps is None else fps).limit_denominator(1001)


def check_fps(fps: float | None) -> float | None:
    """Return a frame rate that a user gave.

    Args:
        fps: frames per second, above 0; None: unknown.

    Raises:
        ValueError: no number above 0.
    """
    if fps is None:
        return None
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < math.inf:
        raise ValueError(f"fps is {fps!r}; it must be a number above 0, frames per second")
    return float(fps)

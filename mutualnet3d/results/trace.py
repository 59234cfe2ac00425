"""Trace of a stream: time of each window, and the sub-network that ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mutualnet3d.shapes import SubnetConfig

# A window over the budget by more than this factor has not held it.
TOLERANCE = 1.2


@dataclass(frozen=True)
class TracePoint:
    """Window of a stream, after it has run.

    Args:
        seconds: start of the window's run, seconds since the stream began, by the wall clock.
        config: sub-network that ran.
        milliseconds: wall time of cutting, resizing and the network.
        load: estimate, after the window's run, of the ratio of a window's time to that on the idle machine.
        num_skipped: number of frames of the source between the window before and this one, which are in no window.
    """

    seconds: float
    config: SubnetConfig
    milliseconds: float
    load: float
    num_skipped: int


def fraction_within(trace: Sequence[TracePoint], milliseconds: float) -> float:
    """Return the fraction of the windows that took at most `milliseconds`; 0 without windows."""
    return sum(point.milliseconds <= milliseconds for point in trace) / max(1, len(trace))

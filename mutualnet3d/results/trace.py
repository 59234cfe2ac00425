"""Trace of a stream: what each window took, and which sub-network ran."""

from __future__ import annotations

from dataclasses import dataclass

from mutualnet3d.shapes import SubnetConfig


@dataclass(frozen=True)
class TracePoint:
    """A window as the trace has it.

    Args:
        seconds: when its run began, since the stream began, by the clock on the wall.
        config: the sub-network that ran.
        milliseconds, num_skipped: as of `Window`.
        load: how many times as long as on the idle machine windows take, as was estimated when it had run.
    """

    seconds: float
    config: SubnetConfig
    milliseconds: float
    load: float
    num_skipped: int

"""Milliseconds of rows, of a clip and of all views of a video in a forward pass. Arithmetic only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

from mutualnet3d.results.row import Row, Views
from mutualnet3d.shapes import SubnetConfig

# A forward pass: sub-network, and the number of clips in it.
Pass: TypeAlias = tuple[SubnetConfig, int]


def passes_of(videos: Iterable[tuple[SubnetConfig, Views]]) -> tuple[Pass, ...]:
    """Return the forward passes of several clips for videos of these sub-networks and views, without repetitions."""
    return tuple(dict.fromkeys((config, views.count) for config, views in videos if views.count > 1))


def timed_rows(
    rows: Iterable[Row],
    milliseconds: Mapping[SubnetConfig, float],
    passes: Mapping[Pass, float],
    unsettled: Collection[SubnetConfig | Pass] = (),
) -> list[Row]:
    """Return the rows with other times.

    Args:
        rows: rows of one back end, of sub-networks in `milliseconds`.
        milliseconds: time of a clip by each sub-network.
        passes: times of passes of several clips. A row of several views without a pass has no measured time of a video,
            see `Row.milliseconds_of_video`.
        unsettled: sub-networks and passes whose times did not settle.
    """
    return [
        replace(
            row,
            milliseconds=milliseconds[row.config],
            pass_milliseconds=passes.get((row.config, row.views.count)),
            settled=row.config not in unsettled and (row.config, row.views.count) not in unsettled,
        )
        for row in rows
    ]

"""Cascades and the rows of their table: the costs of cascades, and the cascades that a part of the rows allows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mutualnet3d.results.cascade import Cascade, CostSpread, RowKey
from mutualnet3d.results.row import COSTS, Row


def check_cascades(cascades: Iterable[Cascade], rows: Iterable[Row], backend: str) -> None:
    """Refuse cascades of rows that a table does not have.

    Args:
        cascades: cascades of the table.
        rows: rows of the table.
        backend: back end that the cascades run on.

    Raises:
        ValueError: a stage has no row; the message names it.
    """
    by_key = _by_key(rows, backend)
    for cascade in cascades:
        for stage in cascade.stages:
            if stage.key not in by_key:
                raise ValueError(
                    f"cascade {cascade}: the table has no row of {stage.config} with {stage.views} views on {backend}"
                )


def spread_of(cascade: Cascade, rows: Iterable[Row], backend: str, cost: str) -> CostSpread:
    """Return the cost of a video by a cascade, the sum over all views of every stage that ran.

    Args:
        cascade: cascade.
        rows: rows of the table, with one of each stage.
        backend: back end that the cascade runs on.
        cost: "gflops" or "milliseconds".

    Raises:
        ValueError: the cost is another one.
    """
    if cost not in COSTS:
        raise ValueError(f"cost must be 'gflops' or 'milliseconds', got {cost!r}")
    by_key = _by_key(rows, backend)
    return cascade.spread(lambda stage: by_key[stage.key].cost_of_video(cost))


def kept_cascades(
    cascades: Sequence[Cascade] | None,
    rows: Iterable[Row],
    backend: str,
    other_rows: Iterable[Row],
    other_backend: str,
) -> tuple[Cascade, ...] | None:
    """Return the cascades whose stages all have rows of the same accuracy in another table; None without cascades.

    Rows of another accuracy, like int8's, have other scores, for which thresholds that were fitted on the test's mean
    nothing.

    Args:
        cascades: cascades; None: no cascades were fitted.
        rows: rows of the cascades' table.
        backend: back end of these rows.
        other_rows: rows of the other table, such as a part of it.
        other_backend: back end of the other rows that the cascades are to run on.
    """
    if cascades is None:
        return None
    accuracy_of = {key: (row.top1, row.top5) for key, row in _by_key(rows, backend).items()}
    others_of = {key: (row.top1, row.top5) for key, row in _by_key(other_rows, other_backend).items()}
    return tuple(
        cascade
        for cascade in cascades
        if all(others_of.get(stage.key) == accuracy_of[stage.key] for stage in cascade.stages)
    )


def _by_key(rows: Iterable[Row], backend: str) -> dict[RowKey, Row]:
    return {(row.config, row.views): row for row in rows if row.backend == backend}

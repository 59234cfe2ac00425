"""Curve of a table's cascades over their mean cost."""

from __future__ import annotations

from mutualnet3d.plots.curves import Curve, Point
from mutualnet3d.results.cascade import Cascade
from mutualnet3d.results.query_table import QueryTable


def curves_of_cascades(name: str, table: QueryTable, cost: str = "gflops") -> list[Curve]:
    """Return the cascades of a query table as a curve over the mean cost of a video.

    There is no curve where a single row is as good as any cascade, or the table has no cascades.

    Accuracy and costs are those on the half of the test's videos that no cascade was fitted on.

    Args:
        name: name of the curve.
        table: query table.
        cost: "gflops" or "milliseconds".

    Raises:
        ValueError: the cost is another one.
    """
    cascades = table.cascades or ()
    if all(len(cascade.stages) == 1 for cascade in cascades):
        return []
    return [Curve(name, tuple(_point(cascade, table, cost) for cascade in cascades))]


def _point(cascade: Cascade, table: QueryTable, cost: str) -> Point:
    spread = table.spread(cascade, cost)
    unit = "GFLOPs" if cost == "gflops" else "ms"
    shares = ", ".join(f"{100 * stage.share:.0f} %" for stage in cascade.stages)
    notes = (
        str(cascade),
        f"on {shares} of the videos",
        f"top-5 {cascade.top5:.2f} %",
        f"95 % of the videos take {spread.p95:.4g} {unit} or less, none more than {spread.worst:.4g}",
    )
    keys = {(row.config, row.views) for row in table.query_rows if row.settled}
    settled = cost == "gflops" or all(stage.key in keys for stage in cascade.stages)
    return Point(spread.mean, cascade.top1, notes=notes, settled=settled)

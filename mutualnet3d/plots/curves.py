"""Curves of accuracy over cost to be drawn: of query tables, of networks trained one by one, of the paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mutualnet3d.results.paper import PaperResults
from mutualnet3d.results.pareto import other_cost, pareto_front
from mutualnet3d.results.query_table import QueryTable, Row

Kind = Literal["front", "points"]


@dataclass(frozen=True)
class Point:
    """Network in the plane of cost and accuracy.

    Args:
        cost: cost of a video, GFLOPs or milliseconds.
        top1: accuracy of the kind `measure`, percent.
        label: key of a sub-network, with the views of a video if these are several; "": no label.
        spread: standard deviation of top1 over seeds, in points; None: one run.
        notes: other facts for an interactive page, as lines.
        settled: False for a time that varied too much in its measurement, so that the point is on no front.
        clips: number of clips in the cost.
        beyond: true cost of a point that is drawn at the end of the axis, at `cost`; None: the point is in its place.
        measure: name of the accuracy: top-1 or mAP.

    Raises:
        ValueError: a number cannot be drawn.
    """

    cost: float
    top1: float
    label: str = ""
    spread: float | None = None
    notes: tuple[str, ...] = ()
    settled: bool = True
    clips: int = 1
    beyond: float | None = None
    measure: str = "top-1"

    def __post_init__(self) -> None:
        # A logarithmic axis has no place for zero, and a network that costs nothing was not measured.
        if not (math.isfinite(self.cost) and self.cost > 0):
            raise ValueError(f"Point {self.label!r}: cost must be a number above 0, got {self.cost!r}")
        if not math.isfinite(self.top1):
            raise ValueError(f"Point {self.label!r}: top1 must be a finite number, got {self.top1!r}")
        if self.spread is not None and not (math.isfinite(self.spread) and self.spread >= 0):
            raise ValueError(
                f"Point {self.label!r}: spread must be None or a number of at least 0, got {self.spread!r}"
            )


@dataclass(frozen=True)
class Curve:
    """Points that belong together.

    Args:
        name: name in the legend.
        points: points, at least one.
        kind: "front" for a line through the points that no other beats, with the others pale; "points" for no line.
        reference: True for a curve that others are compared with, which is drawn below them, in grey.

    Raises:
        ValueError: there are no points, or the kind is another one.
    """

    name: str
    points: Sequence[Point]
    kind: Kind = "front"
    reference: bool = False

    def __post_init__(self) -> None:
        if not self.points:
            raise ValueError(f"curve {self.name!r} has no points")
        if self.kind not in get_args(Kind):
            raise ValueError(f"curve {self.name!r}: kind must be 'front' or 'points', got {self.kind!r}")

    @property
    def front(self) -> tuple[Point, ...]:
        """Points on the Pareto front of the points with settled costs, the cheapest first.

        A curve of kind "points" has none.
        """
        if self.kind == "points":
            return ()
        settled = [point for point in self.points if point.settled]
        return pareto_front(settled, lambda point: point.cost, lambda point: point.top1)

    @property
    def others(self) -> tuple[Point, ...]:
        """Points that are not on the front."""
        front = self.front
        return tuple(point for point in self.points if point not in front)


def curve_of_tables(name: str, tables: Sequence[QueryTable], cost: str = "gflops", kind: Kind = "front") -> Curve:
    """Return the rows of several query tables, of all views, as a curve over the cost of a video.

    Networks trained one by one have a table each.

    Args:
        name: name of the curve.
        tables: query tables.
        cost: "gflops" or "milliseconds".
        kind: "front" or "points", see `Curve`.

    Raises:
        ValueError: the cost is another one, or a row lacks it.
    """
    other = other_cost(cost)
    rows = [row for table in tables for row in table.query_rows]
    # Of equal points a front has the first: the one that a query table's own front has.
    rows.sort(key=lambda row: (row.cost_of_video(other), str(row.config), row.views))
    return Curve(name, tuple(_point_of_row(row, cost) for row in rows), kind)


def curve_of_table(name: str, table: QueryTable, cost: str = "gflops", kind: Kind = "front") -> Curve:
    """Return the rows of a query table as a curve, see `curve_of_tables`."""
    return curve_of_tables(name, [table], cost, kind)


def _point_of_row(row: Row, cost: str) -> Point:
    place = row.cost_of_video(cost)
    if not place > 0:
        raise ValueError(f"{row.config} has no {cost}: {place!r}")
    several = row.views.count > 1
    texts = {"gflops": f"{row.gflops_of_video:.4g} GFLOPs", "milliseconds": f"{row.milliseconds_of_video:.3g} ms"}
    others = [text for name, text in texts.items() if name != cost and row.cost_of_video(name) > 0]
    of_clip = (f"{row.views} views, of a clip: {row.gflops:.4g} GFLOPs, {row.milliseconds:.3g} ms",) if several else ()
    settled = row.settled or cost != "milliseconds"
    doubt = () if row.settled else ("its time did not settle: the machine was busy",)
    of_best = () if row.mean_ap is None else (f"top-1 {row.top1:.2f} %",)
    notes = (*of_best, f"top-5 {row.top5:.2f} %", *others, *of_clip, f"{row.params:,} parameters", *doubt)
    label = f"{row.config}, {row.views}" if several else str(row.config)
    return Point(place, row.accuracy, label, notes=notes, settled=settled, clips=row.views.count, measure=row.measure)


def curves_of_paper(results: PaperResults, cost: str = "gflops") -> list[Curve]:
    """Return the paper's sub-networks as a front, and the networks trained one by one as points, over the cost.

    Args:
        results: results of the paper for a network.
        cost: "gflops".

    Raises:
        ValueError: the cost is another one: the paper measured no time.
    """
    if cost != "gflops":
        raise ValueError(f"the paper's results have a place over 'gflops' only, got {cost!r}")
    rows = tuple(Point(results.num_views * row.gflops, row.top1, str(row.config)) for row in results.rows)
    curves = [Curve(f"paper, {results.network} ({results.views})", rows, reference=True)]
    for origin, pairs in (("published", results.separate), ("reproduced", results.reproduced)):
        if pairs:
            points = tuple(Point(results.num_views * gflops, top1) for gflops, top1 in pairs)
            curves.append(Curve(f"paper, one by one, {origin}", points, "points", reference=True))
    return curves


def check_cost(cost: str) -> None:
    """Refuse another cost than "gflops" or "milliseconds".

    Args:
        cost: name of a cost.

    Raises:
        ValueError: the cost is another one.
    """
    other_cost(cost)


def check_curves(curves: Sequence[Curve]) -> None:
    """Refuse curves that a legend could not tell apart.

    Args:
        curves: curves of a picture.

    Raises:
        ValueError: there are no curves, two have one name, or top-1 and mAP, which do not compare, are among them.
    """
    if len({point.measure for curve in curves for point in curve.points}) > 1:
        raise ValueError("curves of top-1 and curves of mAP, of several labels a video, do not compare")
    if not curves:
        raise ValueError("there are no curves to draw")
    names = [curve.name for curve in curves]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"curves need names of their own; more than once: {', '.join(twice)}")


def title_of_milliseconds(tables: Mapping[str, QueryTable]) -> str:
    """Return the title of an axis of milliseconds, with the device of the measurements.

    Args:
        tables: query tables by their names in errors, at least one.

    Raises:
        ValueError: the devices differ; the message names them.
    """
    titles = {name: _title_of_milliseconds(table.facts) for name, table in tables.items()}
    if len(set(titles.values())) > 1:
        all_titles = "; ".join(f"{name} has {title}" for name, title in titles.items())
        raise ValueError(f"times on different devices do not compare: {all_titles}")
    return next(iter(titles.values()))


def _title_of_milliseconds(facts: Mapping[str, Any]) -> str:
    videos, threads = facts.get("batch_size", 1), facts.get("threads", "?")
    unit = "video" if videos == 1 else f"pass of {videos} videos"
    return f"milliseconds per {unit}, {facts.get('device', 'unknown device')}, {threads} thread{'s' * (threads != 1)}"


def cost_title(cost: str, milliseconds_title: str) -> str:
    """Return the title of the cost axis, with its unit."""
    return "GFLOPs (multiply-adds) per video" if cost == "gflops" else milliseconds_title


def accuracy_title(measure: str, views: str) -> str:
    """Return the title of the accuracy axis.

    Args:
        measure: kind of accuracy, top-1 or mAP.
        views: views of a video in words; "" where they differ.
    """
    name = "top-1 accuracy" if measure == "top-1" else measure
    return f"{name}, % ({views} per video)" if views else f"{name}, %"

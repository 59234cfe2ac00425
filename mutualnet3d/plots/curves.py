"""Accuracy over cost as curves, ready to be drawn: of query tables, of networks trained one by one, of the paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mutualnet3d.results.paper import PaperResults
from mutualnet3d.results.query_table import COSTS, QueryTable, Row

Kind = Literal["front", "points"]
# Okabe and Ito's colours, which the colour-blind can tell apart, without black and the yellow that white swallows;
# every curve has a marker of its own besides.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
GREY = "#808080"


@dataclass(frozen=True)
class Point:
    """A network in the plane of cost and accuracy.

    Args:
        cost: GFLOPs or milliseconds, as the picture says.
        top1: accuracy in percent.
        label: a sub-network's key, or nothing.
        spread: standard deviation of top1 over seeds, in points; None: one run.
        notes: what an interactive page says besides, a line each.

    Raises:
        ValueError: a number that cannot be drawn.
    """

    cost: float
    top1: float
    label: str = ""
    spread: float | None = None
    notes: tuple[str, ...] = ()

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
        name: as the legend says it.
        points: at least one.
        kind: "front": a line through those that no other beats, the others pale; "points": no line.
        reference: what the others are compared with: drawn behind them, in grey.

    Raises:
        ValueError: no points, or no such kind.
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
        """The points that no other beats: none is at least as accurate at less cost. Cheapest first; of kind
        "points" there are none."""
        front: list[Point] = []
        if self.kind == "front":
            for point in sorted(self.points, key=lambda point: (point.cost, -point.top1)):
                if not front or point.top1 > front[-1].top1:
                    front.append(point)
        return tuple(front)

    @property
    def others(self) -> tuple[Point, ...]:
        """The points that are not of the front."""
        front = self.front
        return tuple(point for point in self.points if point not in front)


def curve_of_tables(name: str, tables: Sequence[QueryTable], cost: str = "gflops", kind: Kind = "front") -> Curve:
    """The rows of several query tables as one curve: networks trained one by one have a table each.

    Raises:
        ValueError: another cost than "gflops" or "milliseconds"; a row without it.
    """
    check_cost(cost)
    (other,) = (each for each in COSTS if each != cost)
    rows = [row for table in tables for row in table.rows]
    # Of equal points a front has the first: the one that a query table's own front has.
    rows.sort(key=lambda row: (getattr(row, other), str(row.config)))
    return Curve(name, tuple(_point_of_row(row, cost) for row in rows), kind)


def curve_of_table(name: str, table: QueryTable, cost: str = "gflops", kind: Kind = "front") -> Curve:
    """The rows of a query table as a curve; see `curve_of_tables`."""
    return curve_of_tables(name, [table], cost, kind)


def _point_of_row(row: Row, cost: str) -> Point:
    if not getattr(row, cost) > 0:
        raise ValueError(f"{row.config} has no {cost}: {getattr(row, cost)!r}")
    others = {"gflops": f"{row.gflops:.4g} GFLOPs", "milliseconds": f"{row.milliseconds:.3g} ms"}
    said = [text for name, text in others.items() if name != cost and getattr(row, name) > 0]
    notes = (f"top-5 {row.top5:.2f} %", *said, f"{row.params:,} parameters")
    return Point(getattr(row, cost), row.top1, str(row.config), notes=notes)


def curves_of_paper(results: PaperResults, cost: str = "gflops") -> list[Curve]:
    """The paper's sub-networks as a front, and the networks trained one by one that it compares them with.

    Raises:
        ValueError: another cost than "gflops": the paper measured no time.
    """
    if cost != "gflops":
        raise ValueError(f"the paper's results have a place over 'gflops' only, got {cost!r}")
    rows = tuple(Point(row.gflops, row.top1, str(row.config)) for row in results.rows)
    curves = [Curve(f"paper, {results.network} ({results.views})", rows, reference=True)]
    for origin, pairs in (("published", results.separate), ("reproduced", results.reproduced)):
        if pairs:
            points = tuple(Point(gflops, top1) for gflops, top1 in pairs)
            curves.append(Curve(f"paper, one by one, {origin}", points, "points", reference=True))
    return curves


def check_cost(cost: str) -> None:
    """Raises:
    ValueError: another cost than "gflops" or "milliseconds".
    """
    if cost not in COSTS:
        raise ValueError(f"cost must be 'gflops' or 'milliseconds', got {cost!r}")


def check_curves(curves: Sequence[Curve]) -> None:
    """Raises:
    ValueError: there are none, or two of one name, which a legend could not tell apart.
    """
    if not curves:
        raise ValueError("there are no curves to draw")
    names = [curve.name for curve in curves]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"curves need names of their own; more than once: {', '.join(twice)}")


def title_of_milliseconds(tables: Mapping[str, QueryTable]) -> str:
    """The title of an axis of milliseconds, which says what they were measured on.

    Args:
        tables: at least one; by what an error calls them.

    Raises:
        ValueError: not all were measured on the same; it names each.
    """
    titles = {name: _title_of_milliseconds(table.context) for name, table in tables.items()}
    if len(set(titles.values())) > 1:
        each = "; ".join(f"{name} has {title}" for name, title in titles.items())
        raise ValueError(f"times on different devices do not compare: {each}")
    return next(iter(titles.values()))


def _title_of_milliseconds(has: Mapping[str, Any]) -> str:
    clips, threads = has.get("batch_size", 1), has.get("threads", "?")
    of = "clip" if clips == 1 else f"pass of {clips} clips"
    return f"milliseconds per {of}, {has.get('device', 'unknown device')}, {threads} thread{'s' * (threads != 1)}"


def cost_title(cost: str, milliseconds_title: str) -> str:
    """The title of the cost axis, with its unit."""
    return "GFLOPs (multiply-adds) per clip of frames x size x size" if cost == "gflops" else milliseconds_title


def top1_title(views: str) -> str:
    """The title of the accuracy axis."""
    return f"top-1 accuracy, % ({views} per video)" if views else "top-1 accuracy, %"


def looks(curves: Sequence[Curve]) -> list[tuple[str, str]]:
    """A colour and a marker (matplotlib's letter) for each curve, the same in every picture of these curves.
    References are grey, and take the markers from the other end."""
    found, numbers = [], {False: 0, True: 0}
    for curve in curves:
        number = numbers[curve.reference] % len(MARKERS)
        numbers[curve.reference] += 1
        found.append((GREY, MARKERS[-1 - number]) if curve.reference else (COLORS[number], MARKERS[number]))
    return found

"""The picture of accuracy over cost, PNG or SVG, by matplotlib.

curves = [curve_of_table("mutual", table), *curves_of_paper(paper_results()["x3d_m"])]
save_tradeoff_plot(curves, "tradeoff.png", "X3D-M", log=True)
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mutualnet3d.files.atomic import write_atomically
from mutualnet3d.plots.curves import (
    GREY,
    Curve,
    Point,
    check_cost,
    check_curves,
    cost_title,
    curve_of_table,
    looks,
    top1_title,
)
from mutualnet3d.plots.point_labels import place_labels
from mutualnet3d.results.query_table import QueryTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

SUFFIXES = (".png", ".svg")


def save_table_plot(table: QueryTable, path: str, title: str) -> None:
    """Draw one query table, every sub-network a point, the Pareto front (top-1 over GFLOPs) a line.

    Raises:
        ModuleNotFoundError, ValueError: as of `save_tradeoff_plot`.
    """
    save_tradeoff_plot([curve_of_table("Pareto front", table)], path, title, views=table.context.get("views", "?"))


def save_tradeoff_plot(
    curves: Sequence[Curve],
    path: str,
    title: str,
    cost: str = "gflops",
    log: bool = False,
    views: str = "",
    milliseconds_title: str = "milliseconds per clip",
) -> None:
    """Draw curves into one picture and write it, atomically. The same curves give the same bytes.

    Args:
        path: ends in .png or .svg.
        cost: of the points, "gflops" or "milliseconds".
        log: a logarithmic cost axis.
        views: over which top1 is averaged, as a query table's context says it.
        milliseconds_title: of that axis; see `title_of_milliseconds`.

    Raises:
        ModuleNotFoundError: matplotlib is not installed; it says what to install.
        ValueError: another suffix or cost; no curves, or two of one name.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in SUFFIXES:
        came = repr(suffix) if suffix else "a file without a suffix"
        raise ValueError(f"{path}: a picture is written as {' or '.join(SUFFIXES)}, not as {came}")
    figure = draw(curves, title, cost, log, views, milliseconds_title)
    from matplotlib import rc_context

    # Without a date and with ids that are not drawn, a picture in version control changes only when its curves do.
    options: dict[str, Any] = {"metadata": {"Date": None}} if suffix == ".svg" else {}
    with rc_context({"svg.hashsalt": "mutualnet3d"}):
        write_atomically(path, lambda file: figure.savefig(file, format=suffix[1:], **options))


def draw(
    curves: Sequence[Curve],
    title: str,
    cost: str = "gflops",
    log: bool = False,
    views: str = "",
    milliseconds_title: str = "milliseconds per clip",
) -> Figure:
    """The picture as matplotlib's figure; arguments and errors are those of `save_tradeoff_plot`."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the picture needs matplotlib: pip install 'mutualnet3d[plot]'") from error

    check_cost(cost)
    check_curves(curves)
    figure = Figure(figsize=(8, 5.5), dpi=150, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.07))
    FigureCanvasAgg(figure)  # it measures texts
    axes = figure.subplots()
    axes.set_title(title, wrap=True)
    axes.set_xlabel(cost_title(cost, milliseconds_title))
    axes.set_ylabel(top1_title(views))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.margins(x=0.1, y=0.1)
    if log:
        _make_logarithmic(axes)
    shown = [_draw_curve(axes, curve, *look) for curve, look in zip(curves, looks(curves), strict=True)]
    if any(curve.front and curve.others for curve in curves):
        shown += axes.plot([], [], "o", color=GREY, alpha=0.4, ms=4, lw=0, label="other sub-networks")
    for ncols in (3, 2, 1):  # as many columns as the names leave room for
        legend = figure.legend(handles=shown, loc="outside lower center", ncols=ncols, frameon=False, fontsize=8)
        if ncols == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()
    # Labels are placed when everything else has its place, and nothing moves after that.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    place_labels(axes, _labels(curves), _markers(axes, curves))
    return figure


def _make_logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _draw_curve(axes: Axes, curve: Curve, color: str, marker: str) -> Any:
    """Draw it, and return what the legend shows."""
    front, others, behind = curve.front, curve.others, curve.reference
    look: dict[str, Any] = {"color": color, "marker": marker, "capsize": 2.5, "elinewidth": 1.0}
    shown = None
    if front:
        shown = axes.errorbar(
            *_columns(front),
            **look,
            linestyle="--" if behind else "-",
            lw=1.2 if behind else 1.8,
            ms=4 if behind else 6,
            label=curve.name,
            zorder=2 if behind else 4,
        )
    if others:
        # The points of networks trained one by one are as good as a front's; those behind a front stand back.
        look |= {"ms": 4, "alpha": 0.35, "zorder": 1.5} if front else {"ms": 6, "zorder": 2.5 if behind else 5}
        if behind:
            look["mfc"] = "white"
        drawn = axes.errorbar(*_columns(others), **look, linestyle="none", label=curve.name)
        shown = shown or drawn
    return shown


def _columns(points: Sequence[Point]) -> tuple[list[float], list[float], list[float] | None]:
    """cost, top1 and spread; a point without a spread has an error bar of NaN, which is none."""
    spreads = [math.nan if point.spread is None else point.spread for point in points]
    shown = None if all(map(math.isnan, spreads)) else spreads
    return [point.cost for point in points], [point.top1 for point in points], shown


def _markers(axes: Axes, curves: Sequence[Curve]) -> list[Bbox]:
    """The pixels that markers and error bars cover."""
    from matplotlib.transforms import Bbox

    reach = 3 * axes.figure.dpi / 72
    boxes = []
    for point in (point for curve in curves for point in curve.points):
        spread = point.spread or 0.0
        ends = [(point.cost, point.top1 - spread), (point.cost, point.top1 + spread)]
        boxes.append(Bbox(axes.transData.transform(ends)).padded(reach))
    return boxes


def _labels(curves: Sequence[Curve]) -> Iterator[tuple[float, float, str, dict[str, Any]]]:
    """What `place_labels` takes: fronts first, of each its ends; then networks trained one by one, then references.
    The most expensive one of a front's curve is named too: it is what the others are measured against."""
    by_importance = sorted(
        zip(curves, looks(curves), strict=True), key=lambda each: (each[0].reference, each[0].kind != "front")
    )
    for curve, (color, _) in by_importance:
        style = {"fontsize": 6 if curve.reference else 7, "color": _darker(color), "zorder": 6}
        chosen = curve.points
        if front := curve.front:
            dearest = max(curve.points, key=lambda point: (point.cost, point.top1))
            chosen = [front[0], front[-1], dearest, *reversed(front[1:-1])]
        yield from ((point.cost, point.top1, point.label, style) for point in dict.fromkeys(chosen) if point.label)


def _darker(color: str) -> tuple[float, ...]:
    """A curve's colour for small letters, which need more contrast than lines."""
    from matplotlib.colors import to_rgb

    return tuple(0.65 * part for part in to_rgb(color))

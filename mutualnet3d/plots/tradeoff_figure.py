"""Picture of accuracy over cost, PNG or SVG, by matplotlib.

curves = [curve_of_table("mutual", table), *curves_of_paper(paper_results()["x3d_m"])]
save_tradeoff_plot(curves, "tradeoff.png", "X3D-M", log=True)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mutualnet3d.extras import require
from mutualnet3d.plots.axis_end import within_axis
from mutualnet3d.plots.cascade_curve import curves_of_cascades
from mutualnet3d.plots.curves import (
    Curve,
    Point,
    accuracy_title,
    check_cost,
    check_curves,
    cost_title,
    curve_of_table,
)
from mutualnet3d.plots.picture_file import check_suffix, fonts_for, new_figure, picture_text, save_figure
from mutualnet3d.plots.point_labels import place_labels
from mutualnet3d.plots.styles import GREY, line_styles
from mutualnet3d.results.query_table import QueryTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox


def save_table_plot(table: QueryTable, path: str, title: str) -> None:
    """Draw the rows of a query table as points, and the Pareto front (top-1 over GFLOPs of a video) as a line.

    The axis is logarithmic if some videos have one view and some several.

    Args:
        table: query table.
        path: path that ends in .png or .svg.
        title: title of the picture.

    Raises:
        ModuleNotFoundError, ValueError: see `save_tradeoff_plot`.
    """
    curves, all_views = [curve_of_table("Pareto front", table)], {row.views for row in table.query_rows}
    curves += curves_of_cascades("cascades, mean cost of half of the videos", table)
    views = f"{table.views} views" if len(all_views) == 1 else ""
    save_tradeoff_plot(curves, path, title, log=len(all_views) > 1, views=views)


def save_tradeoff_plot(
    curves: Sequence[Curve],
    path: str,
    title: str,
    cost: str = "gflops",
    log: bool = False,
    views: str = "",
    milliseconds_title: str = "milliseconds per video",
) -> None:
    """Draw curves into a picture and write it, atomically; the same curves give the same bytes.

    Args:
        curves: curves of different names.
        path: path that ends in .png or .svg.
        title: title of the picture.
        cost: cost of the points, "gflops" or "milliseconds".
        log: True for a logarithmic cost axis.
        views: number of views of the accuracy in words, such as "10 x 3 views"; "": points differ in it.
        milliseconds_title: title of an axis of milliseconds, see `title_of_milliseconds`.

    Raises:
        ModuleNotFoundError: matplotlib is not installed; the message says what to install.
        ValueError: the suffix or the cost is another one; there are no curves, or two have one name.
    """
    check_suffix(path)
    save_figure(draw(curves, title, cost, log, views, milliseconds_title), path)


def draw(
    curves: Sequence[Curve],
    title: str,
    cost: str = "gflops",
    log: bool = False,
    views: str = "",
    milliseconds_title: str = "milliseconds per video",
) -> Figure:
    """Return the picture as matplotlib's figure; arguments and errors are those of `save_tradeoff_plot`."""
    check_cost(cost)
    check_curves(curves)
    if not log:
        curves = within_axis(curves, cost)
    curves = [replace(curve, name=picture_text(curve.name)) for curve in curves]
    title, milliseconds_title = picture_text(title), picture_text(milliseconds_title)
    with fonts_for([title, milliseconds_title, *(curve.name for curve in curves)]):
        return _draw(curves, title, cost, log, views, milliseconds_title)


def _draw(curves: Sequence[Curve], title: str, cost: str, log: bool, views: str, milliseconds_title: str) -> Figure:
    layout = require("matplotlib.layout_engine", "plot").ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.07)
    figure = new_figure(8, 5.5, layout)
    axes = figure.subplots()
    axes.set_title(title, wrap=True)
    axes.set_xlabel(cost_title(cost, milliseconds_title))
    axes.set_ylabel(accuracy_title(curves[0].points[0].measure, views))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.margins(x=0.1, y=0.1)
    if log:
        _make_logarithmic(axes)
    beyond = [point for curve in curves for point in curve.points if point.beyond]
    if beyond:
        axes.plot(
            [point.cost for point in beyond], [point.top1 for point in beyond], ">", color="black", ms=9, zorder=7
        )
    shown = [_draw_curve(axes, curve, *style) for curve, style in zip(curves, line_styles(curves), strict=True)]
    if any(curve.front and curve.others for curve in curves):
        shown += axes.plot([], [], "o", color=GREY, alpha=0.4, ms=4, lw=0, label="other sub-networks")
    for ncols in (3, 2, 1):  # as many columns as the names leave room for
        legend = figure.legend(handles=shown, loc="outside lower center", ncols=ncols, frameon=False, fontsize=8)
        if ncols == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()
    # Labels are placed after everything else has its place, and nothing moves after that.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    place_labels(axes, _labels(curves), _markers(axes, curves))
    return figure


def _make_logarithmic(axes: Axes) -> None:
    ticker = require("matplotlib.ticker", "plot")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(ticker.NullLocator())


def _draw_curve(axes: Axes, curve: Curve, color: str, marker: str) -> Any:
    """Draw a curve, and return its artist for the legend."""
    front, others, is_reference = curve.front, curve.others, curve.reference
    style: dict[str, Any] = {"color": color, "marker": marker, "capsize": 2.5, "elinewidth": 1.0}
    shown = None
    if front:
        shown = axes.errorbar(
            *_columns(front),
            **style,
            linestyle="--" if is_reference else "-",
            lw=1.2 if is_reference else 1.8,
            ms=4 if is_reference else 6,
            label=curve.name,
            zorder=2 if is_reference else 4,
        )
    if others:
        # The points of networks trained one by one are as good as a front's; those that a front beats are pale.
        style |= {"ms": 4, "alpha": 0.35, "zorder": 1.5} if front else {"ms": 6, "zorder": 2.5 if is_reference else 5}
        if is_reference:
            style["mfc"] = "white"
        drawn = axes.errorbar(*_columns(others), **style, linestyle="none", label=curve.name)
        shown = shown or drawn
    return shown


def _columns(points: Sequence[Point]) -> tuple[list[float], list[float], list[float] | None]:
    """Return costs, accuracies and spreads; a missing spread is NaN, which draws no error bar."""
    spreads = [math.nan if point.spread is None else point.spread for point in points]
    shown = None if all(map(math.isnan, spreads)) else spreads
    return [point.cost for point in points], [point.top1 for point in points], shown


def _markers(axes: Axes, curves: Sequence[Curve]) -> list[Bbox]:
    """Return the pixels that markers and error bars cover."""
    transforms = require("matplotlib.transforms", "plot")
    reach = 3 * axes.figure.dpi / 72
    boxes: list[Bbox] = []
    for point in (point for curve in curves for point in curve.points):
        spread = point.spread or 0.0
        ends = [(point.cost, point.top1 - spread), (point.cost, point.top1 + spread)]
        boxes.append(transforms.Bbox(axes.transData.transform(ends)).padded(reach))
    return boxes


def _labels(curves: Sequence[Curve]) -> Iterator[tuple[float, float, str, dict[str, Any]]]:
    """Yield the labels for `place_labels`: the ends of fronts first, then networks trained one by one, then references.

    The most expensive point of a front's curve is named too, since the others are compared with it.
    """
    styled = zip(curves, line_styles(curves), strict=True)
    by_importance = sorted(styled, key=lambda pair: (pair[0].reference, pair[0].kind != "front"))
    for curve, (color, _) in by_importance:
        style = {"fontsize": 6 if curve.reference else 7, "color": _darker(color), "zorder": 6}
        chosen = curve.points
        if front := curve.front:
            most_expensive = max(curve.points, key=lambda point: (point.cost, point.top1))
            beyond = [point for point in curve.points if point.beyond]
            chosen = [*beyond, front[0], front[-1], most_expensive, *reversed(front[1:-1])]
        yield from ((point.cost, point.top1, point.label, style) for point in dict.fromkeys(chosen) if point.label)


def _darker(color: str) -> tuple[float, ...]:
    """Return a curve's colour, darker, for small letters, which need more contrast than lines."""
    return tuple(0.65 * part for part in require("matplotlib.colors", "plot").to_rgb(color))

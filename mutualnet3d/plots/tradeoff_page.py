"""Interactive picture of accuracy over cost, an HTML file that needs no network, by plotly.

The mouse on a point shows its facts, a click on the legend hides a curve, buttons change the cost axis.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from mutualnet3d.extras import require
from mutualnet3d.plots.axis_end import within_axis
from mutualnet3d.plots.curves import Curve, Point, accuracy_title, check_cost, check_curves, cost_title
from mutualnet3d.plots.page_file import save_page
from mutualnet3d.plots.styles import WEB_FONTS, line_styles

_SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross"}
_COST_BUTTONS = {"gflops": "GFLOPs", "milliseconds": "milliseconds"}
_SCALES = ("linear", "log")
_BUTTON_STYLE = {
    "type": "buttons",
    "direction": "right",
    "showactive": True,
    "y": 1.0,
    "yanchor": "bottom",
    "xanchor": "left",
    "pad": {"b": 8},
    "font": {"size": 12},
}


def save_tradeoff_page(
    curves_by_cost: Mapping[str, Sequence[Curve]],
    path: str,
    title: str,
    log: bool = False,
    views: str = "",
    milliseconds_title: str = "milliseconds per video",
) -> None:
    """Write an interactive HTML file, atomically: 5 MB, which are plotly's own code but for the data.

    Args:
        curves_by_cost: curves by their cost, "gflops", "milliseconds" or both; the page opens with the first. Curves of
            the same name are the same curve over two costs.
        path: path of the file.
        title: title of the page.
        log: True to start with a logarithmic cost axis.
        views: number of views of the accuracy in words, such as "10 x 3 views"; "": points differ in it.
        milliseconds_title: title of an axis of milliseconds, see `title_of_milliseconds`.

    Raises:
        ModuleNotFoundError: plotly is not installed; the message says what to install.
        ValueError: the cost is another one; there are no curves, or two have one name.
    """
    go = require("plotly.graph_objects", "plot")
    if not curves_by_cost:
        raise ValueError("there are no curves to draw")
    for cost, curves in curves_by_cost.items():
        check_cost(cost)
        check_curves(curves)
    curves_by_cost = {cost: within_axis(curves, cost) for cost, curves in curves_by_cost.items()}
    traces = {cost: _traces(curves, cost, curves_by_cost) for cost, curves in curves_by_cost.items()}
    first = next(iter(traces))
    measure = curves_by_cost[first][0].points[0].measure
    figure = go.Figure(
        traces[first],
        layout={
            "template": "simple_white",
            "font": {"family": WEB_FONTS},
            "title": {"text": html.escape(title, quote=False), "x": 0.5, "xanchor": "center"},
            "xaxis": {
                "title": {"text": html.escape(cost_title(first, milliseconds_title), quote=False)},
                "type": _SCALES[log],
                "minorloglabels": "complete",
            },
            "yaxis": {"title": {"text": html.escape(accuracy_title(measure, views), quote=False)}},
            "hovermode": "closest",
            "legend": {"orientation": "h", "x": 0, "y": -0.15, "yanchor": "top"},
            "updatemenus": [
                _scale_buttons(log),
                *([_cost_buttons(traces, milliseconds_title)] if len(traces) > 1 else []),
            ],
            "margin": {"t": 110},
        },
    )
    figure.update_xaxes(showgrid=True)
    figure.update_yaxes(showgrid=True)
    save_page(figure, path, title, "tradeoff")


def _traces(curves: Sequence[Curve], cost: str, curves_by_cost: Mapping[str, Sequence[Curve]]) -> list[dict[str, Any]]:
    """Return two traces for each curve that has points over any cost: its front, and its other points.

    A curve without points over this cost has empty traces, so that a button can change the data of every trace and keep
    the legend.
    """
    all_curves = {curve.name: curve for curves_over in curves_by_cost.values() for curve in curves_over}
    by_name = {curve.name: curve for curve in curves}
    traces = []
    for (name, curve), (color, marker) in zip(all_curves.items(), line_styles(list(all_curves.values())), strict=True):
        front, others = (by_name[name].front, by_name[name].others) if name in by_name else ((), ())
        is_reference, is_front = curve.reference, curve.kind == "front"
        common = {
            "type": "scatter",
            "name": html.escape(name, quote=False),
            "legendgroup": name,
            "hovertemplate": "%{customdata}<extra></extra>",
        }
        symbol = _SYMBOLS[marker] + "-open" * is_reference
        line = {
            "color": color,
            "dash": "dash" if is_reference else "solid",
            "width": 1.5 if is_reference else 2.5,
        }
        traces += [
            common
            | _data(front, name, cost)
            | {"mode": "lines+markers", "line": line}
            | {"marker": {"color": color, "symbol": _symbols(front, symbol), "size": 7 if is_reference else 10}}
            | {"showlegend": bool(front)},
            common
            | _data(others, name, cost)
            | {"mode": "markers"}
            | {
                "marker": {
                    "color": color,
                    "symbol": _symbols(others, symbol),
                    "size": 6 if is_front else 10,
                    "opacity": 0.4 if is_front else 1,
                }
            }
            | {"showlegend": bool(others) and not (is_front and front)},
        ]
    return traces


def _symbols(points: Sequence[Point], symbol: str) -> str | list[str]:
    """Return the marker of all points, or a list of markers where some points are at the end of the axis."""
    if not any(point.beyond for point in points):
        return symbol
    return ["triangle-right" if point.beyond else symbol for point in points]


def _data(points: Sequence[Point], name: str, cost: str) -> dict[str, Any]:
    """Return the part of a trace that depends on the cost."""
    spreads = [point.spread for point in points]
    return {
        "x": [point.cost for point in points],
        "y": [point.top1 for point in points],
        "customdata": [_hover(point, name, cost) for point in points],
        "error_y": {"type": "data", "array": spreads, "visible": any(spreads), "thickness": 1.2},
    }


def _hover(point: Point, name: str, cost: str) -> str:
    spread = "" if point.spread is None else f" ± {point.spread:.2f}"
    unit = {"gflops": "GFLOPs", "milliseconds": "ms"}[cost]
    cost_text = f"{point.cost:.4g} {unit}" if point.beyond is None else f"{point.beyond:.4g} {unit}, beyond the axis"
    lines = [name, cost_text, f"{point.measure} {point.top1:.2f}{spread} %", *point.notes]
    head = f"<b>{html.escape(point.label, quote=False)}</b><br>" if point.label else ""
    return head + "<br>".join(html.escape(line, quote=False) for line in lines)


def _scale_buttons(log: bool) -> dict[str, Any]:
    buttons = [
        {"label": scale, "method": "relayout", "args": [{"xaxis.type": scale, "xaxis.autorange": True}]}
        for scale in _SCALES
    ]
    return {**_BUTTON_STYLE, "x": 0.0, "active": int(log), "buttons": buttons}


def _cost_buttons(traces: Mapping[str, list[dict[str, Any]]], milliseconds_title: str) -> dict[str, Any]:
    changed = ("x", "y", "customdata", "error_y", "showlegend")
    buttons = [
        {
            "label": _COST_BUTTONS[cost],
            "method": "update",
            "args": [
                {
                    **{name: [trace[name] for trace in traces_over] for name in changed},
                    "marker.symbol": [trace["marker"]["symbol"] for trace in traces_over],
                },
                {
                    "xaxis.title.text": html.escape(cost_title(cost, milliseconds_title), quote=False),
                    "xaxis.autorange": True,
                },
            ],
        }
        for cost, traces_over in traces.items()
    ]
    return {**_BUTTON_STYLE, "x": 0.2, "buttons": buttons}

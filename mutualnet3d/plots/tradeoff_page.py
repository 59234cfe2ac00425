"""The picture of accuracy over cost to be explored: one HTML file that needs no network, by plotly.

The mouse on a point says what it is; a click on the legend hides a curve; buttons change the cost axis.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from mutualnet3d.files.atomic import write_text
from mutualnet3d.plots.curves import (
    Curve,
    Point,
    check_cost,
    check_curves,
    cost_title,
    looks,
    top1_title,
)

_SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross"}
_COST_BUTTONS = {"gflops": "GFLOPs", "milliseconds": "milliseconds"}
_SCALES = ("linear", "log")
# plotly 7 has a button that sends the data to its makers' server; the other two select points, which does nothing here.
_CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["sendChartToCloud", "select2d", "lasso2d"]}
_LOOK_OF_BUTTONS = {
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
    milliseconds_title: str = "milliseconds per clip",
) -> None:
    """Write one interactive HTML file, atomically: 5 MB, which are plotly's own code but for the data.

    Args:
        curves_by_cost: "gflops" and/or "milliseconds" -> the curves over it; the first is shown first. Curves of one
            name are one curve over two costs.
        log: start with a logarithmic cost axis.
        views: over which top1 is averaged, as a query table's context says it.
        milliseconds_title: of that axis; see `title_of_milliseconds`.

    Raises:
        ModuleNotFoundError: plotly is not installed; it says what to install.
        ValueError: another cost; no curves, or two of one name.
    """
    try:
        import plotly.graph_objects as go  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the interactive page needs plotly: pip install 'mutualnet3d[plot]'") from error

    if not curves_by_cost:
        raise ValueError("there are no curves to draw")
    for cost, curves in curves_by_cost.items():
        check_cost(cost)
        check_curves(curves)
    traces = {cost: _traces(curves, cost, curves_by_cost) for cost, curves in curves_by_cost.items()}
    first = next(iter(traces))
    figure = go.Figure(
        traces[first],
        layout={
            "template": "simple_white",
            "title": {"text": html.escape(title, quote=False), "x": 0.5, "xanchor": "center"},
            "xaxis": {
                "title": {"text": html.escape(cost_title(first, milliseconds_title), quote=False)},
                "type": _SCALES[log],
                "minorloglabels": "complete",
            },
            "yaxis": {"title": {"text": html.escape(top1_title(views), quote=False)}},
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
    page = figure.to_html(
        full_html=False, include_plotlyjs=True, default_height="96vh", div_id="tradeoff", config=_CONFIG
    )
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title>'
    write_text(path, f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>{page}</body>\n</html>\n')


def _traces(curves: Sequence[Curve], cost: str, curves_by_cost: Mapping[str, Sequence[Curve]]) -> list[dict[str, Any]]:
    """Two traces for each curve that has a place over any cost: its front, and its other points. A curve that has none
    over this cost has empty ones, so that a button can change the data of every trace and leave the legend alone."""
    everything = {curve.name: curve for each in curves_by_cost.values() for curve in each}
    here = {curve.name: curve for curve in curves}
    traces = []
    for (name, curve), (color, marker) in zip(everything.items(), looks(list(everything.values())), strict=True):
        front, others = (here[name].front, here[name].others) if name in here else ((), ())
        behind, is_front = curve.reference, curve.kind == "front"
        common = {
            "type": "scatter",
            "name": html.escape(name, quote=False),
            "legendgroup": name,
            "hovertemplate": "%{customdata}<extra></extra>",
        }
        look = {"color": color, "symbol": _SYMBOLS[marker] + "-open" * behind}
        line = {"color": color, "dash": "dash" if behind else "solid", "width": 1.5 if behind else 2.5}
        traces += [
            common
            | _data(front, name, cost)
            | {"mode": "lines+markers", "marker": {**look, "size": 7 if behind else 10}, "line": line}
            | {"showlegend": bool(front)},
            common
            | _data(others, name, cost)
            | {"mode": "markers", "marker": {**look, "size": 6 if is_front else 10, "opacity": 0.4 if is_front else 1}}
            | {"showlegend": bool(others) and not is_front},
        ]
    return traces


def _data(points: Sequence[Point], name: str, cost: str) -> dict[str, Any]:
    """What of a trace depends on the cost."""
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
    lines = [name, f"{point.cost:.4g} {unit}", f"top-1 {point.top1:.2f}{spread} %", *point.notes]
    head = f"<b>{html.escape(point.label, quote=False)}</b><br>" if point.label else ""
    return head + "<br>".join(html.escape(line, quote=False) for line in lines)


def _scale_buttons(log: bool) -> dict[str, Any]:
    buttons = [
        {"label": scale, "method": "relayout", "args": [{"xaxis.type": scale, "xaxis.autorange": True}]}
        for scale in _SCALES
    ]
    return {**_LOOK_OF_BUTTONS, "x": 0.0, "active": int(log), "buttons": buttons}


def _cost_buttons(traces: Mapping[str, list[dict[str, Any]]], milliseconds_title: str) -> dict[str, Any]:
    changed = ("x", "y", "customdata", "error_y", "showlegend")
    buttons = [
        {
            "label": _COST_BUTTONS[cost],
            "method": "update",
            "args": [
                {name: [trace[name] for trace in each] for name in changed},
                {
                    "xaxis.title.text": html.escape(cost_title(cost, milliseconds_title), quote=False),
                    "xaxis.autorange": True,
                },
            ],
        }
        for cost, each in traces.items()
    ]
    return {**_LOOK_OF_BUTTONS, "x": 0.2, "buttons": buttons}

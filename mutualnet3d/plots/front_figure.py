"""Front of a predictor over milliseconds as a figure of plotly, with a sub-network marked, for the web page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mutualnet3d.extras import require
from mutualnet3d.plots.axis_end import last_shown, place_of
from mutualnet3d.plots.curves import accuracy_title
from mutualnet3d.plots.styles import BLUE, ORANGE, WEB_FONTS
from mutualnet3d.results.query_table import Row
from mutualnet3d.results.table_text import views_text


def front_figure(points: Sequence[Row], chosen: int, others: Sequence[Row] = ()) -> Any:
    """Return accuracy over measured milliseconds of a video as a figure of plotly.

    Args:
        points: rows of the front, the cheapest first.
        chosen: position in `points` of the marked and named row.
        others: rows that are not on the front, drawn pale.

    A time far beyond the others is a triangle at the end of the axis; a time that did not settle is an open circle.

    Raises:
        ModuleNotFoundError: plotly is not installed; the message says what to install.
    """
    go = require("plotly.graph_objects", "web")
    marked = points[chosen]
    rows = (*points, *others)
    last = last_shown([row.milliseconds_of_video for row in rows], [row.views.count for row in rows])

    def trace(rows: Sequence[Row], mode: str, marker: dict[str, Any], **style: Any) -> Any:
        return go.Scatter(
            x=[place_of(row.milliseconds_of_video, last) for row in rows],
            y=[row.accuracy for row in rows],
            customdata=[[_name(row), row.gflops_of_video, _time_text(row)] for row in rows],
            hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[2]}, %{customdata[1]:.3g} GFLOPs<br>"
            f"{marked.measure} %{{y:.2f}} %<extra></extra>",
            mode=mode,
            marker={**marker, "color": BLUE, "symbol": [_symbol(row, last) for row in rows]},
            **style,
        )

    pale = trace(others, "markers", {"size": 8, "opacity": 0.35})
    line = trace(points, "lines+markers", {"size": 9}, line={"color": BLUE, "width": 2.5})
    place = place_of(marked.milliseconds_of_video, last)
    mark = go.Scatter(
        x=[place],
        y=[marked.accuracy],
        mode="markers",
        marker={"size": 20, "color": "rgba(0,0,0,0)", "line": {"color": ORANGE, "width": 4}},
        hoverinfo="skip",
    )
    # A front rises: above it on the left and below it on the right there is nothing.
    above = 2 * place > points[0].milliseconds_of_video + place_of(points[-1].milliseconds_of_video, last)
    name = {
        "x": place,
        "y": marked.accuracy,
        "text": f"<b>{_name(marked)}</b><br>{marked.measure} {marked.accuracy:.1f} %",
        "showarrow": False,
        "align": "right" if above else "left",
        "xanchor": "right" if above else "left",
        "yanchor": "bottom" if above else "top",
        "xshift": -10 if above else 10,
        "yshift": 10 if above else -10,
        "font": {"color": ORANGE, "size": 14},
    }
    beyond = [
        {
            "x": place_of(row.milliseconds_of_video, last),
            "y": row.accuracy,
            "text": _time_text(row),
            "showarrow": False,
            "yshift": -16,
        }
        for row in (*points, *others)
        if row.milliseconds_of_video > last
    ]
    accuracies = [row.accuracy for row in (*points, *others)]
    lowest, highest = min(accuracies), max(accuracies)
    margin = 0.25 * (highest - lowest) or 1.0
    return go.Figure(
        [pale, line, mark],
        layout={
            "font": {"family": WEB_FONTS},
            "xaxis": {"title": {"text": "milliseconds per video, measured here"}},
            "yaxis": {
                "title": {"text": accuracy_title(marked.measure, _views(points, others))},
                "range": [lowest - margin, highest + margin],
            },
            "annotations": [name, *beyond],
            "showlegend": False,
            "height": 460,
            "margin": {"t": 20, "r": 20, "b": 50, "l": 60},
        },
    )


def _name(row: Row) -> str:
    return str(row.config) if row.views.count == 1 else f"{row.config}, {row.views} views"


def _views(points: Sequence[Row], others: Sequence[Row]) -> str:
    """Return the views that all rows have; "" if they differ."""
    views = {views_text(row.views) for row in (*points, *others)}
    return views.pop() if len(views) == 1 else ""


def _symbol(row: Row, last: float) -> str:
    if row.milliseconds_of_video > last:
        return "triangle-right"
    return "circle" if row.settled else "circle-open"


def _time_text(row: Row) -> str:
    return f"{row.milliseconds_of_video:.3g} ms{'' if row.settled else ' (did not settle)'}"

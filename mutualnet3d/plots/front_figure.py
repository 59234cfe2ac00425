"""Front of a predictor over milliseconds as plotly's figure, with one sub-network marked; for the web page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mutualnet3d.extras import require
from mutualnet3d.plots.styles import BLUE, ORANGE
from mutualnet3d.results.query_table import Row


def front_figure(points: Sequence[Row], chosen: int, others: Sequence[Row] = ()) -> Any:
    """Return accuracy over measured milliseconds as plotly's figure.

    Args:
        points: front, the cheapest first.
        chosen: position in it of the one that is marked and named.
        others: sub-networks that are not on the front, drawn pale.

    Raises:
        ModuleNotFoundError: plotly is not installed; it says what to install.
    """
    go = require("plotly.graph_objects", "web")
    marked = points[chosen]

    def trace(rows: Sequence[Row], **style: Any) -> Any:
        return go.Scatter(
            x=[row.milliseconds for row in rows],
            y=[row.top1 for row in rows],
            customdata=[[str(row.config), row.gflops] for row in rows],
            hovertemplate="<b>%{customdata[0]}</b><br>%{x:.3g} ms, %{customdata[1]:.3g} GFLOPs<br>"
            "top-1 %{y:.2f} %<extra></extra>",
            **style,
        )

    pale = trace(others, mode="markers", marker={"size": 8, "color": BLUE, "opacity": 0.35})
    line = trace(points, mode="lines+markers", line={"color": BLUE, "width": 2.5}, marker={"size": 9, "color": BLUE})
    mark = go.Scatter(
        x=[marked.milliseconds],
        y=[marked.top1],
        mode="markers",
        marker={"size": 20, "color": "rgba(0,0,0,0)", "line": {"color": ORANGE, "width": 4}},
        hoverinfo="skip",
    )
    # A front rises: above it on the left and below it on the right there is nothing.
    above = 2 * marked.milliseconds > points[0].milliseconds + points[-1].milliseconds
    name = {
        "x": marked.milliseconds,
        "y": marked.top1,
        "text": f"<b>{marked.config}</b><br>top-1 {marked.top1:.1f} %",
        "showarrow": False,
        "align": "right" if above else "left",
        "xanchor": "right" if above else "left",
        "yanchor": "bottom" if above else "top",
        "xshift": -10 if above else 10,
        "yshift": 10 if above else -10,
        "font": {"color": ORANGE, "size": 14},
    }
    accuracies = [row.top1 for row in (*points, *others)]
    lowest, highest = min(accuracies), max(accuracies)
    margin = 0.25 * (highest - lowest) or 1.0
    return go.Figure(
        [pale, line, mark],
        layout={
            "xaxis": {"title": {"text": "milliseconds per clip, measured here"}},
            "yaxis": {"title": {"text": "top-1 accuracy, %"}, "range": [lowest - margin, highest + margin]},
            "annotations": [name],
            "showlegend": False,
            "height": 460,
            "margin": {"t": 20, "r": 20, "b": 50, "l": 60},
        },
    )

"""Interactive picture of the classes over the time of a video, an HTML file that needs no network, by plotly.

The mouse shows a segment's class, start and end; a rectangle zooms in; a click on the legend hides a class.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from mutualnet3d.extras import require
from mutualnet3d.plots.page_file import save_page
from mutualnet3d.plots.segment_timeline import axis_unit, score_points, shown_classes
from mutualnet3d.plots.styles import COLORS, GREY, WEB_FONTS
from mutualnet3d.results.segments import Segment, WindowScores, lost_stretches


def save_segment_page(
    scores: WindowScores, segments: Sequence[Segment], path: str, title: str, min_score: float = 0.0, smooth: int = 1
) -> None:
    """Draw the segments of each class in a row, with scores over time below, and write the page, atomically.

    Arguments and errors are those of `save_timeline`, with plotly for matplotlib; `path` ends in .html.
    """
    go = require("plotly.graph_objects", "plot")
    shown, num_more = shown_classes(segments)
    unit, unit_name = axis_unit(scores.duration_seconds)
    if num_more:
        title += f"; {num_more} classes with less time are not shown"
    second_P, score_PK = score_points(scores, shown, smooth)
    traces = []
    for row, index in enumerate(shown):
        own = [segment for segment in segments if segment.labels[0].index == index]
        name, color = html.escape(scores.class_names[index], quote=False), COLORS[row % len(COLORS)]
        common = {"name": name, "legendgroup": str(index)}
        bars = {
            "base": [segment.start / unit for segment in own],
            "x": [(segment.end - segment.start) / unit for segment in own],
            "y": [row] * len(own),
            "customdata": [_hover(segment) for segment in own],
        }
        traces.append(
            go.Bar(
                orientation="h",
                marker={"color": color},
                hovertemplate="%{customdata}<extra></extra>",
                **bars,
                **common,
            )
        )
        curve = {"x": (second_P / unit).tolist(), "y": _numbers(score_PK[:, row])}
        style = {"yaxis": "y2", "mode": "lines", "line": {"color": color, "width": 1.5}, "showlegend": False}
        traces.append(go.Scatter(**curve, **style, **common))
    figure = go.Figure(traces, layout=_layout(scores, shown, title, unit_name, unit, min_score))
    save_page(figure, path, title, "segments")


def _layout(
    scores: WindowScores, shown: Sequence[int], title: str, unit_name: str, unit: int, min_score: float
) -> dict[str, Any]:
    lost = [
        {
            "type": "rect",
            **{"xref": "x", "x0": start / unit, "x1": end / unit, "yref": "paper", "y0": 0, "y1": 1},
            **{"fillcolor": GREY, "opacity": 0.3, "line": {"width": 0}},
        }
        for start, end in lost_stretches(scores)
    ]
    least = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": "y2", "y0": min_score, "y1": min_score}
    least["line"] = {"color": GREY, "dash": "dash", "width": 1}
    names = [html.escape(scores.class_names[index], quote=False) for index in shown]
    return {
        "template": "simple_white",
        "font": {"family": WEB_FONTS},
        "title": {"text": html.escape(title, quote=False), "x": 0.5, "xanchor": "center"},
        "barmode": "overlay",
        "xaxis": {
            "title": {"text": unit_name},
            "range": [0, scores.duration_seconds / unit],
            "anchor": "y2",
            "showgrid": True,
        },
        # The first class is at the top.
        "yaxis": {
            "domain": [0.5, 1.0],
            "tickvals": list(range(len(shown))),
            "ticktext": names,
            "range": [max(1, len(shown)) - 0.5, -0.5],
        },
        "yaxis2": {"domain": [0.0, 0.45], "range": [0, 1.02], "title": {"text": "score"}, "showgrid": True},
        "shapes": [*lost, *([least] if min_score > 0 else [])],
        "hovermode": "closest",
    }


def _hover(segment: Segment) -> str:
    labels = (f"{html.escape(label.name, quote=False)} {100 * label.score:.1f} %" for label in segment.labels)
    return "<br>".join([f"<b>{clock(segment.start)} to {clock(segment.end)}</b>", *labels])


def clock(seconds: float) -> str:
    """Return seconds as `1:02:03.5`."""
    tenths = round(10 * seconds)
    return f"{tenths // 36000}:{tenths // 600 % 60:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"


def _numbers(score_P: Any) -> list[float | None]:
    """Return scores, None for unknown ones, where the curve has a gap."""
    return [None if score != score else round(float(score), 4) for score in score_P.tolist()]

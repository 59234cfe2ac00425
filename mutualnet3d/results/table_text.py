"""Query table as text for a terminal, as Markdown and as CSV, with the legend below it.

The back end has a column if it varies. If videos have several views, the views have a column too, and both costs are
there for a clip and for a video. Milliseconds that did not settle have a question mark.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mutualnet3d.log import printable
from mutualnet3d.results.pareto import front_of_rows
from mutualnet3d.results.row import COSTS, Row, Views
from mutualnet3d.results.table_context import backend_facts, default_key

_MARKS = {"gflops": "*", "milliseconds": "+"}
_CSV_COLUMNS = (
    "config",
    "width",
    "size",
    "frames",
    "backend",
    "views",
    "gflops",
    "gflops_of_video",
    "params",
    "milliseconds",
    "milliseconds_of_video",
    "top1",
    "top5",
    "pareto_gflops",
    "pareto_milliseconds",
)


def summary(rows: Sequence[Row], query_rows: Sequence[Row], context: Mapping[str, Any]) -> str:
    """Return a line about a table: its number of rows, and the ranges of the rows that queries are answered from."""

    def span(name: str, form: str) -> str:
        values = [getattr(row, name) for row in query_rows]
        ends = dict.fromkeys((format(min(values), form), format(max(values), form)))
        return " to ".join(ends)

    model = f"{context['model']}, " if "model" in context else ""
    all_views = sorted({row.views for row in query_rows})
    text = (
        f"QueryTable: {model}{len(rows)} {'row' if len(rows) == 1 else 'rows'}; on {query_rows[0].backend} "
        f"{span('gflops_of_video', '.3g')} GFLOPs and {span('milliseconds_of_video', '.3g')} ms per video, "
        f"{query_rows[0].measure} {span('accuracy', '.2f')} % ({' or '.join(map(views_text, all_views))})"
    )
    return f"<{printable(text)}>"


def views_text(views: Views) -> str:
    """Return a number of views for people: `one view`, `10 x 3 views`."""
    return "one view" if views.count == 1 else f"{views} views"


def table_to_text(rows: Sequence[Row]) -> str:
    """Return the rows for a terminal.

    Two columns of marks come first: `*` on the Pareto front of accuracy over GFLOPs of a video, `+` on that over
    milliseconds.
    """
    columns = _columns(rows)
    cells_of = {title: [text(row) for row in rows] for title, text in columns.items()}
    widths = {title: max(len(title), *map(len, cells)) for title, cells in cells_of.items()}
    titles = " ".join(_aligned(title, title, widths[title]) for title in columns)
    lines = [f"   {titles}".rstrip()]
    for number, costs in enumerate(_fronts(rows)):
        marks = "".join(mark if cost in costs else " " for cost, mark in _MARKS.items())
        cells = " ".join(_aligned(title, cells_of[title][number], widths[title]) for title in columns)
        lines.append(f"{marks} {cells}")
    return "\n".join(lines)


def rows_to_show(rows: Sequence[Row], context: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a table for a terminal: those of the test's views, of one view, and on a front."""
    backend, views = default_key(rows, context)
    return [
        row
        for row, costs in zip(rows, _fronts(rows), strict=True)
        if costs or (row.backend, row.views) in ((backend, views), (backend, Views()))
    ]


def table_to_markdown(rows: Sequence[Row], context: Mapping[str, Any]) -> str:
    """Return the rows for a README, as GitHub shows them, with the marks of `table_to_text` and the legend below."""
    columns = _columns(rows)
    lines = [["", *columns], ["---", *("---" if title in _WORDS else "---:" for title in columns)]]
    for row, costs in zip(rows, _fronts(rows), strict=True):
        marks = "".join(mark for cost, mark in _MARKS.items() if cost in costs)
        lines.append([marks, *(text(row) for text in columns.values())])
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{table}\n\n{legend(rows, context)}"


def table_to_csv(rows: Sequence[Row], context: Mapping[str, Any]) -> str:
    """Return the rows as CSV, with the context and with the facts of their back ends.

    `pareto_gflops` and `pareto_milliseconds` are 1 for rows on that front and 0 for others. `settled` is a column only
    if the milliseconds of some row did not settle, which has 0; `mean_ap` only if videos have several labels.
    """
    shared = {name: value for name, value in context.items() if name not in ("backend", "views", "backends")}
    facts = {row.backend: backend_facts(context, row.backend) for row in rows}
    settled = [] if all(row.settled for row in rows) else ["settled"]
    mean_ap = [] if all(row.mean_ap is None for row in rows) else ["mean_ap"]
    columns = dict.fromkeys(
        [*_CSV_COLUMNS, *mean_ap, *settled, *shared, *(name for values in facts.values() for name in values)]
    )
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    for row, costs in zip(rows, _fronts(rows), strict=True):
        shape = {"width": row.config.width, "size": row.config.size, "frames": row.config.frames}
        fields = {name: getattr(row, name) for name in ("config", "backend", "views", "params", *COSTS, "top1", "top5")}
        fields |= {f"{cost}_of_video": row.cost_of_video(cost) for cost in COSTS}
        on_front = {f"pareto_{cost}": int(cost in costs) for cost in COSTS}
        fields |= dict.fromkeys(mean_ap, row.mean_ap) | {name: int(row.settled) for name in settled}
        writer.writerow({**shared, **facts[row.backend], **shape, **fields, **on_front})
    return text.getvalue()


def legend(rows: Sequence[Row], context: Mapping[str, Any]) -> str:
    """Return lines with the meaning of marks, GFLOPs and ms, and the conditions of the test from the context."""
    default_backend, default_views = default_key(rows, context)
    backends = sorted({row.backend for row in rows}, key=lambda backend: (backend != default_backend, backend))
    all_views = sorted({row.views for row in rows})
    of_video = " of a video" if all_views[-1].count > 1 else ""
    compared = ", of the rows of one back end" if len(backends) > 1 else ""
    lines = [
        f"`*`: on the Pareto front of {rows[0].measure} over GFLOPs{of_video}; "
        f"`+`: on that over ms{of_video}{compared}.",
        "GFLOPs: 1e9 multiply-adds per clip of frames x size x size (sub-network: width w, size s, frames t).",
        *(_legend_of_times(backend, backend_facts(context, backend), len(backends) > 1) for backend in backends),
    ]
    accuracy = _tested_videos(context)
    if "views" in context or len(all_views) > 1:
        accuracy.append(f"{' or '.join(map(str, all_views))} views")
    if not all(row.settled for row in rows):
        lines.insert(1, "`?`: ms that varied too much as they were measured, on a busy machine; they mark no front.")
    lines += [f"Accuracy: over {', '.join(accuracy)}."] if accuracy else []
    if of_video:
        lines.append(_legend_of_videos(rows, context, default_views))
    return "\n".join(map(printable, lines))


def _legend_of_videos(rows: Sequence[Row], context: Mapping[str, Any], default_views: Views) -> str:
    """Return the lines about the costs of videos of several views, and about the views of rows."""
    text = "per video: of all its views (clips x crops); its ms: of one forward pass of all of them"
    unmeasured = [row for row in rows if row.views.count > 1 and row.pass_milliseconds is None]
    if unmeasured:
        text += ", or where that was not measured of one for each"
    if nearby := [views for views in map(str, sorted({row.views for row in rows})) if views in _nearby(context)]:
        text += f". {' and '.join(nearby)}: by views of the test that lie near to those of so many"
    elif "single_views" in context and default_views.count > 1 and Views() in {row.views for row in rows}:
        middle = context["single_views"] == "middle"
        text += f". 1 x 1: {'each video' + chr(39) + 's middle view' if middle else 'mean over the single views'}"
    return f"{text}."


def _nearby(context: Mapping[str, Any]) -> Sequence[object]:
    keys = context.get("nearby_views", [])
    return keys if isinstance(keys, list) else []


def _legend_of_times(backend: str, facts: Mapping[str, Any], named: bool) -> str:
    """Return the line about a back end's milliseconds."""
    text = f"ms on {backend}" if named else "ms"
    text += ": median time of one forward pass"
    if "batch_size" in facts:
        text += f" of {facts['batch_size']} {'clip' if facts['batch_size'] == 1 else 'clips'}"
    if "device" in facts:
        text += f" on {facts['device']}"
    if "threads" in facts:
        text += f", {facts['threads']} {'thread' if facts['threads'] == 1 else 'threads'}"
    if "calibration_clips" in facts:
        text += f"; quantised after training, with {facts['calibration_clips']} training clips"
    if "accuracy_of" in facts:
        text += f"; accuracy as measured on {facts['accuracy_of']}"
    return f"{text}."


def _milliseconds(row: Row, of_video: bool = False) -> str:
    return f"{row.milliseconds_of_video if of_video else row.milliseconds:.2f}{'' if row.settled else '?'}"


def _tested_videos(context: Mapping[str, Any]) -> list[str]:
    """Return the numbers of videos in words; [] if the context has none."""
    if "num_videos" not in context:
        return []
    listed = f" of {context['num_listed']} listed" if "num_listed" in context else ""
    is_part = context.get("num_in_list", 0) > context.get("num_listed", 0)
    whole = f" (some of {context['num_in_list']})" if is_part else ""
    return [f"{context['num_videos']}{listed} videos{whole}"]


# Columns of words; the others hold numbers.
_WORDS = ("sub-network", "back end", "views")


def _columns(rows: Sequence[Row]) -> dict[str, Callable[[Row], str]]:
    """Return the columns of a table for people: functions from a row to text, by title."""
    several = any(row.views.count > 1 for row in rows)
    columns: dict[str, Callable[[Row], str]] = {"sub-network": lambda row: str(row.config)}
    if len({row.backend for row in rows}) > 1:
        columns["back end"] = lambda row: printable(row.backend)
    if several:
        columns["views"] = lambda row: str(row.views)
        columns["GFLOPs/clip"] = lambda row: f"{row.gflops:.4f}"
        columns["GFLOPs/video"] = lambda row: f"{row.gflops_of_video:.4f}"
    else:
        columns["GFLOPs"] = lambda row: f"{row.gflops:.4f}"
    columns["params"] = lambda row: f"{row.params:,}"
    if several:
        columns["ms/clip"] = _milliseconds
        columns["ms/video"] = lambda row: _milliseconds(row, of_video=True)
    else:
        columns["ms"] = _milliseconds
    if any(row.mean_ap is not None for row in rows):
        columns["mAP %"] = lambda row: "" if row.mean_ap is None else f"{row.mean_ap:.2f}"
    columns["top-1 %"] = lambda row: f"{row.top1:.2f}"
    columns["top-5 %"] = lambda row: f"{row.top5:.2f}"
    return columns


def _aligned(title: str, cell: str, width: int) -> str:
    return f"{cell:<{width}}" if title in _WORDS else f"{cell:>{width}}"


def _fronts(rows: Sequence[Row]) -> list[set[str]]:
    """Return, for each row, the costs of a video over which it is on the front of the rows of its back end.

    Rows whose time did not settle do not count over milliseconds.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.backend, []).append(row)
    on_front = {
        cost: {
            row.key
            for group in groups.values()
            for row in front_of_rows((row for row in group if row.settled or cost != "milliseconds"), cost)
        }
        for cost in COSTS
    }
    return [{cost for cost in COSTS if row.key in on_front[cost]} for row in rows]

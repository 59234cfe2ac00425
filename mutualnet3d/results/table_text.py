"""Query table as text: for a terminal, as Markdown, as CSV, and the legend below it.

Back end and views have columns of their own where they vary. Milliseconds that did not settle have a question mark.
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
    "params",
    "milliseconds",
    "top1",
    "top5",
    "pareto_gflops",
    "pareto_milliseconds",
)
_KEY_TITLES: dict[str, Callable[[Row], str]] = {
    "back end": lambda row: printable(row.backend),
    "views": lambda row: str(row.views),
}


def summary(rows: Sequence[Row], query_rows: Sequence[Row], context: Mapping[str, Any]) -> str:
    """Return one line about a table: its rows, and the least and the most of those that queries are answered from."""

    def span(name: str, form: str) -> str:
        values = [getattr(row, name) for row in query_rows]
        ends = dict.fromkeys((format(min(values), form), format(max(values), form)))
        return " to ".join(ends)

    model = f"{context['model']}, " if "model" in context else ""
    text = (
        f"QueryTable: {model}{len(rows)} {'row' if len(rows) == 1 else 'rows'}; on {query_rows[0].backend} "
        f"{span('gflops', '.3g')} GFLOPs, {span('milliseconds', '.3g')} ms, top-1 {span('top1', '.2f')} % "
        f"({views_text(query_rows[0].views)})"
    )
    return f"<{printable(text)}>"


def views_text(views: Views) -> str:
    """Return a number of views for people: `one view`, `10 x 3 views`."""
    return "one view" if views.count == 1 else f"{views} views"


def table_to_text(rows: Sequence[Row]) -> str:
    """Return the rows for a terminal.

    Two columns of marks come first: `*` on the Pareto front of accuracy over GFLOPs, `+` on that over milliseconds.
    """
    keys = _varying_keys(rows)
    widths = {title: max(len(title), *(len(text(row)) for row in rows)) for title, text in keys.items()}
    titles = "".join(f" {title:<{widths[title]}}" for title in keys)
    lines = [f"   {'sub-network':<16}{titles} {'GFLOPs':>9} {'params':>10} {'ms':>8} {'top-1 %':>8} {'top-5 %':>8}"]
    for row, costs in zip(rows, _fronts(rows), strict=True):
        marks = "".join(mark if cost in costs else " " for cost, mark in _MARKS.items())
        cells = "".join(f" {text(row):<{widths[title]}}" for title, text in keys.items())
        lines.append(
            f"{marks} {row.config!s:<16}{cells} {row.gflops:>9.4f} {row.params:>10,} "
            f"{_milliseconds(row):>8} {row.top1:>8.2f} {row.top5:>8.2f}"
        )
    return "\n".join(lines)


def table_to_markdown(rows: Sequence[Row], context: Mapping[str, Any]) -> str:
    """Return the rows for a README, as GitHub shows them, with the marks of `table_to_text` and the legend below."""
    keys = _varying_keys(rows)
    lines = [
        ["", "sub-network", *keys, "GFLOPs", "params", "ms", "top-1 %", "top-5 %"],
        ["---"] * (2 + len(keys)) + ["---:"] * 5,
    ]
    for row, costs in zip(rows, _fronts(rows), strict=True):
        marks = "".join(mark for cost, mark in _MARKS.items() if cost in costs)
        numbers = [
            f"{row.gflops:.4f}",
            f"{row.params:,}",
            _milliseconds(row),
            f"{row.top1:.2f}",
            f"{row.top5:.2f}",
        ]
        lines.append([marks, str(row.config), *(text(row) for text in keys.values()), *numbers])
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{table}\n\n{legend(rows, context)}"


def table_to_csv(rows: Sequence[Row], context: Mapping[str, Any]) -> str:
    """Return the rows as CSV, each with the context and with the facts of its back end.

    `pareto_gflops` and `pareto_milliseconds` are 1 for rows on that front and 0 for others. `settled` is there only if
    it is 0 for some row, whose milliseconds did not settle.
    """
    shared = {name: value for name, value in context.items() if name not in ("backend", "views", "backends")}
    facts = {row.backend: backend_facts(context, row.backend) for row in rows}
    settled = [] if all(row.settled for row in rows) else ["settled"]
    columns = dict.fromkeys([*_CSV_COLUMNS, *settled, *shared, *(name for values in facts.values() for name in values)])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    for row, costs in zip(rows, _fronts(rows), strict=True):
        shape = {"width": row.config.width, "size": row.config.size, "frames": row.config.frames}
        fields = {name: getattr(row, name) for name in ("config", "backend", "views", "params", *COSTS, "top1", "top5")}
        on_front = {f"pareto_{cost}": int(cost in costs) for cost in COSTS}
        fields |= {name: int(row.settled) for name in settled}
        writer.writerow({**shared, **facts[row.backend], **shape, **fields, **on_front})
    return text.getvalue()


def legend(rows: Sequence[Row], context: Mapping[str, Any]) -> str:
    """Return some lines: the meaning of marks, GFLOPs and ms, and the conditions of the test that the context has."""
    default_backend, default_views = default_key(rows, context)
    backends = sorted({row.backend for row in rows}, key=lambda backend: (backend != default_backend, backend))
    all_views = sorted({row.views for row in rows})
    compared = ", of the rows of one back end and number of views" if _varying_keys(rows) else ""
    lines = [
        f"`*`: on the Pareto front of top-1 over GFLOPs; `+`: on that over ms{compared}.",
        "GFLOPs: 1e9 multiply-adds per clip of frames x size x size (sub-network: width w, size s, frames t).",
        *(_legend_of_times(backend, backend_facts(context, backend), len(backends) > 1) for backend in backends),
    ]
    accuracy = _tested_videos(context)
    if "views" in context or len(all_views) > 1:
        accuracy.append(f"{' or '.join(map(str, all_views))} views")
    if not all(row.settled for row in rows):
        lines.insert(1, "`?`: ms that varied too much as they were measured, on a busy machine; they mark no front.")
    lines += [f"Accuracy: over {', '.join(accuracy)}."] if accuracy else []
    if all_views[-1].count > 1:
        costs = " and ".join(f"{views.count} times for {views} views" for views in all_views if views.count > 1)
        # A test of several views finds the accuracy of single ones beside it.
        words = "each video's middle view" if context.get("single_views") == "middle" else "mean over the single views"
        single = f"; 1 x 1: {words}" if default_views.count > 1 and Views() in all_views else ""
        lines.append(f"A video takes a clip's GFLOPs {costs}{single}.")
    return "\n".join(map(printable, lines))


def _legend_of_times(backend: str, facts: Mapping[str, Any], named: bool) -> str:
    """Return the line about one back end's milliseconds."""
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


def _milliseconds(row: Row) -> str:
    return f"{row.milliseconds:.2f}{'' if row.settled else '?'}"


def _tested_videos(context: Mapping[str, Any]) -> list[str]:
    """Return the numbers of videos in words; nothing where the context has none."""
    if "num_videos" not in context:
        return []
    listed = f" of {context['num_listed']} listed" if "num_listed" in context else ""
    is_part = context.get("num_in_list", 0) > context.get("num_listed", 0)
    whole = f" (some of {context['num_in_list']})" if is_part else ""
    return [f"{context['num_videos']}{listed} videos{whole}"]


def _varying_keys(rows: Sequence[Row]) -> dict[str, Callable[[Row], str]]:
    """Return the columns of the rows' key, title -> text of a row, that vary."""
    return {title: text for title, text in _KEY_TITLES.items() if len({text(row) for row in rows}) > 1}


def _fronts(rows: Sequence[Row]) -> list[set[str]]:
    """Return, for each row, the costs over which it is on the front of the rows of its back end and views.

    Over milliseconds only rows count whose time settled.
    """
    groups: dict[tuple[str, Views], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.backend, row.views), []).append(row)
    on_front = {
        cost: {
            row.key
            for group in groups.values()
            for row in front_of_rows((row for row in group if row.settled or cost != "milliseconds"), cost)
        }
        for cost in COSTS
    }
    return [{cost for cost in COSTS if row.key in on_front[cost]} for row in rows]

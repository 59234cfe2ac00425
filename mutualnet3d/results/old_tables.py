"""Query tables of earlier releases, turned into present rows.

Tables of schema version 4 had no times of videos, and accuracies of single views could be a mean over all. Tables of
versions 1 to 3 had a single row of each sub-network, of the test run's back end and views. Accuracies of single views
(from version 2) and of int8 (from version 3) were columns of that row, and facts of measurements were in the context
without a back end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mutualnet3d.results.json_rows import build_row, checked_fields
from mutualnet3d.results.row import Row, Views, finite_number
from mutualnet3d.results.table_context import check_facts, with_facts

NEWEST_OLD_VERSION = 3  # of rows that have to be changed

_REQUIRED = ("config", "gflops", "params", "milliseconds", "top1", "top5")
_SINGLE_VIEW = ("clip_top1", "clip_top5")
_INT8 = ("int8_top1", "int8_top5", "int8_milliseconds")
_FACTS = ("device", "threads", "batch_size", "latency_runs", "milliseconds_of")
_INT8_BACKEND = "openvino-int8"
_INT8_FACTS = {"int8_device": "device", "int8_clips": "calibration_clips"}


def upgrade_table(entries: Sequence[Any], context: Mapping[str, Any], path: str) -> tuple[list[Row], dict[str, Any]]:
    """Return the present form of the rows and the context of an old file.

    A row of single views or of int8 needs all its numbers; without one of them the row is left out.

    Args:
        entries: rows from JSON.
        context: context from JSON.
        path: path of the file, for errors.

    Raises:
        ValueError: a row, or the context's views or facts, are invalid; the message names file, row and field.
    """
    try:
        check_facts(context)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    backend, views = context.get("backend", Row.backend), _views(context, path)
    rows: list[Row] = []
    for number, entry in enumerate(entries, start=1):
        where = f"{path}: row {number}"
        values = checked_fields(entry, where, _REQUIRED, (*_SINGLE_VIEW, *_INT8))
        base = {name: values[name] for name in _REQUIRED}
        row = build_row({**base, "backend": backend, "views": str(views)}, where)
        rows.append(row)
        single = _numbers(values, _SINGLE_VIEW, where)
        if single and views.count > 1:  # of one view it is the row's own accuracy
            rows.append(replace(row, views=Views(), top1=single["clip_top1"], top5=single["clip_top5"]))
        if int8 := _numbers(values, _INT8, where):
            measured = {name.removeprefix("int8_"): value for name, value in int8.items()}
            rows.append(replace(row, backend=_INT8_BACKEND, **measured))  # type: ignore[arg-type] # names of numbers
    return rows, _context(context, backend, views)


def _views(context: Mapping[str, Any], path: str) -> Views:
    """Return the test's views; 1 x 1 if the context has none."""
    text = context.get("views", f"{Views()} views")
    try:
        return Views.parse(text.removesuffix(" views") if isinstance(text, str) else text)
    except ValueError as error:
        raise ValueError(f"{path}: context: {error}") from error


def _numbers(values: Mapping[str, Any], names: Sequence[str], where: str) -> dict[str, float]:
    """Return the optional numbers of these names; {} if a number is missing."""
    try:
        numbers = {name: finite_number(name, values[name]) for name in names if values.get(name) is not None}
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return numbers if len(numbers) == len(names) else {}


def _context(context: Mapping[str, Any], backend: str, views: Views) -> dict[str, Any]:
    moved = ("backend", *_FACTS, *_INT8_FACTS)
    kept = {name: value for name, value in context.items() if name not in moved}
    upgraded = with_facts(kept, backend, {name: context[name] for name in _FACTS if name in context})
    int8 = {name: context[old] for old, name in _INT8_FACTS.items() if old in context}
    if int8:
        upgraded = with_facts(upgraded, _INT8_BACKEND, {**int8, "batch_size": 1})
    return {**upgraded, "backend": backend, **({"views": str(views)} if "views" in context else {})}


def with_single_views(rows: Sequence[Row], context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context of an old table with the fact that accuracies of single views are the mean over all.

    A context that says otherwise, and that of a table without such accuracies, do not change.
    """
    views = {row.views for row in rows}
    return {"single_views": "mean", **context} if Views() in views and len(views) > 1 else dict(context)

"""Rows of a query table in JSON, read strictly, with errors that name the row and the field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mutualnet3d.results.row import Row, Views, finite_number
from mutualnet3d.shapes import SubnetConfig

FIELDS = ("config", "backend", "views", "gflops", "params", "milliseconds", "top1", "top5")
# Written where the first is false, and where the others were measured.
_OPTIONAL = ("settled", "pass_milliseconds", "mean_ap")
# Written for other programs; they follow from the rest.
_DERIVED = ("gflops_of_video", "milliseconds_of_video")


def row_to_json(row: Row) -> dict[str, Any]:
    """Return a row as plain values."""
    values = {name: getattr(row, name) for name in FIELDS}
    values |= {"config": str(row.config), "views": str(row.views)}
    values |= {name: getattr(row, name) for name in _DERIVED}
    if row.pass_milliseconds is not None:
        values["pass_milliseconds"] = row.pass_milliseconds
    if row.mean_ap is not None:
        values["mean_ap"] = row.mean_ap
    return values if row.settled else {**values, "settled": False}


def row_from_json(entry: Any, where: str) -> Row:
    """Return a row from the result of `row_to_json`.

    Args:
        entry: result of `row_to_json`.
        where: file and row, for the error.

    Raises:
        ValueError: the entry is no row; the message has `where` and the field.
    """
    values = dict(checked_fields(entry, where, FIELDS, (*_OPTIONAL, *_DERIVED)))
    derived = {name: values.pop(name) for name in _DERIVED if name in values}
    row = build_row(values, where)
    for name, value in derived.items():
        expected = getattr(row, name)
        if not math.isclose(_number(name, value, where), expected):
            raise ValueError(f"{where}: {name} is {value!r:.60}; by the row's costs and views it is {expected!r}")
    return row


def _number(name: str, value: Any, where: str) -> float:
    try:
        return finite_number(name, value)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def checked_fields(
    entry: Any, where: str, required: Sequence[str], optional: Sequence[str] = (), kind: str = "a row"
) -> Mapping[str, Any]:
    """Return the fields of a row, with unchecked values.

    Args:
        entry: value from JSON.
        where: file and row, for the error.
        required: names of the fields that the row must have.
        optional: names of the fields that the row may have.
        kind: name of the entry's kind, for errors.

    Raises:
        ValueError: the entry is no object, or has other fields.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is {entry!r:.60}; it must be an object")
    allowed = (*required, *optional)
    for name in entry:
        if name not in allowed:
            raise ValueError(f"{where}: unknown field {name!r:.60}; {kind} has {', '.join(allowed)}")
    for name in required:
        if name not in entry:
            raise ValueError(f"{where}: {name} is missing; {kind} has {', '.join(allowed)}")
    return entry


def build_row(values: Mapping[str, Any], where: str) -> Row:
    """Return the row of some fields, with keys of sub-network and views as text.

    Args:
        values: values by the names of the fields.
        where: file and row, for the error.

    Raises:
        ValueError: a value is not allowed; the message has `where` and the field.
    """
    try:
        views = Views.parse(values["views"])
        return Row(**{**values, "config": parsed_config(values["config"]), "views": views})
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def parsed_config(key: Any) -> SubnetConfig:
    """Return the sub-network of a key.

    Args:
        key: key of a sub-network, such as `w0.63-s160-t10`.

    Raises:
        ValueError: the value is no key.
    """
    if not isinstance(key, str):
        raise ValueError(f"config is {key!r:.60}; it must be a key such as 'w0.63-s160-t10'")
    try:
        return SubnetConfig.parse(key)
    except ValueError as error:
        raise ValueError(f"config: {error}") from error

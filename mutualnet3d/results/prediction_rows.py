"""Rows of many files' predictions, and their files: Parquet, CSV, JSON Lines.

A record is the object that `mutualnet3d predict --json` prints for a file, with its status. A row has the same in
columns of plain values, for tables; the names of the columns have their units.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeAlias

import simplejson

from mutualnet3d.extras import require
from mutualnet3d.files.atomic import atomic_file

EXTRA = "parquet"
FORMATS = (".parquet", ".csv", ".jsonl")
OK = "ok"
_CHUNK = 8192  # rows that are written at once

Record: TypeAlias = Mapping[str, Any]
Row: TypeAlias = dict[str, str | int | float | None]

_COLUMNS: dict[str, type] = {
    "path": str,
    "status": str,
    "reason": str,
    "subnet": str,
    "views": int,
    "stages": str,
    "backend": str,
    "gflops": float,
    "decode_milliseconds": float,
    "prepare_milliseconds": float,
    "network_milliseconds": float,
}


def columns(top: int) -> dict[str, type]:
    """Return the type of each column.

    Args:
        top: number of labels; label n has the columns `label_n`, `class_n`, `score_n`, n from 1 on.
    """
    of_labels = [(f"label_{n}", f"class_{n}", f"score_{n}") for n in range(1, top + 1)]
    types = (str, int, float)
    return {**_COLUMNS, **{name: kind for names in of_labels for name, kind in zip(names, types, strict=True)}}


def unread_record(path: str, status: str, reason: str) -> dict[str, Any]:
    """Return the record of a file that cannot be read.

    Args:
        path: path of the file.
        status: "missing" or "bad".
        reason: text of the cause.
    """
    return {"source": path, "status": status, "error": reason}


def row_of(record: Record, top: int) -> Row:
    """Return the row of a record: the values of all columns, None for missing ones."""
    row: Row = dict.fromkeys(columns(top))
    row["path"], row["status"] = record["source"], record["status"]
    if record["status"] != OK:
        row["reason"] = record["error"]
        return row
    row["subnet"], row["views"], row["backend"] = record["config"], record["views"], record["backend"]
    row["stages"] = " > ".join(stage["config"] for stage in record["stages"])
    row["gflops"] = record["gflops_of_video"]
    for part in ("decode", "prepare", "network"):
        row[f"{part}_milliseconds"] = record["milliseconds"][part]
    for n, label in enumerate(record["labels"][:top], start=1):
        row[f"label_{n}"], row[f"class_{n}"], row[f"score_{n}"] = label["name"], label["index"], label["score"]
    return row


def check_format(path: str, option: str) -> None:
    """Refuse a file whose extension is not that of a format, or whose library is not installed.

    Args:
        path: path of the file.
        option: name of the user's option, for the error.

    Raises:
        ValueError: the extension is another one.
        ModuleNotFoundError: the library is not installed; the message says what to install.
    """
    if _extension(path) not in FORMATS:
        raise ValueError(f"{option}: {path}: the extension says the format; allowed: {', '.join(FORMATS)}")
    if _extension(path) == ".parquet":
        require("pyarrow.parquet", EXTRA)


def write_predictions(path: str, records: Iterable[Record], top: int) -> None:
    r"""Write records in the format of the path's extension; the file is whole or absent.

    A path that is not UTF-8 has escapes (`\udcff`) in Parquet, with its own bytes in CSV, and as JSON writes
    it in JSON Lines.

    Args:
        path: path of the file.
        records: records of the files; few are in memory at a time.
        top: number of labels.

    Raises:
        ValueError: the extension is another one.
        WriteError: the disk is full.
    """
    check_format(path, "output")
    write = {".parquet": write_parquet, ".csv": _write_csv, ".jsonl": _write_json_lines}[_extension(path)]
    with atomic_file(path) as temporary:
        write(temporary, records, top)


def write_parquet(file: Any, records: Iterable[Record], top: int) -> None:
    """Write records to a Parquet file.

    Args:
        file: path of a local file, or a file of pyarrow that is open for writing.
        records: records of the files; few are in memory at a time.
        top: number of labels.
    """
    arrow, parquet = require("pyarrow", EXTRA), require("pyarrow.parquet", EXTRA)
    kinds = {str: arrow.string(), int: arrow.int32(), float: arrow.float64()}
    schema = arrow.schema([(name, kinds[kind]) for name, kind in columns(top).items()])
    with parquet.ParquetWriter(file, schema) as writer:
        for rows in _chunks(records, top):
            for row in rows:
                row.update({name: utf8_text(value) for name, value in row.items() if isinstance(value, str)})
            writer.write_table(arrow.Table.from_pylist(rows, schema))


def _write_csv(path: str, records: Iterable[Record], top: int) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.DictWriter(file, columns(top), lineterminator="\n")
        writer.writeheader()
        for rows in _chunks(records, top):
            writer.writerows(rows)


def _write_json_lines(path: str, records: Iterable[Record], top: int) -> None:
    with open(path, "w", encoding="ascii") as file:
        for record in records:
            file.write(simplejson.dumps(record, ignore_nan=True) + "\n")


def _chunks(records: Iterable[Record], top: int) -> Iterator[list[Row]]:
    iterator = iter(records)
    while rows := [row_of(record, top) for record in islice(iterator, _CHUNK)]:
        yield rows


def utf8_text(text: str) -> str:
    """Return a text in UTF-8, with escapes for other characters."""
    return text.encode("utf-8", "backslashreplace").decode()


def _extension(path: str) -> str:
    return os.path.splitext(path)[1].lower()

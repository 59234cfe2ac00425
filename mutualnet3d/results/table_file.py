"""File of a query table, JSON with a schema version, read from earlier releases too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import simplejson

from mutualnet3d.files.atomic import write_text
from mutualnet3d.files.json_file import read_json
from mutualnet3d.results import old_tables
from mutualnet3d.results.cascade import Cascade, CostSpread
from mutualnet3d.results.json_cascades import cascade_to_json, cascades_from_json
from mutualnet3d.results.json_rows import row_from_json, row_to_json
from mutualnet3d.results.row import Row

SCHEMA = "mutualnet3d.query_table"
SCHEMA_VERSION = 5  # 4 had no pass_milliseconds, nor costs of videos; 1 to 3: see old_tables.py


def write_table(
    path: str,
    rows: Sequence[Row],
    context: Mapping[str, Any],
    cascades: Sequence[tuple[Cascade, CostSpread]] | None = None,
) -> None:
    """Write rows, context, and cascades with their GFLOPs as JSON, atomically."""
    content = {
        "schema": SCHEMA,
        "version": SCHEMA_VERSION,
        "context": dict(context),
        "rows": [row_to_json(row) for row in rows],
    }
    if cascades is not None:  # an optional part: releases that know no cascades read the rest
        content["cascades"] = [cascade_to_json(cascade, gflops) for cascade, gflops in cascades]
    write_text(path, simplejson.dumps(content, indent=1) + "\n")


def read_table(path: str) -> tuple[list[Row], dict[str, Any], tuple[Cascade, ...] | None]:
    """Return rows, context and cascades (None without any) of a file that this or an earlier release wrote.

    Args:
        path: path of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no query table, or a later release's; the message names file, row or cascade, and field.
    """
    content = read_json(path, "a query table")
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f"{path}: not a query table of mutualnet3d")
    version = content.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ValueError(f"{path}: version is {version!r:.60}; it must be an integer from 1 to {SCHEMA_VERSION}")
    if version > SCHEMA_VERSION:
        raise ValueError(f"{path}: version {version!r:.60}; this release reads up to {SCHEMA_VERSION}")
    for name, kind, description in (("context", dict, "an object"), ("rows", list, "a list")):
        if not isinstance(content.get(name), kind):
            raise ValueError(f"{path}: {name} is {content.get(name)!r:.60}; it must be {description}")
    if version <= old_tables.NEWEST_OLD_VERSION:
        rows, context = old_tables.upgrade_table(content["rows"], content["context"], path)
    else:
        rows = [row_from_json(entry, f"{path}: row {number}") for number, entry in enumerate(content["rows"], start=1)]
        context = content["context"]
    cascades = cascades_from_json(content["cascades"], path) if "cascades" in content else None
    return rows, context if version == SCHEMA_VERSION else old_tables.with_single_views(rows, context), cascades

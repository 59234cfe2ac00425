"""Query tables that the tests of results and pictures share."""

from __future__ import annotations

from dataclasses import replace

from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.results.row import Row, Views
from mutualnet3d.shapes import SubnetConfig

FACTS = {"device": "cpu", "threads": 2, "batch_size": 1}
CONTEXT = {"views": "1 x 1", "checkpoint": "abc", "backends": {"pytorch": FACTS}}
INT8 = "openvino-int8"


def row(key: str, gflops: float, milliseconds: float, top1: float) -> Row:
    """Return a row on PyTorch, with one view."""
    return Row(SubnetConfig.parse(key), gflops, int(1e6 * gflops), milliseconds, top1, top1 + 5)


TABLE = QueryTable(
    (
        row("w0.5-s32-t4", 0.1, 2.0, 50.0),
        row("w1.0-s48-t8", 1.0, 9.0, 90.0),
        row("w0.5-s48-t8", 0.5, 8.0, 70.0),
        row("w1.0-s32-t8", 0.6, 5.0, 80.0),
        row("w1.0-s32-t4", 0.7, 3.0, 75.0),
    ),
    CONTEXT,
)


def with_int8(table: QueryTable = TABLE) -> QueryTable:
    """Return the table with the two most expensive sub-networks in int8 too, and the first with three views."""
    first, second = table.default_rows[:2]
    int8 = [
        replace(first, backend=INT8, milliseconds=1.5, top1=89.5, top5=94.25),
        replace(second, backend=INT8, milliseconds=2.0, top1=76.0, top5=79.0),
    ]
    more_views = replace(first, views=Views(1, 3), top1=91.0, top5=96.0)
    table = table.with_rows(int8, device="another cpu", batch_size=1, calibration_clips=160)
    return table.with_rows([more_views])

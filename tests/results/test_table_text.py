from __future__ import annotations

import csv
import io
from dataclasses import replace

from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.results.row import Views
from mutualnet3d.results.table_text import (
    legend,
    rows_to_show,
    table_to_csv,
    table_to_markdown,
    table_to_text,
    views_text,
)
from tests.results.tables import CONTEXT, TABLE, with_int8


def test_text_marks_both_fronts():
    lines = table_to_text(TABLE.rows).splitlines()
    assert len(lines) == 6
    assert [line.split()[1] for line in lines[1:] if line.startswith("*")] == [
        "w1.0-s48-t8", "w1.0-s32-t8", "w0.5-s48-t8", "w0.5-s32-t4",
    ]  # fmt: skip
    assert [line[:14] for line in lines] == [
        "   sub-network", "*+ w1.0-s48-t8", " + w1.0-s32-t4", "*+ w1.0-s32-t8", "*  w0.5-s48-t8", "*+ w0.5-s32-t4",
    ]  # fmt: skip
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split() == ["*+", "w1.0-s48-t8", "1.0000", "1,000,000", "9.00", "90.00", "95.00"]


def test_back_end_and_views_have_columns_where_they_vary():
    table = with_int8()
    lines = table_to_text(table.rows).splitlines()
    assert lines[0].split()[:4] == ["sub-network", "back", "end", "views"]
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split()[4:] == [
        "GFLOPs/clip", "GFLOPs/video", "params", "ms/clip", "ms/video", "top-1", "%", "top-5", "%",
    ]  # fmt: skip
    assert [" ".join(line.split()) for line in lines[1:5]] == [
        "*+ w1.0-s48-t8 pytorch 1 x 1 1.0000 1.0000 1,000,000 9.00 9.00 90.00 95.00",
        "*+ w1.0-s48-t8 openvino-int8 1 x 1 1.0000 1.0000 1,000,000 1.50 1.50 89.50 94.25",
        "*+ w1.0-s48-t8 pytorch 1 x 3 1.0000 3.0000 1,000,000 9.00 27.00 91.00 96.00",
        "+ w1.0-s32-t4 pytorch 1 x 1 0.7000 0.7000 700,000 3.00 3.00 75.00 80.00",
    ]
    assert lines[5].split()[:2] == ["*", "w1.0-s32-t4"]  # int8's own front: slower and less accurate
    assert "back end" not in table_to_text(table.select(backend="openvino-int8").rows)
    assert "views" not in table_to_text(table.select(backend="openvino-int8").rows)


def test_markdown():
    table = QueryTable(TABLE.rows[:2], {**CONTEXT, "num_videos": 240})
    assert table_to_markdown(table.rows, table.context).splitlines() == [
        "|  | sub-network | GFLOPs | params | ms | top-1 % | top-5 % |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
        "| *+ | w1.0-s48-t8 | 1.0000 | 1,000,000 | 9.00 | 90.00 | 95.00 |",
        "| *+ | w1.0-s32-t4 | 0.7000 | 700,000 | 3.00 | 75.00 | 80.00 |",
        "",
        "`*`: on the Pareto front of top-1 over GFLOPs; `+`: on that over ms.",
        "GFLOPs: 1e9 multiply-adds per clip of frames x size x size (sub-network: width w, size s, frames t).",
        "ms: median time of one forward pass of 1 clip on cpu, 2 threads.",
        "Accuracy: over 240 videos, 1 x 1 views.",
    ]


def test_markdown_of_several_back_ends_and_views():
    table = with_int8(QueryTable(TABLE.rows, {**CONTEXT, "num_videos": 240}))
    lines = table_to_markdown(table.rows, table.context).splitlines()
    assert lines[0] == (
        "|  | sub-network | back end | views | GFLOPs/clip | GFLOPs/video | params | ms/clip | ms/video | top-1 % "
        "| top-5 % |"
    )
    assert lines[3] == (
        "| *+ | w1.0-s48-t8 | openvino-int8 | 1 x 1 | 1.0000 | 1.0000 | 1,000,000 | 1.50 | 1.50 | 89.50 | 94.25 |"
    )
    assert len({line.count("|") for line in lines[:10]}) == 1
    assert lines[-6:] == [
        "`*`: on the Pareto front of top-1 over GFLOPs of a video; `+`: on that over ms of a video, of the rows of one "
        "back end.",
        "GFLOPs: 1e9 multiply-adds per clip of frames x size x size (sub-network: width w, size s, frames t).",
        "ms on pytorch: median time of one forward pass of 1 clip on cpu, 2 threads.",
        "ms on openvino-int8: median time of one forward pass of 1 clip on another cpu; quantised after training, with "
        "160 training clips.",
        "Accuracy: over 240 videos, 1 x 1 or 1 x 3 views.",
        "per video: of all its views (clips x crops); its ms: of one forward pass of all of them, or where that was "
        "not measured of one for each.",
    ]


def test_a_legend_says_what_the_context_knows():
    assert legend(TABLE.rows, {}).splitlines()[2:] == ["ms: median time of one forward pass."]
    facts = {"batch_size": 8, "threads": 1, "accuracy_of": "pytorch"}
    context = {"num_videos": 4, "num_listed": 5, "num_in_list": 6, "backends": {"pytorch": facts}}
    assert legend(TABLE.rows, context).splitlines()[2:] == [
        "ms: median time of one forward pass of 8 clips, 1 thread; accuracy as measured on pytorch.",
        "Accuracy: over 4 of 5 listed videos (some of 6).",
    ]


def test_texts_of_a_table_are_not_obeyed_by_a_terminal():
    rows = (TABLE.rows[0], replace(TABLE.rows[1], backend="\x1b[2J\n"))
    context = {**CONTEXT, "backend": "pytorch", "backends": {"\x1b[2J\n": {"device": "\x1b]0;x\x07"}}}
    printed = table_to_text(rows) + legend(rows, context)
    assert "\\x1b[2J\\n" in table_to_text(rows)
    assert len(table_to_text(rows).splitlines()) == 3
    assert set(printed) & set("\x1b\x07\r") == set()


def read_csv(table):
    return list(csv.DictReader(io.StringIO(table_to_csv(table.rows, table.context))))


def test_csv():
    rows = read_csv(TABLE)
    assert len(rows) == 5
    names = ("config", "width", "size", "frames", "backend", "views", "top1", "checkpoint", "device", "threads")
    assert {name: rows[-1][name] for name in names} == {
        "config": "w0.5-s32-t4", "width": "0.5", "size": "32", "frames": "4", "backend": "pytorch", "views": "1 x 1",
        "top1": "50.0", "checkpoint": "abc", "device": "cpu", "threads": "2",
    }  # fmt: skip
    marks = {row["config"]: (row["pareto_gflops"], row["pareto_milliseconds"]) for row in rows}
    assert marks == {
        "w1.0-s48-t8": ("1", "1"), "w1.0-s32-t4": ("0", "1"), "w1.0-s32-t8": ("1", "1"),
        "w0.5-s48-t8": ("1", "0"), "w0.5-s32-t4": ("1", "1"),
    }  # fmt: skip


def test_csv_has_the_facts_of_each_rows_back_end():
    rows = read_csv(with_int8())
    assert [(row["backend"], row["views"], row["top1"]) for row in rows[:3]] == [
        ("pytorch", "1 x 1", "90.0"), ("openvino-int8", "1 x 1", "89.5"), ("pytorch", "1 x 3", "91.0"),
    ]  # fmt: skip
    assert [(row["device"], row["threads"], row["calibration_clips"]) for row in rows[:2]] == [
        ("cpu", "2", ""), ("another cpu", "", "160"),
    ]  # fmt: skip


def test_times_that_did_not_settle_mark_no_front():
    """The slowest row and the fastest one were measured on a busy machine."""
    rows = [replace(row, settled=str(row.config) not in ("w1.0-s48-t8", "w0.5-s32-t4")) for row in TABLE.rows]
    table = QueryTable(tuple(rows), CONTEXT)
    lines = table_to_text(table.rows).splitlines()
    assert [line[:14] for line in lines[1:]] == [
        "*  w1.0-s48-t8", " + w1.0-s32-t4", "*+ w1.0-s32-t8", "*  w0.5-s48-t8", "*  w0.5-s32-t4",
    ]  # fmt: skip
    assert len({len(line) for line in lines}) == 1
    assert [line.split()[-3] for line in lines[1:]] == ["9.00?", "3.00", "5.00", "8.00", "2.00?"]
    assert legend(table.rows, table.context).splitlines()[1] == (
        "`?`: ms that varied too much as they were measured, on a busy machine; they mark no front."
    )
    assert "| 9.00? |" in table_to_markdown(table.rows, table.context)
    written = list(csv.DictReader(io.StringIO(table_to_csv(table.rows, table.context))))
    assert [(line["milliseconds"], line["settled"], line["pareto_milliseconds"]) for line in written] == [
        ("9.0", "0", "0"), ("3.0", "1", "1"), ("5.0", "1", "1"), ("8.0", "1", "0"), ("2.0", "0", "0"),
    ]  # fmt: skip
    assert "settled" not in table_to_csv(TABLE.rows, TABLE.context)


def test_the_cost_of_all_views_is_said():
    several = [replace(row, views=Views(10, 3), pass_milliseconds=100.0) for row in TABLE.rows]
    table = QueryTable((*several, *TABLE.rows), {**CONTEXT, "views": "10 x 3"})
    per_video = "per video: of all its views (clips x crops); its ms: of one forward pass of all of them"
    assert legend(table.rows, table.context).splitlines()[-2:] == [
        "Accuracy: over 1 x 1 or 10 x 3 views.",
        f"{per_video}.",
    ]
    of_nearby = f"{per_video}. 1 x 1: by views of the test that lie near to those of so many."
    assert legend(table.rows, {**table.context, "nearby_views": ["1 x 1", "3 x 1"]}).splitlines()[-1] == of_nearby
    # Tables of earlier releases.
    for single, words in (("middle", "each video's middle view"), ("mean", "mean over the single views")):
        of_old = legend(table.rows, {**table.context, "single_views": single})
        assert of_old.splitlines()[-1] == f"{per_video}. 1 x 1: {words}."
    assert views_text(Views()) == "one view"
    assert views_text(Views(10, 3)) == "10 x 3 views"


def test_both_costs_are_in_the_csv():
    several = [replace(row, views=Views(10, 1), pass_milliseconds=6 * row.milliseconds) for row in TABLE.rows]
    rows = read_csv(QueryTable((*several, *TABLE.rows), {**CONTEXT, "views": "10 x 1"}))
    names = ("views", "gflops", "gflops_of_video", "milliseconds", "milliseconds_of_video")
    assert [tuple(row[name] for name in names) for row in rows[:2]] == [
        ("10 x 1", "1.0", "10.0", "9.0", "54.0"),
        ("1 x 1", "1.0", "1.0", "9.0", "9.0"),
    ]


def test_a_terminal_shows_the_tests_views_single_ones_and_fronts():
    """Two views are on a front for the widest network alone, where they are better than one of it."""
    two = [replace(row, views=Views(2, 1), top1=row.top1 + (row.top1 == 90.0)) for row in TABLE.rows]
    three = [replace(row, views=Views(3, 1)) for row in TABLE.rows]
    table = QueryTable((*three, *two, *TABLE.rows), {**CONTEXT, "views": "3 x 1"})
    shown = rows_to_show(table.rows, table.context)
    assert len(shown) == 11
    assert [(str(row.config), row.top1) for row in shown if row.views == Views(2, 1)] == [("w1.0-s48-t8", 91.0)]
    assert rows_to_show(TABLE.rows, TABLE.context) == list(TABLE.rows)

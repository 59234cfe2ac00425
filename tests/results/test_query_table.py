from __future__ import annotations

import csv
import json
import random
from dataclasses import replace

import pytest

import mutualnet3d as m3
from mutualnet3d.results.query_table import QueryTable, Row
from mutualnet3d.shapes import SubnetConfig


def row(key, gflops, milliseconds, top1):
    return Row(SubnetConfig.parse(key), gflops, int(1e6 * gflops), milliseconds, top1, top1 + 5)


TABLE = QueryTable(
    (
        row("w0.5-s32-t4", 0.1, 2.0, 50.0),
        row("w1.0-s48-t8", 1.0, 9.0, 90.0),
        row("w0.5-s48-t8", 0.5, 8.0, 70.0),
        row("w1.0-s32-t8", 0.6, 5.0, 80.0),
        row("w1.0-s32-t4", 0.7, 3.0, 75.0),
    ),
    {"views": "1 x 1 views", "device": "cpu", "threads": 2, "batch_size": 1, "checkpoint": "abc"},
)


@pytest.mark.parametrize(
    ("budget", "key"),
    [
        ({"gflops": 2.0}, "w1.0-s48-t8"),
        ({"gflops": 1.0}, "w1.0-s48-t8"),
        ({"gflops": 0.99}, "w1.0-s32-t8"),
        ({"gflops": 0.55}, "w0.5-s48-t8"),
        ({"milliseconds": 4.0}, "w1.0-s32-t4"),
        ({"gflops": 0.65, "milliseconds": 4.0}, "w0.5-s32-t4"),
    ],
)
def test_best_within_a_budget(budget, key):
    assert str(TABLE.best(**budget).config) == key


@pytest.mark.parametrize(
    ("budget", "key"),
    [
        ({"gflops": 5}, "w0.8-s48-t8"),  # the cheapest in GFLOPs, and of the two the one that is faster
        ({"milliseconds": 50}, "w1.0-s48-t8"),  # the fastest, and of the two the one with fewer GFLOPs
        ({"gflops": 5, "milliseconds": 50}, "w0.8-s48-t8"),
    ],
)
def test_of_equals_the_cheaper_is_best(budget, key):
    table = QueryTable(
        (
            row("w1.0-s48-t8", 1.0, 4.0, 90.0),
            row("w0.9-s48-t8", 1.1, 4.0, 90.0),
            row("w0.8-s48-t8", 0.8, 8.0, 90.0),
            row("w0.7-s48-t8", 0.8, 9.0, 90.0),
            row("w0.6-s48-t8", 0.1, 1.0, 10.0),
        )
    )
    assert str(table.best(**budget).config) == key


def test_a_budget_that_nothing_meets_names_the_cheapest():
    with pytest.raises(ValueError, match=r"fits gflops=0\.05; the cheapest in gflops is w0\.5-s32-t4 with 0\.1$"):
        TABLE.best(gflops=0.05)
    with pytest.raises(ValueError, match="a query needs a budget"):
        TABLE.best()


def test_budgets_that_can_be_met_but_not_together():
    table = QueryTable((row("w1.0-s48-t4", 1.0, 3.0, 80.0), row("w0.5-s48-t8", 0.5, 8.0, 70.0)))
    assert str(table.best(gflops=0.6).config) == "w0.5-s48-t8"
    assert str(table.best(milliseconds=4).config) == "w1.0-s48-t4"
    with pytest.raises(ValueError) as error:
        table.best(gflops=0.6, milliseconds=4)
    assert str(error.value) == (
        "no sub-network fits gflops=0.6 and milliseconds=4 together, though each alone can be met; "
        "the cheapest in gflops is w0.5-s48-t8 with gflops 0.5 and milliseconds 8; "
        "the cheapest in milliseconds is w1.0-s48-t4 with gflops 1 and milliseconds 3"
    )
    with pytest.raises(ValueError, match=r"fits gflops=0\.6 and milliseconds=1; the cheapest in gflops is w0\.5-.*"):
        table.best(gflops=0.6, milliseconds=1)


@pytest.mark.parametrize("cost", ["gflops", "milliseconds"])
@pytest.mark.parametrize("bound", [0, -1.0, float("nan"), float("-inf"), True, "1"])
def test_a_budget_is_a_number_above_0(cost, bound):
    with pytest.raises(ValueError, match=rf"^{cost} is {bound!r}; a budget must be a number above 0"):
        TABLE.best(**{cost: bound})


def test_no_bound_is_too_large():
    assert TABLE.best(gflops=float("inf")).top1 == 90.0


def test_pareto_front():
    assert [str(each.config) for each in TABLE.pareto()] == ["w0.5-s32-t4", "w0.5-s48-t8", "w1.0-s32-t8", "w1.0-s48-t8"]
    assert [str(each.config) for each in TABLE.pareto("milliseconds")] == [
        "w0.5-s32-t4", "w1.0-s32-t4", "w1.0-s32-t8", "w1.0-s48-t8",
    ]  # fmt: skip
    assert TABLE.fronts() == {
        cost: frozenset(each.config for each in TABLE.pareto(cost)) for cost in ("gflops", "milliseconds")
    }
    with pytest.raises(ValueError, match="cost must be 'gflops' or 'milliseconds', got 'watts'"):
        TABLE.pareto("watts")


@pytest.mark.parametrize("cost", ["gflops", "milliseconds"])
def test_the_front_is_what_budgets_give_and_what_nothing_beats(cost):
    """Tables of few values, so that there are many ties."""
    rng = random.Random(0)
    for _ in range(30):
        rows = [
            row(f"w{width}-s32-t4", rng.randint(1, 4), rng.randint(1, 4), rng.randint(1, 4))
            for width in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
        ]
        table = QueryTable(tuple(rows))
        front = table.pareto(cost)
        assert set(front) == {
            table.best(**{cost: bound}) for bound in range(min(getattr(each, cost) for each in rows), 5)
        }
        for each in rows:
            spent = getattr(each, cost)
            beaten = any(
                other.top1 >= each.top1
                and getattr(other, cost) <= spent
                and (other.top1 > each.top1 or getattr(other, cost) < spent)
                for other in rows
            )
            if each in front:
                assert not beaten
            elif not beaten:  # an equal is there in its place
                assert (spent, each.top1) in [(getattr(other, cost), other.top1) for other in front]


def test_with_milliseconds():
    times = {each.config: 2 * each.milliseconds for each in TABLE.rows}
    new = TABLE.with_milliseconds({**times, SubnetConfig(0.9, 16, 2): 1.0}, device="another", latency_runs=3)
    assert new.rows == tuple(replace(each, milliseconds=2 * each.milliseconds) for each in TABLE.rows)
    assert new.context == {**TABLE.context, "device": "another", "latency_runs": 3}
    assert TABLE.context["device"] == "cpu"
    del times[TABLE.rows[0].config]
    with pytest.raises(ValueError, match=r"no milliseconds of w1\.0-s48-t8; every row of the table needs some"):
        TABLE.with_milliseconds(times)


def test_json_and_back(tmp_path):
    path = str(tmp_path / "table.json")
    TABLE.save(path)
    assert m3.QueryTable.load(path) == TABLE
    content = json.loads((tmp_path / "table.json").read_text())
    assert (content["schema"], content["version"]) == ("mutualnet3d.query_table", 3)
    assert content["rows"][0]["config"] == "w1.0-s48-t8"  # the most expensive first


def test_accuracy_of_single_views_and_tables_that_have_none(tmp_path):
    path = tmp_path / "table.json"
    table = QueryTable(tuple(replace(each, clip_top1=each.top1 - 10, clip_top5=each.top5 - 10) for each in TABLE.rows))
    table.save(str(path))
    assert QueryTable.load(str(path)) == table
    content = json.loads(path.read_text())
    assert content["rows"][0]["clip_top1"] == 80.0
    for each in content["rows"]:
        del each["clip_top1"], each["clip_top5"]
    path.write_text(json.dumps({**content, "context": dict(TABLE.context), "version": 1}))
    assert QueryTable.load(str(path)) == TABLE


WITH_INT8 = QueryTable(
    (
        replace(TABLE.rows[0], int8_top1=89.5, int8_top5=94.25, int8_milliseconds=1.5, clip_top1=80.0),
        replace(TABLE.rows[1], int8_top1=76.0, int8_top5=79.0, int8_milliseconds=2.0),
        *TABLE.rows[2:],
    ),
    {**TABLE.context, "num_videos": 240, "int8_clips": 160, "int8_device": "another cpu"},
)


def test_int8_and_tables_that_have_none(tmp_path):
    path = tmp_path / "table.json"
    WITH_INT8.save(str(path))
    assert QueryTable.load(str(path)) == WITH_INT8
    content = json.loads(path.read_text())
    assert content["rows"][0]["int8_milliseconds"] == 1.5
    assert content["rows"][2]["int8_top1"] is None
    for each in content["rows"]:
        del each["int8_top1"], each["int8_top5"], each["int8_milliseconds"]
    path.write_text(json.dumps({**content, "context": dict(TABLE.context), "version": 2}))
    assert QueryTable.load(str(path)).rows == (replace(TABLE.rows[0], clip_top1=80.0), *TABLE.rows[1:])


def test_the_table_of_int8():
    table = WITH_INT8.int8()
    assert [(str(each.config), each.milliseconds, each.top1, each.top5, each.clip_top1) for each in table.rows] == [
        ("w1.0-s48-t8", 1.5, 89.5, 94.25, None),
        ("w1.0-s32-t4", 2.0, 76.0, 79.0, None),
    ]
    assert [each.gflops for each in table.rows] == [1.0, 0.7]
    assert str(table.best(milliseconds=4).config) == "w1.0-s48-t8"
    assert (table.context["device"], table.context["views"]) == ("another cpu", "1 x 1 views")
    assert "threads" not in table.context
    assert table.int8() == table
    half = QueryTable((replace(TABLE.rows[0], int8_top1=89.5), *TABLE.rows[1:]))
    for nothing in (TABLE, half):
        with pytest.raises(ValueError, match="the table says nothing of int8: none of its sub-networks was quantised"):
            nothing.int8()


def test_int8_is_shown_where_it_is_known():
    lines = WITH_INT8.to_text().splitlines()
    assert lines[0].endswith(" top-5 % int8 ms int8 top-1 % int8 top-5 %")
    assert lines[1].split()[-3:] == ["1.50", "89.50", "94.25"]
    assert lines[3].split()[-1] == "85.00"
    assert len({len(line) for line in lines}) == 1
    lines = WITH_INT8.to_markdown().splitlines()
    assert lines[0].endswith("| top-5 %, one view | int8 ms | int8 top-1 % | int8 top-5 % |")
    assert lines[2].endswith("| 80.00 |  | 1.50 | 89.50 | 94.25 |")
    assert lines[4].endswith("| 85.00 |  |  |  |  |  |")
    assert len({line.count("|") for line in lines[:7]}) == 1
    assert lines[-2:] == [
        "Accuracy: over 240 videos, 1 x 1 views.",
        "int8: quantised after training, with 160 training clips, and run by OpenVINO; accuracy over the same videos "
        "and views, ms: median time of 1 clip on another cpu.",
    ]
    assert "int8" not in TABLE.to_markdown() + TABLE.to_text()


def test_csv(tmp_path):
    first, *others = TABLE.rows
    table = QueryTable((replace(first, clip_top1=60.5, int8_top1=59.5), *others), TABLE.context)
    table.save_csv(str(tmp_path / "table.csv"))
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert len(rows) == 5
    assert {name: rows[-1][name] for name in ("config", "width", "size", "frames", "top1", "views", "checkpoint")} == {
        "config": "w0.5-s32-t4", "width": "0.5", "size": "32", "frames": "4", "top1": "50.0",
        "views": "1 x 1 views", "checkpoint": "abc",
    }  # fmt: skip
    assert [each["clip_top1"] for each in rows] == ["60.5", "", "", "", ""]
    assert [each["int8_top1"] for each in rows] == ["59.5", "", "", "", ""]
    assert {each["int8_top5"] + each["int8_milliseconds"] for each in rows} == {""}
    marks = {each["config"]: (each["pareto_gflops"], each["pareto_milliseconds"]) for each in rows}
    assert marks == {
        "w1.0-s48-t8": ("1", "1"), "w1.0-s32-t4": ("0", "1"), "w1.0-s32-t8": ("1", "1"),
        "w0.5-s48-t8": ("1", "0"), "w0.5-s32-t4": ("1", "1"),
    }  # fmt: skip


def test_text_marks_both_fronts():
    lines = TABLE.to_text().splitlines()
    assert len(lines) == 6
    assert [line.split()[1] for line in lines[1:] if line.startswith("*")] == [
        "w1.0-s48-t8", "w1.0-s32-t8", "w0.5-s48-t8", "w0.5-s32-t4",
    ]  # fmt: skip
    assert [line[:14] for line in lines] == [
        "   sub-network", "*+ w1.0-s48-t8", " + w1.0-s32-t4", "*+ w1.0-s32-t8", "*  w0.5-s48-t8", "*+ w0.5-s32-t4",
    ]  # fmt: skip
    assert len({len(line) for line in lines}) == 1


def test_markdown(tmp_path):
    table = QueryTable(TABLE.rows[:2], {**TABLE.context, "num_videos": 240})
    assert table.to_markdown().splitlines() == [
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
    table.save_markdown(str(tmp_path / "table.md"))
    assert (tmp_path / "table.md").read_text() == table.to_markdown() + "\n"


def test_markdown_of_single_views_and_without_a_context():
    first, second = TABLE.rows[:2]
    lines = QueryTable((replace(first, clip_top1=80.0, clip_top5=85.5), second)).to_markdown().splitlines()
    assert lines[0].endswith("| top-5 % | top-1 %, one view | top-5 %, one view |")
    assert lines[2].endswith("| 95.00 | 80.00 | 85.50 |")
    assert lines[3].endswith("| 80.00 |  |  |")
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert lines[-1].endswith("ms: median time of one forward pass.")


def test_files_that_are_no_table(tmp_path):
    path = tmp_path / "table.json"
    with pytest.raises(FileNotFoundError, match="no query table at"):
        QueryTable.load(str(path))
    for text, message in (
        ("{", "not a JSON file"),
        ("[]", "not a query table"),
        ('{"schema": "mutualnet3d.query_table"}', "version is None; it must be an integer from 1 to 3"),
        ('{"schema": "mutualnet3d.query_table", "version": "2"}', "version is '2'; it must be an integer from 1 to 3"),
        ('{"schema": "mutualnet3d.query_table", "version": 2}', "context is None; it must be an object"),
        ('{"schema": "mutualnet3d.query_table", "version": 2, "context": {}}', "rows is None; it must be a list"),
        (
            '{"schema": "mutualnet3d.query_table", "version": 2, "context": {}, "rows": []}',
            "a query table needs at least one row",
        ),
        ('{"schema": "mutualnet3d.query_table", "version": 9}', "version 9; this release reads up to 3"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"table\.json: {message}"):
            QueryTable.load(str(path))
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"table\.json: not a JSON file"):
        QueryTable.load(str(path))
    with pytest.raises(ValueError, match="at least one row"):
        QueryTable(())
    with pytest.raises(ValueError, match=r"one row of each sub-network; w1\.0-s48-t8 has 2"):
        QueryTable((TABLE.rows[0], *TABLE.rows))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"watts": 3}, r"unknown field 'watts'; a row has config, gflops, .*, int8_milliseconds"),
        ({"gflops": ...}, r"gflops is missing; a row has config, gflops, .*"),
        ({"config": ...}, r"config is missing; .*"),
        ({"config": 3}, r"config is 3; it must be a key such as 'w0\.63-s160-t10'"),
        ({"config": "full"}, r"config: not a sub-network's key: 'full'; .*"),
        ({"config": "w2.0-s32-t4"}, r"config: SubnetConfig: width must be in \(0, 1\], got 2\.0"),
        ({"gflops": "1"}, r"gflops is '1'; it must be a number of at least 0"),
        ({"milliseconds": -1.0}, r"milliseconds is -1\.0; it must be a number of at least 0"),
        ({"top1": None}, r"top1 is None; it must be a number of at least 0"),
        ({"top5": True}, r"top5 is True; it must be a number of at least 0"),
        ({"int8_top1": "90"}, r"int8_top1 is '90'; it must be a number of at least 0"),
        ({"clip_top1": []}, r"clip_top1 is \[\]; it must be a number of at least 0"),
        ({"params": 1.5}, r"params is 1\.5; it must be an integer of at least 0"),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path, change, message):
    path = tmp_path / "table.json"
    TABLE.save(str(path))
    content = json.loads(path.read_text())
    content["rows"][1] = {name: value for name, value in {**content["rows"][1], **change}.items() if value is not ...}
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"table\.json: row 2: {message}$"):
        QueryTable.load(str(path))
    content["rows"][1] = 7
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"table\.json: row 2 is 7; it must be an object"):
        QueryTable.load(str(path))

from __future__ import annotations

import csv
import json

import pytest

import mutualnet3d as m3
from mutualnet3d.engine.query_table import QueryTable, Row
from mutualnet3d.engine.tradeoff_plot import save_tradeoff_plot
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


def test_of_equals_the_cheaper_is_best():
    table = QueryTable((row("w1.0-s48-t8", 1.0, 9.0, 90.0), row("w0.9-s48-t8", 0.8, 8.0, 90.0)))
    assert table.best(gflops=5).gflops == 0.8


def test_a_budget_that_nothing_meets_names_the_cheapest():
    with pytest.raises(ValueError, match=r"fits gflops=0\.05; the cheapest in gflops is w0\.5-s32-t4 with 0\.1"):
        TABLE.best(gflops=0.05)
    with pytest.raises(ValueError, match="a query needs a budget"):
        TABLE.best()


def test_pareto_front():
    assert [str(each.config) for each in TABLE.pareto()] == ["w0.5-s32-t4", "w0.5-s48-t8", "w1.0-s32-t8", "w1.0-s48-t8"]
    assert [str(each.config) for each in TABLE.pareto("milliseconds")] == [
        "w0.5-s32-t4", "w1.0-s32-t4", "w1.0-s32-t8", "w1.0-s48-t8",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="cost must be 'gflops' or 'milliseconds', got 'watts'"):
        TABLE.pareto("watts")


def test_json_and_back(tmp_path):
    path = str(tmp_path / "table.json")
    TABLE.save(path)
    assert m3.QueryTable.load(path) == TABLE
    content = json.loads((tmp_path / "table.json").read_text())
    assert (content["schema"], content["version"]) == ("mutualnet3d.query_table", 1)
    assert content["rows"][0]["config"] == "w1.0-s48-t8"  # the most expensive first


def test_csv(tmp_path):
    TABLE.save_csv(str(tmp_path / "table.csv"))
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert len(rows) == 5
    assert {name: rows[-1][name] for name in ("config", "width", "size", "frames", "top1", "views", "checkpoint")} == {
        "config": "w0.5-s32-t4", "width": "0.5", "size": "32", "frames": "4", "top1": "50.0",
        "views": "1 x 1 views", "checkpoint": "abc",
    }  # fmt: skip


def test_text_marks_the_front():
    lines = TABLE.to_text().splitlines()
    assert len(lines) == 6
    assert [line.split()[1] for line in lines[1:] if line.startswith("*")] == [
        "w1.0-s48-t8", "w1.0-s32-t8", "w0.5-s48-t8", "w0.5-s32-t4",
    ]  # fmt: skip


def test_files_that_are_no_table(tmp_path):
    path = tmp_path / "table.json"
    with pytest.raises(FileNotFoundError, match="no query table at"):
        QueryTable.load(str(path))
    for text, message in (
        ("{", "not a JSON file"),
        ("[]", "not a query table"),
        ('{"schema": "mutualnet3d.query_table", "version": 9}', "version 9; this release reads up to 1"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"table\.json: {message}"):
            QueryTable.load(str(path))
    with pytest.raises(ValueError, match="at least one row"):
        QueryTable(())


def test_plot_is_a_picture(tmp_path):
    save_tradeoff_plot(TABLE, str(tmp_path / "t.png"), "title")
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_plot_without_matplotlib_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'mutualnet3d\[plot\]'"):
        save_tradeoff_plot(TABLE, str(tmp_path / "t.png"), "title")

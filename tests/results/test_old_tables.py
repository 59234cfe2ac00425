"""Tables of schema versions 1 to 3, as releases before rows of back ends and views wrote them."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from mutualnet3d.results.old_tables import upgrade_table, with_single_views
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.results.row import Row, Views
from mutualnet3d.shapes import SubnetConfig

OLD_FILES = Path(__file__).resolve().parents[1] / "old_files" / "format_1.tar.xz"
INT8 = "openvino-int8"
CONTEXT = {
    "model": "x3d",
    "num_videos": 240,
    "views": "10 x 3 views",
    "device": "a cpu",
    "threads": 2,
    "batch_size": 1,
    "milliseconds_of": "one forward pass of the whole batch",
    "latency_runs": 5,
    "checkpoint": "abc",
}
ENTRY = {"config": "w1.0-s48-t8", "gflops": 1.0, "params": 1000, "milliseconds": 9.0, "top1": 90.0, "top5": 95.0}
SINGLE = {"clip_top1": 80.0, "clip_top5": 85.5}
INT8_COLUMNS = {"int8_top1": 89.5, "int8_top5": 94.25, "int8_milliseconds": 1.5}
ROW = Row(SubnetConfig(1.0, 48, 8), 1.0, 1000, 9.0, 90.0, 95.0, views=Views(10, 3))


def loaded(tmp_path, version, *entries, **context):
    path = tmp_path / "table.json"
    content = {"schema": "mutualnet3d.query_table", "version": version, "context": {**CONTEXT, **context}}
    path.write_text(json.dumps({**content, "rows": entries}))
    return QueryTable.load(str(path))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_row_of_any_version(tmp_path, version):
    table = loaded(tmp_path, version, ENTRY)
    assert table.rows == (ROW,)
    assert (table.backend, table.views) == ("pytorch", Views(10, 3))
    assert table.facts == {name: CONTEXT[name] for name in ("device", "threads", "batch_size", "latency_runs")} | {
        "milliseconds_of": "one forward pass of the whole batch"
    }
    assert {name: table.context[name] for name in ("model", "num_videos", "checkpoint")} == {
        "model": "x3d",
        "num_videos": 240,
        "checkpoint": "abc",
    }
    assert "device" not in table.context


def test_accuracy_of_single_views_becomes_a_row(tmp_path):
    other = {**ENTRY, "config": "w0.5-s48-t8", "gflops": 0.5, "clip_top1": None, "clip_top5": None}
    table = loaded(tmp_path, 2, {**ENTRY, **SINGLE}, other)
    assert [(str(row.config), row.views, row.top1, row.top5, row.milliseconds) for row in table.rows] == [
        ("w1.0-s48-t8", Views(10, 3), 90.0, 95.0, 9.0),
        ("w1.0-s48-t8", Views(1, 1), 80.0, 85.5, 9.0),
        ("w0.5-s48-t8", Views(10, 3), 90.0, 95.0, 9.0),
    ]
    assert len(table.default_rows) == 2
    assert table.context["single_views"] == "mean"
    assert table.legend().endswith("or where that was not measured of one for each. 1 x 1: mean over the single views.")
    # In a test with one view it is the row's own.
    assert len(loaded(tmp_path, 2, {**ENTRY, "clip_top1": 90.0, "clip_top5": 95.0}, views="1 x 1 views").rows) == 1


def test_int8_becomes_rows_of_a_back_end(tmp_path):
    other = {**ENTRY, "config": "w0.5-s48-t8", "gflops": 0.5, **dict.fromkeys(INT8_COLUMNS)}
    table = loaded(tmp_path, 3, {**ENTRY, **SINGLE, **INT8_COLUMNS}, other, int8_clips=160, int8_device="b cpu")
    assert table.default_rows[0] == ROW
    int8 = table.select(backend=INT8)
    (row,) = int8.rows
    assert (row.config, row.views, row.gflops) == (ROW.config, Views(10, 3), 1.0)
    assert (row.milliseconds, row.top1, row.top5) == (1.5, 89.5, 94.25)
    assert int8.facts == {"device": "b cpu", "calibration_clips": 160, "batch_size": 1}
    assert "int8_device" not in table.context
    assert "int8" not in str(dict(table.facts))
    # Half of what a row has is none.
    assert len(loaded(tmp_path, 3, {**ENTRY, "int8_top1": 89.5}).rows) == 1


def test_a_table_that_a_predictor_measured(tmp_path):
    table = loaded(tmp_path, 3, ENTRY, backend="openvino")
    assert (table.backend, table.rows[0].backend) == ("openvino", "openvino")
    assert table.facts["device"] == "a cpu"


def test_a_table_without_views():
    rows, context = upgrade_table([ENTRY], {"model": "x3d"}, "a file")
    assert rows[0].views == Views(1, 1)
    assert context == {"model": "x3d", "backend": "pytorch"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"watts": 3}, "unknown field 'watts'; a row has config, gflops, .*, clip_top1, .*, int8_milliseconds"),
        ({"gflops": ...}, "gflops is missing; a row has config, gflops, .*"),
        ({"config": 3}, r"config is 3; it must be a key such as 'w0\.63-s160-t10'"),
        ({"config": "full"}, "config: not a sub-network's key: 'full'; .*"),
        ({"top1": None}, "top1 is None; it must be a number of at least 0"),
        ({"clip_top1": []}, r"clip_top1 is \[\]; it must be a number of at least 0"),
        ({"int8_top1": "90"}, "int8_top1 is '90'; it must be a number of at least 0"),
        ({"int8_milliseconds": 10**400}, r"int8_milliseconds is beyond 1\.8e\+308; it must be a number of at least 0"),
        ({"params": 1.5}, r"params is 1\.5; it must be an integer of at least 0"),
        ({"backend": "pytorch"}, "unknown field 'backend'; .*"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, change, message):
    entry = {name: value for name, value in {**ENTRY, **change}.items() if value is not ...}
    with pytest.raises(ValueError, match=rf"table\.json: row 2: {message}$"):
        loaded(tmp_path, 3, {**ENTRY, "config": "w0.5-s48-t8"}, entry)
    with pytest.raises(ValueError, match=r"table\.json: row 1 is 7; it must be an object"):
        loaded(tmp_path, 3, 7)


@pytest.mark.parametrize("views", ["ten", 10])
def test_wrong_views_are_named(tmp_path, views):
    with pytest.raises(ValueError, match=r"table\.json: context: views is .*; it must be clips x crops, such as"):
        loaded(tmp_path, 3, ENTRY, views=views)


def test_single_views_of_version_4(tmp_path):
    """Of each video's middle view, or of all of them; a table of today has no such words."""
    rows = [ROW, replace(ROW, views=Views())]
    assert with_single_views(rows, {"a": 1}) == {"a": 1, "single_views": "mean"}
    assert with_single_views(rows, {"single_views": "middle"}) == {"single_views": "middle"}
    assert with_single_views(rows[:1], {"a": 1}) == with_single_views(rows[1:], {"a": 1}) == {"a": 1}
    path = tmp_path / "table.json"
    QueryTable(tuple(rows), {"views": "10 x 3"}).save(str(path))
    assert QueryTable.load(str(path)).context == {"views": "10 x 3"}
    content = json.loads(path.read_text())
    old_rows = [
        {name: value for name, value in row.items() if not name.endswith("_of_video")} for row in content["rows"]
    ]
    path.write_text(json.dumps({**content, "version": 4, "rows": old_rows}))
    table = QueryTable.load(str(path))
    assert (table.rows, table.context) == (tuple(rows), {"views": "10 x 3", "single_views": "mean"})
    assert [row.milliseconds_of_video for row in table.rows] == [270.0, 9.0]


@pytest.mark.parametrize("name", ["backends", "num_listed"])
def test_wrong_facts_are_named(tmp_path, name):
    with pytest.raises(ValueError, match=rf"table\.json: context: {name} is 'x'; it must be an"):
        loaded(tmp_path, 3, ENTRY, **{name: "x"})


def test_files_of_the_release_before(tmp_path):
    """Numbers of a test run, and of a bundle with int8, are those that were written."""
    with tarfile.open(OLD_FILES) as archive:
        archive.extractall(tmp_path, filter="data")
    for name in ("run", "bundle"):
        content = json.loads((tmp_path / name / "query_table.json").read_text())
        assert content["version"] == 3
        table = QueryTable.load(str(tmp_path / name / "query_table.json"))
        written = {entry["config"]: entry for entry in content["rows"]}
        assert [str(row.config) for row in table.default_rows] == list(written)
        for row in table.default_rows:
            entry = written[str(row.config)]
            numbers = {"gflops", "params", "milliseconds", "top1", "top5"}
            assert {number: getattr(row, number) for number in numbers} == {number: entry[number] for number in numbers}
        single = table.select(views=Views(1, 1))
        assert [row.top1 for row in single.rows] == [entry["clip_top1"] for entry in content["rows"]]
    expected = json.loads((tmp_path / "expected.json").read_text())
    run = QueryTable.load(str(tmp_path / "run" / "query_table.json"))
    assert str(run.best(gflops=1.0).config) == expected["best"]
    (int8,) = table.select(backend=INT8).rows
    (entry,) = content["rows"]
    assert (int8.top1, int8.top5, int8.milliseconds) == tuple(
        entry[name] for name in ("int8_top1", "int8_top5", "int8_milliseconds")
    )
    table.save(str(tmp_path / "again.json"))
    assert QueryTable.load(str(tmp_path / "again.json")) == table

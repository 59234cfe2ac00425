from __future__ import annotations

import csv
import json
import os

import pytest

from mutualnet3d.results import prediction_rows
from mutualnet3d.results.prediction_rows import check_format, columns, row_of, unread_record, write_predictions

GOOD = {
    "source": "a b.mp4",
    "status": "ok",
    "labels": [{"name": "dark, or so", "index": 1, "score": 0.75}, {"name": "bright", "index": 0, "score": 0.25}],
    "config": "w1.0-s32-t4",
    "gflops": 1.0,
    "gflops_of_video": 2.5,
    "top1": None,
    "backend": "pytorch",
    "views": 1,
    "stages": [{"config": "w0.5-s32-t2", "views": 1}, {"config": "w1.0-s32-t4", "views": 1}],
    "milliseconds": {"decode": 1.0, "prepare": 2.0, "network": 3.0, "total": 6.0},
}
BAD = unread_record(os.fsdecode(b"\xff.mp4"), "bad", "no video")
ROW = {
    "path": "a b.mp4",
    "status": "ok",
    "reason": None,
    "subnet": "w1.0-s32-t4",
    "views": 1,
    "stages": "w0.5-s32-t2 > w1.0-s32-t4",
    "backend": "pytorch",
    "gflops": 2.5,
    "decode_milliseconds": 1.0,
    "prepare_milliseconds": 2.0,
    "network_milliseconds": 3.0,
    "label_1": "dark, or so",
    "class_1": 1,
    "score_1": 0.75,
}


def test_a_row_has_the_columns_values():
    assert row_of(GOOD, 1) == ROW
    assert list(row_of(GOOD, 2)) == list(columns(2))
    assert row_of(GOOD, 2)["label_2"] == "bright"
    bad = {name: value for name, value in row_of(BAD, 1).items() if value is not None}
    assert bad == {"path": "\udcff.mp4", "status": "bad", "reason": "no video"}


def test_csv_has_the_files_own_bytes(tmp_path):
    path = str(tmp_path / "results.csv")
    write_predictions(path, [GOOD, BAD], 1)
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        first, second = csv.DictReader(file)
    assert first == {name: "" if value is None else str(value) for name, value in ROW.items()}
    assert (second["path"], second["status"], second["score_1"]) == ("\udcff.mp4", "bad", "")
    assert b"\xff.mp4,bad,no video," in (tmp_path / "results.csv").read_bytes()


def test_json_lines_are_the_records(tmp_path):
    write_predictions(str(tmp_path / "results.jsonl"), [GOOD, BAD], 2)
    assert [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()] == [GOOD, BAD]


def test_parquet_has_types_and_escapes(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (extra [parquet])")
    monkeypatch.setattr(prediction_rows, "_CHUNK", 2)
    path = str(tmp_path / "results.parquet")
    write_predictions(path, [GOOD, GOOD, BAD], 1)
    table = parquet.read_table(path)
    rows = table.to_pylist()
    assert rows[:2] == [ROW, ROW]
    assert (rows[2]["path"], rows[2]["gflops"]) == ("\\udcff.mp4", None)
    assert [str(table.schema.field(name).type) for name in ("path", "class_1", "score_1")] == [
        "string",
        "int32",
        "double",
    ]


def test_the_extension_says_the_format(monkeypatch):
    with pytest.raises(ValueError, match=r"--output: a\.xls: the extension says the format; allowed: \.parquet, \.csv"):
        check_format("a.xls", "--output")

    def absent(module, extra):
        raise ModuleNotFoundError(f"{module} of {extra}")

    monkeypatch.setattr(prediction_rows, "require", absent)
    with pytest.raises(ModuleNotFoundError, match=r"pyarrow\.parquet of parquet"):
        check_format("a.Parquet", "--output")
    check_format("a.csv", "--output")

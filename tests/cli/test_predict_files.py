from __future__ import annotations

import csv
import json
import os
import re
import signal
import time

import numpy as np
import pytest
import torch

from mutualnet3d.cli import predict_files
from mutualnet3d.deploy import Predictor
from mutualnet3d.results.cascade import Cascade, Stage
from mutualnet3d.results.query_table import QueryTable, Views
from mutualnet3d.shapes import SubnetConfig
from tests.cli.test_latency import write_tested
from tests.conftest import write_video
from tests.copies import Script

TOOL = "tools/predict.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a checkpoint, a list of seven lines, and the files of it that are there."""
    folder = tmp_path_factory.mktemp("files")
    with torch.random.fork_rng(devices=[]):
        write_tested(folder, class_names=["dark", "very bright"])
    rng = np.random.default_rng(0)
    for name in ("a b", "c", "d"):
        write_video(folder / f"{name}.mp4", rng.integers(0, 256, (12, 48, 64, 3), dtype=np.uint8))
    (folder / "broken.mp4").write_text("no video")
    names = ["a b.mp4", "broken.mp4", "c.mp4", "gone.mp4", "./c.mp4", "d.mp4", "a b.mp4"]
    (folder / "list.csv").write_text("".join(f'"{name}" 1\n' for name in names))
    return folder


FILES = ["a b.mp4", "broken.mp4", "c.mp4", "gone.mp4", "d.mp4"]
STATUSES = ["ok", "bad", "ok", "missing", "ok"]


@pytest.fixture
def predict(run_tool, folder, tmp_path):
    """Return a function that predicts the list into a file: status, text of standard error."""

    def run(*words, output="results.csv"):
        more = ["--checkpoint", folder / "calibrated.pyth", "--backend", "pytorch", "--threads", 1, "--workers", 1]
        status, out, err = run_tool(TOOL, folder / "list.csv", *more, "--output", tmp_path / output, *words)
        assert out == ""
        return status, err

    return run


@pytest.fixture
def one_by_one(monkeypatch):
    """Let this process read the files: the command, not its processes, is what is tested."""

    def predict_files(self, paths, plan, top, batch_size, workers, timeout):
        from mutualnet3d.data.file_reader import UnreadFile

        for number, result in enumerate(self._predict(paths, plan, None, top, batch_size)):
            status = "bad" if os.path.exists(paths[number]) else "missing"
            yield number, UnreadFile(status, str(result)) if isinstance(result, RuntimeError) else result

    monkeypatch.setattr(Predictor, "predict_files", predict_files)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_each_file_has_one_row_in_the_lists_order(predict, folder, tmp_path, caplog):
    status, err = predict("--subnet", "w0.5-s32-t2", "--top", 1, "--timeout", 100)
    assert status == 1
    got = rows(tmp_path / "results.csv")
    assert [row["path"] for row in got] == [str(folder / name) for name in FILES]
    assert [row["status"] for row in got] == STATUSES
    predictor = Predictor.load(folder / "calibrated.pyth", backend="pytorch", threads=1)
    for row in (got[0], got[2], got[4]):
        expected = predictor.predict(row["path"], config="w0.5-s32-t2", top=1)
        assert (row["subnet"], row["views"], row["reason"]) == ("w0.5-s32-t2", "1", "")
        assert (row["label_1"], int(row["class_1"])) == (expected.labels[0].name, expected.labels[0].index)
        assert float(row["score_1"]) == pytest.approx(expected.labels[0].score, abs=1e-5)
        assert float(row["gflops"]) == expected.gflops
    assert got[1]["reason"].startswith(f"{folder}/broken.mp4: ")
    assert "2 of 7 paths repeat an earlier one; each file has one row" in caplog.text
    assert err.endswith("results.csv: 5 files: 3 ok, 1 bad, 1 missing; w0.5-s32-t2 on pytorch\n")
    assert sorted(os.listdir(tmp_path)) == ["results.csv", "results.csv.run.json"]


def test_json_lines_are_those_of_json(predict, one_by_one, run_tool, folder, tmp_path):
    assert predict("--batch-size", 1, output="results.jsonl")[0] == 1
    words = ["--checkpoint", folder / "calibrated.pyth", "--backend", "pytorch", "--threads", 1, "--json"]
    printed = run_tool(TOOL, *(folder / name for name in FILES), *words)[1]
    lines = [json.loads(line) for line in printed.splitlines()]
    got = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line.pop("status") for line in got] == STATUSES
    assert [without_times(line) for line in got] == [without_times(line) for line in lines]


def without_times(line):
    return {name: value for name, value in line.items() if name not in ("milliseconds", "error")}


def test_a_run_that_was_stopped_goes_on(predict, one_by_one, tmp_path, monkeypatch, caplog):
    whole = Predictor.predict_files
    asked = []

    def stopped(self, paths, plan, **settings):
        asked.append(len(paths))
        for done, result in enumerate(whole(self, paths, plan, **settings)):
            if done == 2:
                raise KeyboardInterrupt
            yield result

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict_files", stopped)
        for _ in range(2):
            status, err = predict()
            assert (status, err.splitlines()[-1]) == (130, "interrupted; the same command goes on")
    assert asked == [5, 3]
    assert not (tmp_path / "results.csv").exists()
    status, err = predict()
    assert "4 of 5 files are done already" in caplog.text
    assert [row["status"] for row in rows(tmp_path / "results.csv")] == STATUSES
    # A complete one is left as it is, and needs no network.
    monkeypatch.setattr(Predictor, "load", None)
    again, told = predict()
    assert (status, again) == (1, 1)
    assert "results.csv is complete" in caplog.text
    assert told.splitlines()[-1] == err.splitlines()[-1]


def test_other_arguments_are_refused_and_overwrite_begins_anew(predict, one_by_one, tmp_path):
    assert predict("--top", 1)[0] == 1
    status, err = predict("--gflops", 0.6)
    assert status == 2
    assert re.search(
        r"error: .*results\.csv was begun with --top 1, not 5; no --gflops, which is 0\.6 now; --overwrite begins anew",
        err,
    )
    assert predict("--gflops", 0.6, "--overwrite")[0] == 1
    assert {row["subnet"] for row in rows(tmp_path / "results.csv")} == {"w0.5-s32-t2", ""}


def test_a_run_goes_on_with_the_stages_that_its_times_chose(folder):
    """A second start may measure other times."""
    predictor = Predictor.load(folder / "calibrated.pyth", backend="pytorch", threads=1)
    small, full = (SubnetConfig.parse(key) for key in ("w0.5-s32-t2", "w1.0-s32-t4"))
    stages = Stage(small, Views(), 0.5, 1.0), Stage(full, Views(), 0.0, 0.5)
    table = QueryTable.load(str(folder / "query_table.json"))
    cascade = Cascade(stages, 93.0, 99.0, 95.0)
    table_path = str(folder / "with_cascade.json")
    QueryTable(table.rows, table.context, (cascade,)).save(table_path)
    of_cascade = Predictor.load(folder / "calibrated.pyth", table=table_path, backend="pytorch", threads=1)

    class Args:
        gflops = mean_gflops = subnet = mean_milliseconds = None
        milliseconds = 7.0

    chosen = [{"config": "w0.5-s32-t2", "views": [2, 1], "threshold": 0.0}]
    plan = predict_files._plan(predictor, Args, None, chosen)
    assert predict_files.stages_of(plan) == chosen
    Args.milliseconds, Args.mean_milliseconds = None, 7.0
    stages = predict_files.stages_of(of_cascade.plan_of(of_cascade.table.cascades[0]))
    plan = predict_files._plan(of_cascade, Args, None, stages)
    assert (predict_files.stages_of(plan), plan.cascade) == (stages, of_cascade.table.cascades[0])
    assert predict_files.plan_name(plan, "pytorch") == f"{plan.cascade} on pytorch"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--json"], "argument --json: not allowed with argument --output"),
        (["--gflops", "0.1"], "no sub-network fits gflops=0.1"),
        (["--top", "0"], "top is 0"),
        (["--workers", "0"], "workers is 0; it must be an integer of at least 1"),
        (["--timeout", "0"], "timeout is 0.0 seconds; it must be more than 0"),
        (["--batch-size", "0"], "batch_size is 0"),
    ],
)
def test_wrong_arguments_leave_nothing(predict, tmp_path, words, message):
    status, err = predict(*words)
    assert status == 2
    assert message in err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_outputs_of_other_formats_are_refused_at_once(predict):
    status, err = predict(output="results.xls")
    assert (status, err.count("\n")) == (2, 1)
    assert re.fullmatch(r"error: --output: .*results\.xls: the extension says the format; allowed: .*\n", err)


@pytest.mark.slow
def test_killed_five_times_each_file_is_in_the_results_once(folder, tmp_path):
    """By SIGKILL, at any moment; the last time by SIGTERM. No process is left."""
    names = []
    for number in range(36):
        name = f"{number:02d}.mp4"
        source = "broken.mp4" if number % 12 == 5 else ("c.mp4" if number % 2 else "d.mp4")
        (tmp_path / name).write_bytes((folder / source).read_bytes())
        names.append(name)
    names.insert(7, "gone.mp4")
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n")
    words = [TOOL, tmp_path / "list.txt", "--checkpoint", folder / "calibrated.pyth", "--backend", "pytorch"]
    words += ["--threads", 1, "--workers", 2, "--output", tmp_path / "results.csv", "--batch-size", 2]
    journal = tmp_path / "results.csv.journal"

    def num_done():
        return journal.read_bytes().count(b"\n") if journal.exists() else 0

    for kill in range(6):
        script = Script(words, tmp_path / "log")
        while num_done() < 5 * (kill + 1) and script.poll() is None:
            time.sleep(0.002)
        number = signal.SIGTERM if kill == 5 else signal.SIGKILL
        script.send_signal(number)
        status, _ = script.finish()
        assert status in ((143,) if number == signal.SIGTERM else (-signal.SIGKILL,))
    assert not (tmp_path / "results.csv").exists()
    before = num_done()
    status, errors = Script(words, tmp_path / "log").finish()
    assert status == 1
    assert f"{before} of 37 files are done already" in errors
    assert "37 files: 33 ok, 3 bad, 1 missing; " in errors
    assert [os.path.basename(row["path"]) for row in rows(tmp_path / "results.csv")] == names
    assert not journal.exists()

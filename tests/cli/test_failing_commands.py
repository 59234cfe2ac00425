"""Commands that fail end: all of their processes, soon, with the cause as the last thing printed and no half a file."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from tests.cli.failing_command import CAUSE
from tests.cli.test_latency import write_tested
from tests.copies import Script
from tests.runner.test_failing_runs import MARK, last_line, marked

SECONDS = 20.0
POOLS = ("check-videos", "prepare-videos", "demo-data")
NETWORKS = ("predict", "stream", "segments", "export")
QUICK = {("check-videos", "SIGINT", 2), ("predict", "SIGTERM", 2)}
STATUS = {"SIGINT": 130, "SIGTERM": 143, "error": 1}
CASES = [(name, place, 2) for place in STATUS for name in (*POOLS, *NETWORKS)]
CASES += [(name, "SIGTERM", 1) for name in POOLS]
CASES += [("check-videos", "SIGINT", 1), ("prepare-videos", "error", 1), ("demo-data", "SIGINT", 1)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        return write_tested(tmp_path_factory.mktemp("tested"), class_names=["dark", "bright"])[1]


@pytest.fixture
def run(request, tiny_data, tmp_path):
    """Run a command that fails in a way; return its status, its errors, and the files that it left."""

    def run(name, place, workers=2):
        output, file = tmp_path / "out", tmp_path / "now"
        words = {
            "check-videos": ["--list", tiny_data / "train.csv", "--output", output / "report.csv"],
            "prepare-videos": ["--input", tiny_data, "--output", output, "--preset", "ultrafast"],
            "demo-data": ["--output", output, "--train", 6, "--val", 2],
            "predict": [*sorted(tiny_data.glob("val_*.mp4")), "--backend", "pytorch"],
            "stream": ["--input", tiny_data / "val_0.mp4", "--output", output / "a.mp4", "--backend", "pytorch"],
            "segments": [
                *(tiny_data / "val_0.mp4", "--every", 0.05, "--batch-size", 1),
                *("--output", output / "a.json", "--backend", "pytorch"),
            ],
            "export": ["--output", output / "bundle", "--formats", "pytorch", "--subnet", "w1.0-s32-t4", "w0.5-s32-t2"],
        }[name]
        words += ["--workers", workers] if name in POOLS else ["--checkpoint", request.getfixturevalue("checkpoint")]
        script = ["tests/cli/failing_command.py", place, file, name, *words]
        process = Script(script, tmp_path / "printed", {MARK: str(tmp_path)})
        while not file.exists():
            assert process.poll() is None, process.errors.read_text()
            time.sleep(0.01)
        failed = time.monotonic()
        status, errors = process.finish(60.0)
        while marked(tmp_path) and time.monotonic() - failed < SECONDS:
            time.sleep(0.05)
        assert marked(tmp_path) == []
        assert time.monotonic() - failed < SECONDS
        left = [path for path in Path(output).rglob("*") if path.is_file()]
        assert not [path for path in left if path.name.startswith(".")]
        return status, errors, sorted(path.name for path in left)

    return run


@pytest.mark.parametrize(
    ("name", "place", "workers"),
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES],
)
def test_a_command_ends_with_its_cause(name, place, workers, run):
    status, errors, left = run(name, place, workers)
    assert status == STATUS[place], errors[-2000:]
    if place == "error":
        assert last_line(errors) == f"KeyError: '{CAUSE}'"
    else:
        assert "Traceback" not in errors
        assert last_line(errors).startswith("interrupted")
    if name not in ("prepare-videos", "demo-data"):  # whose videos are whole, and are left for the next run
        assert left == []


@pytest.mark.slow
def test_a_process_of_a_command_that_is_killed_costs_one_video(run):
    status, _, left = run("check-videos", "worker", workers=1)
    assert (status, left) == (1, ["report.csv"])


@pytest.mark.slow
def test_a_process_of_the_preparation_that_is_killed_costs_one_video(run, tmp_path):
    status, _, left = run("prepare-videos", "worker", workers=1)
    assert status == 1
    assert len(left) == 23  # of 22 videos one is lost; failed.csv and prepared.csv
    assert "died (SIGKILL)" in (tmp_path / "out" / "failed.csv").read_text()


@pytest.mark.slow
def test_a_process_of_the_demo_that_is_killed_is_the_cause(run):
    status, errors, _ = run("demo-data", "worker", workers=2)
    assert status == 2
    assert "died (SIGKILL)" in last_line(errors)

"""Runs that fail end: all of their processes, soon, with the cause as the last thing printed."""

from __future__ import annotations

import re
import signal
import socket
import time
from pathlib import Path

import pytest

from mutualnet3d.engine.checkpoint import load_checkpoint
from tests.copies import Script
from tests.runner.failing_run import CAUSE
from tests.runner.runs import ROOT, words_of

SECONDS = 20.0
PLACES = {
    "step": (1, CAUSE),
    "hook": (1, CAUSE),
    "loader": (1, CAUSE),
    "calibration": (1, CAUSE),
    "testing": (1, CAUSE),
    "SIGINT": (130, "stopped by SIGINT after step"),
    "SIGTERM": (75, "stopped by SIGTERM after step"),
    "killed": (-signal.SIGKILL, ""),
}
QUICK = {("step", 2), ("SIGINT", 1), ("killed", 1)}


def start(place, tiny_overrides, folder, workers, num_processes=1):
    """Start a run whose last process fails; return its scripts, and the file of the process ids of its workers."""
    changes = {"DATA_LOADER__NUM_WORKERS": workers, "TRAIN__CHECKPOINT_STEPS": 1, "TRAIN__BATCH_SIZE": 4}
    words = words_of(tiny_overrides(OUTPUT_DIR=str(folder / "output"), SOLVER__MAX_EPOCH=3, **changes))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    file = folder / "workers"
    scripts = []
    for rank in range(num_processes):
        environment = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(num_processes),
            "LOCAL_WORLD_SIZE": str(num_processes),
        }
        script = [str(ROOT / "tests/runner/failing_run.py"), place, num_processes - 1, file, *words[1:]]
        scripts.append(Script(script, folder / f"rank_{rank}", environment if num_processes > 1 else None))
    return scripts, file


def seconds_to_end(scripts, file):
    """Wait for the failure and then for the end of all processes; return the seconds between the two."""
    deadline = time.monotonic() + 120.0
    while not (file.exists() and file.read_text()) and all(script.poll() is None for script in scripts):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    failed = time.monotonic()
    for script in scripts:
        script.finish(timeout=60.0)
    return time.monotonic() - failed


def is_running(process_id):
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def check_nobody_is_left(file):
    process_ids = file.read_text().split()
    deadline = time.monotonic() + 2.0
    while any(map(is_running, process_ids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [process_id for process_id in process_ids if is_running(process_id)]
    return process_ids


@pytest.mark.parametrize(
    ("place", "workers"),
    [
        pytest.param(place, workers, marks=() if (place, workers) in QUICK else pytest.mark.slow)
        for place in PLACES
        for workers in (0, 1, 2)
    ],
)
def test_a_process_alone(place, workers, tiny_overrides, tmp_path):
    (script,), file = start(place, tiny_overrides, tmp_path, workers)
    assert seconds_to_end([script], file) < SECONDS
    status, errors = script.finish()
    expected, cause = PLACES[place]
    assert status == expected, errors[-2000:]
    assert not cause or cause in errors.strip().splitlines()[-1], errors[-2000:]
    process_ids = check_nobody_is_left(file)
    assert len(process_ids) == workers or place in ("loader", "calibration", "testing")
    if place in ("SIGINT", "SIGTERM"):
        newest = max((tmp_path / "output" / "checkpoints").iterdir())
        assert load_checkpoint(str(newest))["step"] == 5  # the step in which all processes learn of it


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_killed(workers, tiny_overrides, tmp_path):
    (script,), file = start("worker", tiny_overrides, tmp_path, workers)
    assert seconds_to_end([script], file) < SECONDS
    status, errors = script.finish()
    assert status == 1
    # Raised where the clips are waited for, or by torch's handler of the signal, wherever the training was.
    assert re.search("is killed by signal: Killed|check-videos` finds it", errors.strip().splitlines()[-1])
    check_nobody_is_left(file)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("place", ["step", "loader", "calibration", "testing", "SIGINT", "killed"])
def test_a_process_of_two(place, workers, tiny_overrides, tmp_path):
    """The peer of the process that fails loses it, status 76, or leaves with it after a signal, 75."""
    scripts, file = start(place, tiny_overrides, tmp_path, workers, num_processes=2)
    assert seconds_to_end(scripts, file) < SECONDS
    (peer, peer_errors), (status, errors) = (script.finish() for script in scripts)
    expected, cause = PLACES[place]
    assert status == expected, errors[-2000:]
    assert not cause or cause in errors.strip().splitlines()[-1], errors[-2000:]
    if place == "SIGINT":
        assert peer == 75
        assert "stopped by a signal to another process" in peer_errors.strip().splitlines()[-1]
    else:
        assert peer == 76, peer_errors[-2000:]
        assert "error: rank 0 lost another process of the job" in peer_errors
    check_nobody_is_left(file)

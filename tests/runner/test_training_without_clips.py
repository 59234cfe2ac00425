"""Trainings whose clips do not come: the data disk is away, a worker is stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mutualnet3d.engine.checkpoint import load_checkpoint
from tests.copies import Script
from tests.runner.runs import ROOT, newest_step, records_of, wait_for_steps, words_of

CHANGES = {"SOLVER__MAX_EPOCH": 100, "TEST__ENABLE": False, "DATA__DECODE_TIMEOUT": 5.0}


@pytest.fixture
def start(tiny_data, tiny_overrides, tmp_path):
    """Start a training on a copy of the data; return its script and the folder of the videos."""
    videos = tmp_path / "disk" / "videos"
    shutil.copytree(tiny_data, videos)
    scripts = []

    def begin(**changes):
        lists = {"DATA__PATH_TO_DATA_DIR": str(tiny_data), "DATA__PATH_PREFIX": str(videos)}
        words = words_of(tiny_overrides(**{**CHANGES, **lists, **changes}))
        scripts.append(Script(words, tmp_path))
        wait_for_steps(tmp_path / "output", 3, scripts[-1], scripts[-1].errors)
        return scripts[-1], videos

    yield begin
    for script in scripts:
        script.finish(timeout=0.0)


def wait_for(condition):
    deadline = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def last_line(errors):
    return errors.strip().splitlines()[-1]


def children_of(process_id):
    return [int(child) for child in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()]


def workers_of(process_id):
    """Return the children of a process's fork server."""
    servers = [
        child
        for child in children_of(process_id)
        if b"multiprocessing.forkserver" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    return [worker for server in servers for worker in children_of(server)]


def is_running(process_id):
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_disk_that_is_away_for_seconds_costs_no_video(start, tmp_path, workers):
    script, videos = start(DATA_LOADER__NUM_WORKERS=workers)
    gone = videos.rename(videos.parent / "gone")
    time.sleep(3.0)
    before = len(records_of(tmp_path / "output"))
    gone.rename(videos)
    wait_for_steps(tmp_path / "output", before + 8, script, script.errors)
    log = (tmp_path / "output" / "log.txt").read_text()
    assert log.count("data disk away since") == 1
    assert not (tmp_path / "output" / "bad_videos.csv").exists()
    script.send_signal(signal.SIGTERM)
    assert script.finish()[0] == 75


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_disk_that_stays_away_ends_the_run_with_a_checkpoint(start, tmp_path, workers):
    script, videos = start(DATA_LOADER__NUM_WORKERS=workers, DATA__DISK_TIMEOUT=2.0)
    videos.rename(videos.parent / "gone")
    started = time.monotonic()
    status, errors = script.finish(timeout=60.0)
    assert time.monotonic() - started < 20.0
    assert status == 75, errors[-2000:]
    assert last_line(errors).startswith("error: data disk away for ")
    assert not (tmp_path / "output" / "bad_videos.csv").exists()
    done = len(records_of(tmp_path / "output"))
    newest = max((tmp_path / "output" / "checkpoints").iterdir(), key=lambda path: path.stat().st_mtime)
    assert load_checkpoint(str(newest))["step"] == newest_step(tmp_path / "output") == done


@pytest.mark.slow
def test_a_run_that_goes_on_while_the_disk_is_away(start, tmp_path):
    """Its list was good when it began: it waits, and then leaves as one that loses the disk in the middle."""
    script, videos = start(DATA__DISK_TIMEOUT=4.0)
    script.send_signal(signal.SIGTERM)
    assert script.finish()[0] == 75
    gone = videos.rename(videos.parent / "gone")
    words = script.words
    status, errors = Script(words, tmp_path).finish()
    assert status == 75, errors[-2000:]
    checkpoint = max((tmp_path / "output" / "checkpoints").iterdir())
    cause = f"; enough were there when the training of {checkpoint} began: their disk is away"
    assert last_line(errors).startswith("error: train: found 0 of ")
    assert last_line(errors).endswith(cause)
    assert not (tmp_path / "output" / "bad_videos.csv").exists()
    before = len(records_of(tmp_path / "output"))
    script = Script(words, tmp_path)
    wait_for(lambda: script.printed.exists() and "waiting for their disk" in script.printed.read_text())
    gone.rename(videos)
    wait_for_steps(tmp_path / "output", before + 2, script, script.errors)
    script.send_signal(signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["SIGTERM", "patience", "SIGKILL"])
def test_a_stopped_worker_ends_with_its_run(tiny_overrides, tmp_path, way):
    """In a process of its own, with a fork server of its own."""
    timeouts = {"DATA__DISK_TIMEOUT": 0.0, "DATA__DECODE_TIMEOUT": 2.0 if way == "patience" else 60.0}
    words = words_of(tiny_overrides(**{**CHANGES, **timeouts, "DATA_LOADER__NUM_WORKERS": 1}))
    errors = tmp_path / "errors"
    with open(errors, "w") as file:
        script = subprocess.Popen([sys.executable, *map(str, words)], cwd=ROOT, stderr=file)
    try:
        wait_for_steps(tmp_path / "output", 3, script, errors)
        (worker,) = workers_of(script.pid)
        os.kill(worker, signal.SIGSTOP)
        started = time.monotonic()
        if way != "patience":
            script.send_signal(getattr(signal, way))
        status = script.wait(timeout=60.0)
    finally:
        script.kill()
        script.wait()
    assert time.monotonic() - started < 40.0  # and not the 60 of a video's decoding
    assert status == (-signal.SIGKILL if way == "SIGKILL" else 75), errors.read_text()[-2000:]
    deadline = time.monotonic() + 2.0
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(worker)
    if way != "SIGKILL":
        cause = "stopped by SIGTERM" if way == "SIGTERM" else f"worker pid {worker} is stopped"
        assert cause in last_line(errors.read_text())
        assert newest_step(tmp_path / "output") == len(records_of(tmp_path / "output"))

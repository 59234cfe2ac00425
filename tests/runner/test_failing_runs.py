"""Runs that fail end: all of their processes, soon, with the cause as the last thing printed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mutualnet3d.engine.checkpoint import load_checkpoint
from tests.copies import Script
from tests.runner.failing_run import CAUSE
from tests.runner.runs import ROOT, words_of
from tests.small_disk import why_none

SECONDS = 20.0
MARK = "MUTUALNET3D_TEST_RUN"
PLACES = {
    "step": (1, CAUSE),
    "hook": (1, CAUSE),
    "loader": (1, CAUSE),
    "calibration": (1, CAUSE),
    "testing": (1, CAUSE),
    "SIGINT": (130, "stopped by SIGINT after step"),
    "SIGTERM": (75, "stopped by SIGTERM after step"),
    "killed": (-signal.SIGKILL, ""),
    "disk": (2, r"error: .* cannot be written: No space left on device \(\d+ bytes .*the newest whole checkpoint is "),
    "descriptors": (2, r"error: .*Too many open files"),
    "log.txt": (2, r"error: \[Errno 28\] No space left on device: '.*log\.txt'"),
    "log.jsonl": (2, r"error: \[Errno 28\] No space left on device: '.*log\.jsonl'"),
    "reader": (2, "error: nobody reads the log at standard output any more"),
    "reader of errors": (75, "^$"),  # and SIGTERM: the status stays, though nobody is told
    # Is removed; whichever of its files is written next names it.
    "folder": (2, r"error: \[Errno 2\] No such file or directory: '.*output/(log\.jsonl|\.?checkpoint.*)'"),
}
WITH_WORKERS = {
    # Raised where the clips are waited for, or by torch's handler of the signal, wherever the training was.
    "worker": (1, "is killed by signal: Killed|check-videos` finds it"),
    "stopped": (75, r"error: no clip came for \d+ s: worker pid \d+ is stopped"),
    "shm": (1, r"/dev/shm, through which loader workers hand clips over, was full: .*Enlarge it"),
}
PHASES = {  # of a test; of its calibration there is nothing to save
    **WITH_WORKERS,
    "SIGINT": (130, "stopped by SIGINT: stopped outside of training, where there is nothing to save"),
    "SIGTERM": (75, "stopped by SIGTERM: stopped outside of training, where there is nothing to save"),
    "killed": PLACES["killed"],
}
# Of testing: the results of the batches that are done are saved.
OF_TESTING = {
    way: (PHASES[way][0], rf"stopped by {way} after \d+ of \d+ batches of the test") for way in ("SIGINT", "SIGTERM")
}
OF_THE_WRITER = {
    "hook",
    "disk",
    "descriptors",
    "log.txt",
    "log.jsonl",
    "reader",
    "folder",
}  # of the process that writes
QUICK = {"step", "SIGINT", "killed", "disk", "reader of errors", "folder"}
# Ways of an end do not depend on whether there are workers, whose own end does not depend on the way.
ALONE_WITH_WORKERS = ("killed", "descriptors")


def end_of(way, phase):
    """Status and last line of a test that fails in a phase."""
    return OF_TESTING.get(way, PHASES[way]) if phase == "testing" else PHASES[way]


def start(place, tiny_overrides, folder, workers, num_processes=1, **others):
    """Start a run whose last process fails; return its scripts, and the file of the process ids of its workers."""
    changes = {
        "DATA_LOADER__NUM_WORKERS": workers,
        "TRAIN__CHECKPOINT_STEPS": 1,
        "TRAIN__BATCH_SIZE": 4,
        "SOLVER__MAX_EPOCH": 1 if "@" in place else 3,
        # Batches enough that the workers are at some when it fails.
        "BN__NUM_BATCHES_PRECISE": 12,
        "TEST__BATCH_SIZE": 2,
        "TEST__NUM_ENSEMBLE_VIEWS": 10,
    }
    if place.startswith("stopped"):
        changes |= {"DATA__DECODE_TIMEOUT": 2.0, "DATA__DISK_TIMEOUT": 0.0}
    words = words_of(tiny_overrides(OUTPUT_DIR=str(folder / "output"), **{**changes, **others}))
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
        failing = 0 if place in OF_THE_WRITER else num_processes - 1
        script = [str(ROOT / "tests/runner/failing_run.py"), place, failing, file, *words[1:]]
        scripts.append(
            Script(script, folder / f"rank_{rank}", environment if num_processes > 1 else {MARK: str(folder)})
        )
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


def skip_without_disk(place):
    if place in ("disk", "shm") and why_none():
        pytest.skip(why_none())


def last_line(errors):
    return (errors.strip().splitlines() or [""])[-1]


def check_end(status, errors, expected, cause):
    assert status == expected, errors[-2000:]
    assert re.search(cause, last_line(errors)), errors[-2000:]


def marked(folder):
    """Return the numbers of the running processes that were started for `folder`, whoever started them."""
    mark, numbers = f"{MARK}={folder}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes().split(b"\0") and is_running(path.parent.name):
                numbers.append(path.parent.name)
    return numbers


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
        *(pytest.param(place, 0, marks=() if place in QUICK else pytest.mark.slow) for place in PLACES),
        *(pytest.param(place, 2, marks=pytest.mark.slow) for place in ALONE_WITH_WORKERS),
    ],
)
def test_a_process_alone(place, workers, tiny_overrides, tmp_path):
    skip_without_disk(place)
    (script,), file = start(place, tiny_overrides, tmp_path, workers)
    assert seconds_to_end([script], file) < SECONDS
    check_end(*script.finish(), *PLACES[place])
    process_ids = check_nobody_is_left(file)
    assert len(process_ids) == workers or place == "loader"
    if place in ("SIGINT", "SIGTERM", "reader of errors"):
        newest = max((tmp_path / "output" / "checkpoints").iterdir())
        assert load_checkpoint(str(newest))["step"] == 5  # the step in which all processes learn of it


@pytest.mark.slow
@pytest.mark.parametrize("place", WITH_WORKERS)
def test_a_worker_that_fails(place, tiny_overrides, tmp_path):
    skip_without_disk(place)
    (script,), file = start(place, tiny_overrides, tmp_path, workers=2)
    assert seconds_to_end([script], file) < SECONDS
    check_end(*script.finish(), *WITH_WORKERS[place])
    check_nobody_is_left(file)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "phase", "workers"),
    [
        ("worker", "calibration", 1),
        ("stopped", "testing", 2),
        ("SIGTERM", "testing", 1),
    ],
)
def test_a_test_with_workers(way, phase, workers, tiny_overrides, tmp_path):
    (script,), file = start(f"{way}@{phase}", tiny_overrides, tmp_path, workers)
    assert seconds_to_end([script], file) < SECONDS
    check_end(*script.finish(), *end_of(way, phase))
    assert len(check_nobody_is_left(file)) == workers


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "workers"), [("calibration", 0), ("testing", 1)])
def test_the_disk_of_a_test_s_videos_that_is_away(phase, workers, tiny_data, tiny_overrides, tmp_path):
    videos = tmp_path / "videos"
    shutil.copytree(tiny_data, videos)
    changes = {"DATA__PATH_PREFIX": str(videos), "DATA__DISK_TIMEOUT": 1.0}
    (script,), file = start(f"away@{phase}", tiny_overrides, tmp_path, workers, **changes)
    assert seconds_to_end([script], file) < SECONDS
    check_end(*script.finish(), 75, r"error: data disk away for \d+ s: .*videos/")
    check_nobody_is_left(file)
    assert not (tmp_path / "output" / "bad_videos.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("way", "phase"), [("SIGTERM", "calibration"), ("killed", "testing")])
def test_a_test_of_two(way, phase, tiny_overrides, tmp_path):
    scripts, file = start(f"{way}@{phase}", tiny_overrides, tmp_path, 1, num_processes=2)
    assert seconds_to_end(scripts, file) < SECONDS
    (peer, peer_errors), ended = [script.finish() for script in scripts]
    check_end(*ended, *end_of(way, phase))
    check_end(peer, peer_errors, 76, "error: rank 0 lost another process of the job")
    check_nobody_is_left(file)


@pytest.mark.slow
def test_too_few_descriptors_from_the_start(tiny_overrides, tmp_path):
    """A worker lost its batches without a word, and the run waited for ever."""
    changes = {"DATA_LOADER__NUM_WORKERS": 2, "OUTPUT_DIR": str(tmp_path / "output")}
    words = words_of(tiny_overrides(**changes))
    process = subprocess.run(
        ["bash", "-c", 'ulimit -n 16; exec "$@"', "-", sys.executable, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, MARK: str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )
    assert process.returncode == 2, process.stderr[-2000:]
    assert process.stderr == (
        "error: Too many open files would be needed: this process may open 16 (ulimit -Hn), and 2 loader workers need "
        "128; raise the limit, or take fewer DATA_LOADER.NUM_WORKERS\n"
    )
    assert marked(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "workers"),
    [
        *((place, 0) for place in ("step", "hook", "disk", "testing", "SIGTERM", "reader of errors", "folder")),
        ("worker", 1),
        ("killed", 2),
    ],
)
def test_a_process_of_two(place, workers, tiny_overrides, tmp_path):
    """The peer of the process that fails loses it, status 76, or leaves with it after a signal, 75."""
    skip_without_disk(place)
    scripts, file = start(place, tiny_overrides, tmp_path, workers, num_processes=2)
    assert seconds_to_end(scripts, file) < SECONDS
    ended = [script.finish() for script in scripts]
    (peer, peer_errors), (status, errors) = ended[::-1] if place in OF_THE_WRITER else ended
    check_end(status, errors, *{**PLACES, **WITH_WORKERS}[place])
    if place in ("SIGINT", "SIGTERM", "reader of errors"):
        assert peer == 75
        assert "stopped by a signal to another process" in peer_errors.strip().splitlines()[-1]
    else:
        assert peer == 76, peer_errors[-2000:]
        assert f"error: rank {1 if place in OF_THE_WRITER else 0} lost another process of the job" in peer_errors
    check_nobody_is_left(file)


@pytest.mark.slow
@pytest.mark.parametrize(("place", "workers"), [("step", 0), ("killed", 2)])
def test_a_process_of_torchrun(place, workers, tiny_overrides, tmp_path):
    changes = {"DATA_LOADER__NUM_WORKERS": workers, "TRAIN__CHECKPOINT_STEPS": 1, "SOLVER__MAX_EPOCH": 3}
    words = words_of(tiny_overrides(OUTPUT_DIR=str(tmp_path / "output"), **changes))
    file, errors = tmp_path / "workers", tmp_path / "errors"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*torchrun, "tests/runner/failing_run.py", place, "1", file, *words[1:]]
    environment = {**os.environ, MARK: str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with errors.open("wb") as stream:
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, env=environment, stderr=stream, stdout=stream)
    deadline = time.monotonic() + 120.0
    while not ((file.exists() and file.read_text()) or (workers == 0 and file.exists())) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(marked(tmp_path)) >= 1 + workers
    failed = time.monotonic()
    try:
        assert process.wait(SECONDS) == 1
    finally:
        process.kill()
    assert time.monotonic() - failed < SECONDS
    text = errors.read_text()
    if place == "step":
        assert text.index(f"KeyError: '{CAUSE}'") < text.index("Root Cause")
        assert re.search(r"Root Cause[\s\S]*rank +: 1 [\s\S]*exitcode +: 1 ", text), text[-3000:]
    else:
        assert re.search(r"rank +: 1 [\s\S]*exitcode +: -9 ", text), text[-3000:]
    while marked(tmp_path) and time.monotonic() - failed < SECONDS:
        time.sleep(0.1)
    assert marked(tmp_path) == []


@pytest.mark.slow
def test_a_second_run_in_the_folder_of_a_first(tiny_overrides, tmp_path):
    """It is refused while the first one lives; after a SIGKILL it takes the lock over and goes on."""
    (first,), file = start("paused", tiny_overrides, tmp_path / "first", 1)
    while not (file.exists() and file.read_text()):
        assert first.poll() is None, first.finish()
        time.sleep(0.02)
    output = tmp_path / "first" / "output"
    words = words_of(tiny_overrides(OUTPUT_DIR=str(output), SOLVER__MAX_EPOCH=1, TRAIN__CHECKPOINT_STEPS=1))
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    status, errors = Script(words, tmp_path / "second").finish()
    assert status == 2
    holder = rf"process {first._process.pid} on {socket.gethostname()}, since "
    assert re.match(rf"error: .*output is in use by another run: {holder}", errors), errors
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()} == before
    first.send_signal(signal.SIGKILL)
    assert first.finish()[0] == -signal.SIGKILL
    (output / f".config.yaml.{first._process.pid}.tmp").touch()
    status, errors = Script(words, tmp_path / "third").finish()
    assert status == 0, errors[-2000:]
    log = (output / "log.txt").read_text()
    assert "is taken over: its process is gone" in log
    assert f"removed .config.yaml.{first._process.pid}.tmp, which a killed process had not finished" in log
    assert "resumed from " in log
    assert not list(output.rglob(".*.tmp"))
    assert not (output / "run.lock").exists()

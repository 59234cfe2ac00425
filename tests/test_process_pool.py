from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from mutualnet3d.process_pool import map_in_processes, num_cores


def trouble(item):
    """Do to the process the things that a decoder may do."""
    if item == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "leave":
        os._exit(3)
    if item == "hang":
        time.sleep(60)
    if isinstance(item, int):
        return len(bytearray(item))
    return f"{item} done"


def test_outcomes_know_their_item():
    results = map_in_processes(trouble, ["a", "b", "c", "d", "e"], workers=2, timeout=60.0)
    assert sorted(results) == [(index, f"{name} done") for index, name in enumerate("abcde")]
    assert list(map_in_processes(trouble, [], workers=2, timeout=60.0)) == []


def test_a_process_that_dies_or_hangs_costs_its_item_alone():
    items = ["a", "die", "hang", "b", "leave", "c"]
    start = time.monotonic()
    results = dict(map_in_processes(trouble, items, workers=2, timeout=1.5))
    assert time.monotonic() - start < 30
    assert [results[index] for index in (0, 3, 5)] == ["a done", "b done", "c done"]
    lost = [results[index] for index in (1, 2, 4)]
    assert [result.reason for result in lost] == [
        "the process that worked on it died (SIGKILL)",
        "took longer than 1.5 seconds",
        "the process that worked on it died (exit status 3)",
    ]
    assert len({result.pid for result in lost}) == 3


def test_a_process_that_needs_too_much_memory_costs_its_item_alone():
    items = [1 << 20, 300 << 20, "a", 1 << 40, "leave", 2 << 20]
    results = dict(map_in_processes(trouble, items, workers=1, timeout=60.0, memory=200 << 20))
    assert [results[index] for index in (0, 2, 5)] == [1 << 20, "a done", 2 << 20]
    lost = [results[index] for index in (1, 3, 4)]
    assert [result.reason for result in lost] == [
        "needs more than 200 MB of memory",
        "needs more than 200 MB of memory",
        "the process that worked on it died (exit status 3); it may take 200 MB of memory",
    ]
    assert len({result.pid for result in lost}) == 3


def note_the_end(item, folder):
    open(f"{folder}/{item}.started", "w").close()
    try:
        time.sleep(60 if item else 0)
    finally:
        open(f"{folder}/{item}.ended", "w").close()
    return item


def test_processes_end_with_the_iterator_and_clean_up(tmp_path):
    results = map_in_processes(partial(note_the_end, folder=tmp_path), [0, 1], workers=2, timeout=60.0)
    assert next(results) == (0, 0)
    while not (tmp_path / "1.started").exists():
        time.sleep(0.01)
    results.close()
    assert (tmp_path / "1.ended").exists()


def write_pid_and_hang(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


def test_a_hanging_process_whose_parent_was_killed_ends_by_itself(tmp_path):
    """Not by its pipe, which it does not read."""
    script = (
        "from mutualnet3d import process_pool\nfrom tests.test_process_pool import write_pid_and_hang\n"
        "process_pool._ORPHAN_SECONDS = 0.1\n"
        f"next(process_pool.map_in_processes(write_pid_and_hang, [{str(tmp_path / 'pid')!r}], workers=1, timeout=1.0))"
    )
    root = Path(__file__).resolve().parents[1]
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=root)
    try:
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    finally:
        parent.kill()
        parent.wait()
    child = int((tmp_path / "pid").read_text())
    wait_for(lambda: not is_running(child))


def wait_for(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid):
    """Also False for a zombie, which waits for the machine's first process to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class EndsItsReader:
    def __call__(self, item):
        return item

    def __reduce__(self):
        return os._exit, (4,)


def test_processes_that_cannot_start_are_an_error():
    results = map_in_processes(EndsItsReader(), ["a"], workers=1, timeout=60.0)
    with pytest.raises(RuntimeError, match=r"ended before it took an item: the process .* died \(exit status 4\)"):
        next(results)


class KillsItsReader:
    """Item whose process is killed before its first item, the first time."""

    def __init__(self, path):
        self.path = path

    def __call__(self, item):
        return f"{item} done"

    def __reduce__(self):
        return start_or_be_killed, (self.path,)


def start_or_be_killed(path):
    try:
        os.open(path, os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return KillsItsReader(path)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_before_its_first_item_is_replaced(tmp_path):
    function = KillsItsReader(str(tmp_path / "was killed"))
    results = dict(map_in_processes(function, ["a", "b"], workers=1, timeout=60.0))
    assert results == {0: "a done", 1: "b done"}


def test_items_are_taken_as_processes_are_free():
    taken = []

    def items():
        for name in "abcde":
            taken.append(name)
            yield name

    results = map_in_processes(trouble, items(), workers=2, timeout=60.0)
    assert taken == []
    next(results)
    assert 2 <= len(taken) <= 4
    assert len(list(results)) == 4


def test_numbers_out_of_range():
    with pytest.raises(ValueError, match="workers is 0; allowed: 1 or more"):
        map_in_processes(trouble, ["a"], workers=0, timeout=1.0)
    with pytest.raises(ValueError, match="timeout is 0 seconds; allowed: more than 0"):
        map_in_processes(trouble, ["a"], workers=1, timeout=0)
    with pytest.raises(ValueError, match="memory is 0 bytes; allowed: more than 0, or None"):
        map_in_processes(trouble, ["a"], workers=1, timeout=1.0, memory=0)
    assert 1 <= num_cores() <= (os.cpu_count() or 1)

from __future__ import annotations

import os
import signal
import time
from functools import partial

import pytest

from mutualnet3d.process_pool import num_cores, run_apart


def trouble(item):
    """What a decoder may do to its process."""
    if item == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "leave":
        os._exit(3)
    if item == "hang":
        time.sleep(60)
    return f"{item} done"


def test_outcomes_know_their_item():
    outcomes = run_apart(trouble, ["a", "b", "c", "d", "e"], workers=2, timeout=60.0)
    assert sorted(outcomes) == [(index, f"{name} done") for index, name in enumerate("abcde")]
    assert list(run_apart(trouble, [], workers=2, timeout=60.0)) == []


def test_a_process_that_dies_or_hangs_costs_its_item_alone():
    items = ["a", "die", "hang", "b", "leave", "c"]
    start = time.monotonic()
    outcomes = dict(run_apart(trouble, items, workers=2, timeout=1.5))
    assert time.monotonic() - start < 30
    assert [outcomes[index] for index in (0, 3, 5)] == ["a done", "b done", "c done"]
    lost = [outcomes[index] for index in (1, 2, 4)]
    assert [outcome.reason for outcome in lost] == [
        "the process that decoded it died (SIGKILL)",
        "took longer than 1.5 seconds",
        "the process that decoded it died (exit status 3)",
    ]
    assert len({outcome.pid for outcome in lost}) == 3


def note_the_end(item, folder):
    open(f"{folder}/{item}.started", "w").close()
    try:
        time.sleep(60 if item else 0)
    finally:
        open(f"{folder}/{item}.ended", "w").close()
    return item


def test_processes_end_with_the_iterator_and_clean_up(tmp_path):
    outcomes = run_apart(partial(note_the_end, folder=tmp_path), [0, 1], workers=2, timeout=60.0)
    assert next(outcomes) == (0, 0)
    while not (tmp_path / "1.started").exists():
        time.sleep(0.01)
    outcomes.close()
    assert (tmp_path / "1.ended").exists()


class EndsItsReader:
    def __call__(self, item):
        return item

    def __reduce__(self):
        return os._exit, (4,)


def test_processes_that_cannot_start_are_no_bad_videos():
    outcomes = run_apart(EndsItsReader(), ["a"], workers=1, timeout=60.0)
    with pytest.raises(RuntimeError, match=r"ended before it took a video: the process .* died \(exit status 4\)"):
        next(outcomes)


def test_numbers_out_of_range():
    with pytest.raises(ValueError, match="workers is 0; allowed: 1 or more"):
        run_apart(trouble, ["a"], workers=0, timeout=1.0)
    with pytest.raises(ValueError, match="timeout is 0 seconds; allowed: more than 0"):
        run_apart(trouble, ["a"], workers=1, timeout=0)
    assert 1 <= num_cores() <= (os.cpu_count() or 1)

from __future__ import annotations

import copy
import os
import pickle
import threading

import pytest

from mutualnet3d.models.fork_safe_lock import ForkSafeLock
from mutualnet3d.shapes import SubnetConfig
from tests.models.families import FAMILIES, FULL_CLIP, calibrated


def hold_in_thread(lock):
    """Return an event that lets go of the lock, which a thread has when this returns, and the thread."""
    has, let_go = threading.Event(), threading.Event()

    def hold():
        with lock:
            has.set()
            let_go.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert has.wait(30)
    return let_go, thread


def status_in_child(function):
    """Return 0 if `function` is true in a forked process; the signal's number, negative, if it takes 20 seconds."""
    import signal

    pid = os.fork()
    if not pid:
        signal.alarm(20)
        try:
            os._exit(0 if function() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def enters(lock):
    with lock, lock:
        return lock.depth == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_finds_it_free():
    lock = ForkSafeLock()
    let_go, thread = hold_in_thread(lock)
    try:
        assert status_in_child(lambda: enters(lock)) == 0
    finally:
        let_go.set()
        thread.join()
    assert enters(lock)
    assert lock.depth == 0
    with lock:  # the thread that forks keeps it
        assert status_in_child(lambda: lock.depth == 1 and lock.__exit__() is None and lock.depth == 0) == 0
        assert lock.depth == 1


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda lock: pickle.loads(pickle.dumps(lock))])
def test_a_copy_is_free(copied):
    lock = ForkSafeLock()
    with lock:
        other = copied(lock)
        let_go, thread = hold_in_thread(other)
        let_go.set()
        thread.join()
    assert other is not lock


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_network_that_was_switched_when_it_was_forked_is_whole_again():
    small = SubnetConfig(0.5, 48, 2)
    model = calibrated(FAMILIES["x3d"](), small).eval()
    has, let_go = threading.Event(), threading.Event()

    def hold():
        with model.active(small):
            has.set()
            let_go.wait(30)

    def is_whole():
        with model.active(model.full):
            assert model._active == model.full
        return model._active is None

    thread = threading.Thread(target=hold)
    thread.start()
    assert has.wait(30)
    try:
        assert status_in_child(is_whole) == 0
    finally:
        let_go.set()
        thread.join()
    assert model.full_clip == FULL_CLIP

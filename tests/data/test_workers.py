from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import pytest
import torch

from mutualnet3d.data import workers as workers_module
from mutualnet3d.data.workers import Workers, die_with_parent
from tests.copies import SERVER


class Numbers(torch.utils.data.Dataset):
    """Requests themselves; those from 4 on are never answered."""

    def __getitem__(self, request):
        if request >= 4:
            time.sleep(1000)
        return request


@pytest.fixture
def numbers(monkeypatch):
    """Function that loads lists of numbers by some workers."""
    monkeypatch.setattr(workers_module, "collate", list)
    return lambda number: Workers(number).load(Numbers(), [[n] for n in range(8)])


@pytest.mark.parametrize("number", [1, 2])
def test_a_loader_that_is_closed_leaves_no_worker_though_one_is_busy(numbers, number, monkeypatch):
    monkeypatch.setattr(workers_module, "_CLOSE_SECONDS", 0.2)
    before = set(multiprocessing.active_children())
    loads = numbers(number)
    assert [next(loads) for _ in range(3)] == [[0], [1], [2]]
    assert len(set(multiprocessing.active_children()) - before) == number
    started = time.monotonic()
    loads.close()
    assert time.monotonic() - started < 3.0
    assert set(multiprocessing.active_children()) == before


def test_a_worker_whose_end_is_known_later_than_its_connection_s_is_the_cause(numbers, monkeypatch):
    before = set(multiprocessing.active_children())
    loads = numbers(1)
    next(loads)
    (worker,) = set(multiprocessing.active_children()) - before

    def lose(loader):
        threading.Timer(0.2, worker.kill).start()
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(torch.utils.data.dataloader._BaseDataLoaderIter, "__next__", lose)
    cause = (
        rf"worker \(pid\(s\) {worker.pid}\) ended while it handed a clip over: ConnectionReset.*\n.*killed by SIGKILL"
    )
    with pytest.raises(RuntimeError, match=cause):
        next(loads)


def test_shared_memory_that_is_full_is_named():
    bus = "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out"
    blocks = "Caught RuntimeError in DataLoader worker process 0.\nunable to write to file </torch_1_2_3>: No space"
    for text in (bus, blocks):
        cause = workers_module._cause(text)
        assert cause.startswith("/dev/shm, through which loader workers hand clips over, was full: it has ")
        assert "DATA_LOADER.NUM_WORKERS or a smaller TRAIN.BATCH_SIZE" in cause
    killed = "DataLoader worker (pid 7) is killed by signal: Killed."
    assert "`mutualnet3d check-videos` finds it" in workers_module._cause(killed)
    assert workers_module._cause("Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback") == ""


@pytest.mark.parametrize(
    ("exit_code", "cause"),
    [
        (-signal.SIGBUS, "/dev/shm, through which loader workers hand clips over, was full"),
        (-signal.SIGKILL, "A worker was killed by SIGKILL, by the system's out-of-memory killer"),
        (-signal.SIGSEGV, "A worker was ended by SIGSEGV. If there was memory enough, a video crashed the decoder"),
        (1, "A worker could not start; its error stands above. A script must do its work below `if __name__"),
    ],
)
def test_the_exit_code_of_a_worker_tells_its_cause(exit_code, cause):
    text = "DataLoader worker (pid(s) 7) exited unexpectedly"
    assert workers_module._cause(text, [None, exit_code]).startswith(cause)


def test_too_few_descriptors_are_named():
    assert "(ulimit -n)" in workers_module._cause("received 0 items of ancdata")


class Unpicklable(Numbers):
    def __init__(self):
        self.function = lambda: None


@pytest.mark.filterwarnings("ignore:Got pickle error")
def test_a_data_set_that_no_worker_can_be_sent_is_refused():
    with pytest.raises(ValueError, match=r"the data set cannot be sent to a loader worker: .*lambda"):
        next(Workers(1).load(Unpicklable(), [[0]]))


def _parent(method, pipe):
    child = multiprocessing.get_context(method).Process(target=_child, args=(pipe,))
    child.start()
    time.sleep(1000)


def _child(pipe):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    die_with_parent()
    pipe.send(os.getpid())
    time.sleep(1000)


@pytest.mark.parametrize("method", ["fork", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_a_process_dies_with_its_parent(method):
    receiver, sender = SERVER.Pipe(duplex=False)
    parent = SERVER.Process(target=_parent, args=(method, sender))
    parent.start()
    child = receiver.recv()
    assert _is_running(child)
    assert parent.pid is not None
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline and _is_running(child):
        time.sleep(0.01)
    assert not _is_running(child)


def _is_running(process_id):
    try:
        with open(f"/proc/{process_id}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

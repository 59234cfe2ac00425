"""Loader workers: processes of torch's DataLoader that end with the process that started them, whatever its way out."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import util
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import DataLoader

from mutualnet3d.data.batch_sampler import ClipRequest
from mutualnet3d.data.dataset import Loaded, VideoDataset, collate

SHARED_MEMORY = "/dev/shm"
_CLOSE_SECONDS = 5.0  # from a loader's end to SIGKILL for its workers
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Workers:
    """Loader workers.

    Signals that end a job do not end them: they go to all of its processes, and a training needs its workers for the
    rest of its step. They are killed when their loader is closed, when this process ends, and when it is killed.

    Args:
        number: number of processes; 0: this process loads.
        pin_memory: True to load into pinned memory.
    """

    number: int = 0
    pin_memory: bool = False

    def load(self, dataset: VideoDataset, batch_sampler: Iterable[list[ClipRequest]]) -> Iterator[Loaded]:
        """Yield the clips of `dataset` for each list of requests, in order.

        Raises:
            RuntimeError: a worker process died.
        """
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=batch_sampler,
            num_workers=self.number,
            collate_fn=collate,
            # Without a generator of its own a loader draws from the global one, and a resumed run would differ.
            generator=torch.Generator(),
            pin_memory=self.pin_memory,
            worker_init_fn=_start_worker,
        )
        if self.number:
            # Garbage is destroyed in this process, once: a worker is a copy of it without its threads, and an object
            # that ends with one of them would wait for it for ever.
            gc.collect()
        before = set(multiprocessing.active_children())
        loads = [iter(loader)]
        processes = set(multiprocessing.active_children()) - before
        # At this process's end, before multiprocessing sends its children SIGTERM and waits for them.
        at_exit = util.Finalize(None, _kill, args=(processes,), exitpriority=0)
        try:
            yield from loads[0]
        except RuntimeError as error:
            cause = _cause(str(error))
            if not cause:
                raise
            raise RuntimeError(f"{error}\n{cause}") from error
        finally:
            if at_exit.still_active():  # or this process is at its end, where no thread can be started
                _close(loads, processes)
                at_exit()  # an error on its way holds the loader, which is not closed then


def _close(loads: list[Any], processes: Iterable[BaseProcess]) -> None:
    """Close a loader: its workers leave after the clips that they are at, or are killed after `_CLOSE_SECONDS`.

    Args:
        loads: the loader's iterator, alone; the list is emptied.
        processes: its workers.
    """
    timer = threading.Timer(_CLOSE_SECONDS, _kill, (processes,))
    with _deaths_unheard():
        timer.start()
        try:
            loads.clear()
        finally:
            timer.cancel()
            timer.join()


def _kill(processes: Iterable[BaseProcess]) -> None:
    """End worker processes, and wait for them."""
    with _deaths_unheard():
        for process in processes:
            process.kill()
        for process in processes:
            process.join()


@contextlib.contextmanager
def _deaths_unheard() -> Iterator[None]:
    """Context without torch's handler of SIGCHLD, which raises an error when a worker is killed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler)


def _start_worker(number: int) -> None:
    # A cluster signals all processes of a job; the training decides what to do, and it needs its workers.
    for ignored in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(ignored, signal.SIG_IGN)
    die_with_parent()
    # The objects of the start are never collected: packets and frames make the collector run often.
    gc.freeze()


def die_with_parent() -> None:
    """Have this process killed when the process that started it ends, by SIGKILL too.

    A worker holds the parent's connections to its peers: while it lives, they take the parent for alive.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "the main process has no parent to die with"
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if not sys.platform.startswith("linux") or os.getppid() != parent.pid:
        # The kernel's parent is another one (a fork server), or ended before the kernel was asked.
        threading.Thread(target=_die_after, args=(parent.sentinel,), daemon=True).start()


def _die_after(sentinel: int) -> None:
    """Kill this process when another one has ended, which holds the other end of the pipe `sentinel`."""
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


def _cause(error: str) -> str:
    """Return the probable cause of a worker's death, in a sentence; "" for any other error.

    Args:
        error: text of a RuntimeError of torch's DataLoader.
    """
    # A bus error is a page of shared memory that could not be had; "/torch_..." are the names of torch's blocks in it.
    if "Bus error" in error or "bus error" in error or "file </torch_" in error:
        usage = shutil.disk_usage(SHARED_MEMORY)
        return (
            f"{SHARED_MEMORY}, through which loader workers hand clips over, was full: it has {usage.total >> 20} MiB, "
            f"of which {usage.free >> 20} are free now. Enlarge it (docker run --shm-size), or take fewer "
            "DATA_LOADER.NUM_WORKERS or a smaller TRAIN.BATCH_SIZE."
        )
    if "DataLoader worker (pid" in error:
        return "If there was memory enough, a video crashed the decoder; `mutualnet3d check-videos` finds it."
    return ""

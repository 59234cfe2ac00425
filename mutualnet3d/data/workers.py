"""Loader workers: processes of torch's DataLoader that end with the process that started them, whatever its way out."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver, util
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import DataLoader

from mutualnet3d import fork_server
from mutualnet3d.data.batch_sampler import ClipRequest
from mutualnet3d.data.dataset import Loaded, VideoDataset, collate
from mutualnet3d.data.watch import RecordedDataset, Watch, WorkerRecord

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
        patience: seconds without a finished clip after which the workers are killed; None: never.

    With workers the caller's main module must be importable (`if __name__ == "__main__":`), and so must the data set's
    class: workers are copies of a fork server, not of this process.
    """

    number: int = 0
    pin_memory: bool = False
    patience: float | None = None

    def load(self, dataset: VideoDataset, batch_sampler: Iterable[list[ClipRequest]]) -> Iterator[Loaded]:
        """Yield the clips of `dataset` for each list of requests, in order.

        Args:
            dataset: data set that the worker processes read from.
            batch_sampler: requests of each batch, in order.

        Raises:
            DataAway: no clip came for `patience` seconds, and no worker computes.
            RuntimeError: a worker process died; or one has computed on a clip for `patience` seconds.
        """
        augment = getattr(dataset, "augment", None)  # a data set of one's own may have none
        augments = augment is not None and not augment.is_identity
        kinds = ["pool", "loader", *(["augmentation"] if augments else [])]
        context: Any = fork_server.context(*kinds) if self.number else multiprocessing
        records = context.RawArray(WorkerRecord, max(self.number, 1))
        loader: DataLoader[Any] = DataLoader(
            RecordedDataset(dataset, records),
            batch_sampler=batch_sampler,
            num_workers=self.number,
            collate_fn=collate,
            # Without a generator of its own a loader draws from the global one, and a resumed run would differ.
            generator=torch.Generator(),
            pin_memory=self.pin_memory,
            worker_init_fn=_start_worker,
            multiprocessing_context=context if self.number else None,
        )
        before = set(multiprocessing.active_children())
        try:
            loads = [iter(loader)]
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            if not self.number:
                raise
            raise ValueError(
                f"the data set cannot be sent to a loader worker: {error}; all in it must pickle, and its class stand "
                "at the top of a file (or take 0 workers)"
            ) from error
        started = set(multiprocessing.active_children()) - before
        processes = sorted(started, key=lambda process: process.name.rpartition("-")[2].zfill(9))
        # At this process's end, before multiprocessing sends its children SIGTERM and waits for them.
        at_exit = util.Finalize(None, _kill, args=(processes,), exitpriority=0)
        watch = Watch(processes, records, partial(_path_of, dataset), self.patience, partial(_kill, processes))
        try:
            with watch:
                while True:
                    with watch.waiting():
                        try:
                            loaded = next(loads[0])
                        except StopIteration:
                            return
                    yield loaded
        except (RuntimeError, OSError, EOFError) as error:
            if watch.error is not None:
                raise watch.error from error
            if processes and not isinstance(error, RuntimeError):
                wait([process.sentinel for process in processes], _CLOSE_SECONDS)  # known later than its connection's
            exit_codes = [process.exitcode for process in processes]
            text = str(error)
            if not isinstance(error, RuntimeError):
                # This process was about to take a clip's memory over from a worker that has died.
                if all(code is None for code in exit_codes):
                    raise
                pids = _pids_of_dead(processes)
                text = f"DataLoader worker (pid(s) {pids}) ended while it handed a clip over: {error!r}"
            cause = _cause(text, exit_codes)
            if not cause:
                raise
            raise RuntimeError(f"{text}\n{cause}") from error
        finally:
            if at_exit.still_active():  # or this process is at its end, where no thread can be started
                _close(loads, processes)
                at_exit()  # an error on its way holds the loader, which is not closed then


def _pids_of_dead(processes: Iterable[BaseProcess]) -> str:
    return ", ".join(str(process.pid) for process in processes if process.exitcode is not None)


def _path_of(dataset: Any, index: int) -> str:
    """Return the path of a data set's video; "" if it has none."""
    videos = getattr(dataset, "videos", ())
    return videos[index].path if 0 <= index < len(videos) else ""


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
            process.join(_CLOSE_SECONDS)
            if process.exitcode is None:
                # The kernel does not let it go, for a disk that does not answer. At this process's end multiprocessing
                # would wait for it, for ever.
                getattr(multiprocessing.process, "_children").discard(process)  # noqa: B009 - private


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
    if sys.__stderr__ is not None:
        faulthandler.register(signal.SIGUSR2, file=sys.__stderr__)
    die_with_parent()
    # The objects of the start are never collected: packets and frames make the collector run often.
    gc.freeze()


def die_with_parent() -> None:
    """Have this process killed when the process that started it ends, by SIGKILL too."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "the main process has no parent to die with"
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if not sys.platform.startswith("linux") or os.getppid() != parent.pid:
        # The kernel's parent is another one (a fork server), or ended before the kernel was asked.
        threading.Thread(target=_die_after, args=(parent.sentinel,), daemon=True).start()
        # The server ends when all who hold this pipe have ended. Without this process's end it ends with the parent,
        # and then the kernel kills this process, though it be stopped and its threads with it.
        server: Any = forkserver._forkserver
        if server._forkserver_pid is None and server._forkserver_alive_fd is not None:
            os.close(server._forkserver_alive_fd)
            server._forkserver_alive_fd = None


def _die_after(sentinel: int) -> None:
    """Kill this process when another one has ended, which holds the other end of the pipe `sentinel`."""
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


def _cause(error: str, exit_codes: Sequence[int | None] = ()) -> str:
    """Return the probable cause of a worker's death, in a sentence; "" for any other error.

    Args:
        error: text of a RuntimeError of torch's DataLoader.
        exit_codes: exit codes of the workers, negative for signals; None for those that run.
    """
    is_death = "DataLoader worker (pid" in error
    # A bus error is a page of shared memory that could not be had; "/torch_..." are the names of torch's blocks in it.
    is_full = "Bus error" in error or "bus error" in error or "file </torch_" in error
    if is_full or (is_death and -signal.SIGBUS in exit_codes):
        usage = shutil.disk_usage(SHARED_MEMORY)
        return (
            f"{SHARED_MEMORY}, through which loader workers hand clips over, was full: it has {usage.total >> 20} MiB, "
            f"of which {usage.free >> 20} are free now. Enlarge it (docker run --shm-size), or take fewer "
            "DATA_LOADER.NUM_WORKERS or a smaller TRAIN.BATCH_SIZE."
        )
    if "ancdata" in error or "Too many open files" in error:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return f"Clips come from workers by file descriptors, of which a process may have {descriptors} (ulimit -n)."
    if not is_death:
        return ""
    crashed = "If there was memory enough, a video crashed the decoder; `mutualnet3d check-videos` finds it."
    if -signal.SIGKILL in exit_codes:
        return (
            "A worker was killed by SIGKILL, by the system's out-of-memory killer (see dmesg) or by somebody: take "
            f"fewer DATA_LOADER.NUM_WORKERS. {crashed}"
        )
    names = [signal.Signals(-code).name for code in exit_codes if code is not None and code < 0]
    if names:
        return f"A worker was ended by {names[0]}. {crashed}"
    if 1 in exit_codes:
        return (
            "A worker could not start; its error stands above. A script must do its work below `if __name__ == "
            '"__main__":`, and the class of its data set must stand in a file, not in a notebook.'
        )
    return crashed

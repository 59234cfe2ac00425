"""Work on videos in processes of their own.

A broken file can do more than raise an error: libav may crash or never return. So the work is done by processes that
get one video at a time; one that dies or takes too long is replaced, and costs its own video alone.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def num_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Lost:
    """An item whose process (`pid`) died or was ended because it took too long."""

    reason: str
    pid: int


def run_apart(
    function: Callable[[Item], Outcome], items: Iterable[Item], *, workers: int, timeout: float
) -> Iterator[tuple[int, Outcome | Lost]]:
    """(index, outcome) of `function` for every item, in the order in which they are done, from `workers` processes.

    A process that dies, or has had one item for `timeout` seconds, loses that item alone: another takes its place.
    Processes are ended with the iterator. `function` and items must pickle; `function` must not raise: its process
    would die of it. The caller's main module must be importable (`if __name__ == "__main__":`).

    Raises:
        ValueError: a number that is out of range.
        RuntimeError: processes end before they take an item.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; allowed: 1 or more")
    if not timeout > 0:
        raise ValueError(f"timeout is {timeout} seconds; allowed: more than 0")
    return _run_apart(function, list(items), workers, timeout)


def _run_apart(
    function: Callable[[Item], Outcome], items: list[Item], workers: int, timeout: float
) -> Iterator[tuple[int, Outcome | Lost]]:
    todo = deque(enumerate(items))
    pool: dict[Connection, _Worker[Item, Outcome]] = {}

    def start() -> None:
        worker = _Worker(function)
        pool[worker.connection] = worker

    try:
        for _ in range(min(workers, len(todo))):
            start()
        while pool:
            soonest = min(worker.deadline for worker in pool.values())
            wait(list(pool), None if soonest == math.inf else max(soonest - time.monotonic(), 0.0))
            for worker in list(pool.values()):
                if worker.connection.poll():
                    outcome = worker.receive()
                elif time.monotonic() >= worker.deadline:
                    worker.end()
                    outcome = Lost(f"took longer than {timeout:g} seconds", worker.pid)
                else:
                    continue
                index = worker.index
                if isinstance(outcome, Lost):
                    if index is None:
                        raise RuntimeError(f"a process ended before it took a video: {outcome.reason}")
                    del pool[worker.connection]
                    if todo:
                        start()
                elif todo:
                    worker.give(*todo.popleft(), timeout)
                else:
                    worker.end()
                    del pool[worker.connection]
                if index is not None:
                    yield index, outcome
    finally:
        for worker in pool.values():
            worker.end()


class _Worker(Generic[Item, Outcome]):
    """A process that works on one item at a time: `index`, or None before its first, until `deadline`."""

    def __init__(self, function: Callable[[Item], Outcome]):
        self.index: int | None = None
        self.deadline = math.inf
        context = _context()
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, function), daemon=True)
        self._process.start()
        theirs.close()  # else the pipe would outlive the process, whose death is told by its end
        self.pid: int = self._process.pid

    def give(self, index: int, item: Item, timeout: float) -> None:
        self.index, self.deadline = index, time.monotonic() + timeout
        with contextlib.suppress(OSError):  # it has died: `receive` will say so
            self.connection.send(item)

    def receive(self) -> Any:
        """What it sends: that it is ready (None), then outcomes; or that it is lost."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            return Lost(f"the process that decoded it died ({_ending(self._process.exitcode)})", self.pid)

    def end(self) -> None:
        self.connection.close()
        self._process.terminate()
        self._process.join(timeout=2.0)
        self._process.kill()  # libav may not let it go
        self._process.join()


def _context() -> Any:
    # From a server that has imported all that is needed, a process starts at once, and with no open files of ours.
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _serve(connection: Connection, function: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the one that started them ends them
    signal.signal(signal.SIGTERM, _leave)
    connection.send(None)
    while True:
        try:
            item = connection.recv()
        except (EOFError, OSError):  # the other side has gone
            return
        outcome = function(item)
        with contextlib.suppress(OSError):
            connection.send(outcome)


def _leave(number: int, frame: FrameType | None) -> None:
    # Unlike the signal itself an exception lets `finally` remove half-written files.
    raise SystemExit(128 + number)


def _ending(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return signal.Signals(-exit_code).name
    return f"exit status {exit_code}"

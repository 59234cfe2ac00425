"""Process pool for work that may crash or hang: decoding broken videos.

A broken file can do more than raise an error: libav may crash or never return. Each process gets one item at a time; a
process that dies or takes too long is replaced, and loses its own item alone. Why this is no library's pool:
docs/architecture.md.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any, Generic, TypeVar

from mutualnet3d import fork_server

Item = TypeVar("Item")
Result = TypeVar("Result")

_TERM_SECONDS = 2.0  # from SIGTERM to SIGKILL: time to remove half-written files
_ORPHAN_SECONDS = 10.0  # after the time of an item: then its process ends by itself
_MAX_LOST_STARTS = 3  # processes that are killed before they take an item, one after the other
_LONGEST_ALARM_SECONDS = 1e8  # a timer takes no infinity

# Bytes for a video: whole 8K videos with 16 reference frames take 1.4 GB; beyond, a few processes would fill a machine.
VIDEO_MEMORY = 2 << 30


def num_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class LostItem:
    """Result of an item whose process died, or was ended: the item took too long, or too much memory.

    Args:
        reason: text of the cause.
        pid: number of the process.
        died: True for a process that died by itself, or that somebody else killed; the item need not be the cause.
    """

    reason: str
    pid: int
    died: bool = False


def map_in_processes(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    timeout: float,
    memory: int | None = None,
) -> Generator[tuple[int, Result | LostItem]]:
    """Yield (index, result) of `function` for every item, in the order in which they are done.

    A process that dies, needs more than `memory`, or has had one item for `timeout` seconds, loses that item alone:
    another takes its place.
    Processes end with the generator. SIGTERM raises `SystemExit` in them, so that `finally` removes half-written files.
    If this process is killed, they end after their item, at the latest seconds after `timeout`.

    Args:
        function: work on one item; it must pickle and must not raise: its process would die. A `MemoryError`
            may leave it where there is a limit.
        items: arguments of the calls; they must pickle. Each is taken when a process is free for it.
        workers: number of processes, 1 or more.
        timeout: seconds that one item may take, more than 0; `math.inf` for any time.
        memory: bytes of address space that a process may take beyond those that it has before its first item, more
            than 0; None: no limit.

    The caller's main module must be importable (`if __name__ == "__main__":`).

    Raises:
        ValueError: a number that is out of range.
        RuntimeError: a process ends before it takes an item; several of them, if somebody kills them.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; allowed: 1 or more")
    if not timeout > 0:
        raise ValueError(f"timeout is {timeout} seconds; allowed: more than 0")
    if memory is not None and memory < 1:
        raise ValueError(f"memory is {memory} bytes; allowed: more than 0, or None")
    return _map_in_processes(function, enumerate(items), workers, timeout, memory)


def _map_in_processes(
    function: Callable[[Item], Result],
    items: Iterator[tuple[int, Item]],
    workers: int,
    timeout: float,
    memory: int | None,
) -> Generator[tuple[int, Result | LostItem]]:
    todo = deque(islice(items, workers))  # an item for each process that is started
    pool: dict[Connection, _Worker[Item, Result]] = {}
    num_lost_starts = 0  # one after the other

    def start() -> None:
        worker = _Worker(function, timeout, memory)
        pool[worker.connection] = worker

    try:
        for _ in range(len(todo)):
            start()
        while pool:
            soonest = min(worker.deadline for worker in pool.values())
            wait(list(pool), None if soonest == math.inf else max(soonest - time.monotonic(), 0.0))
            for worker in list(pool.values()):
                if worker.connection.poll():
                    result = worker.receive()
                elif time.monotonic() >= worker.deadline:
                    result = LostItem(f"took longer than {timeout:g} seconds", worker.pid)
                else:
                    continue
                index = worker.index
                if isinstance(result, LostItem):
                    worker.end()
                    del pool[worker.connection]
                    if index is None:  # the item that it was started for is in `todo`
                        num_lost_starts += 1
                        if not worker.was_killed or num_lost_starts > _MAX_LOST_STARTS:
                            raise RuntimeError(f"a process ended before it took an item: {result.reason}")
                    else:
                        todo.extend(islice(items, 1))
                    if todo:
                        start()
                else:
                    num_lost_starts = 0
                    if not todo:
                        todo.extend(islice(items, 1))
                    if todo:
                        worker.give(*todo.popleft())
                    else:
                        worker.end()
                        del pool[worker.connection]
                if index is not None:
                    yield index, result
    finally:
        for worker in pool.values():
            worker.end()


class _Worker(Generic[Item, Result]):
    """Process that works on one item at a time: `index`, or None before its first, until `deadline`."""

    def __init__(self, function: Callable[[Item], Result], timeout: float, memory: int | None):
        self.index: int | None = None
        self.deadline = math.inf
        self._timeout, self._memory = timeout, memory
        context: Any = fork_server.context("pool")
        self.connection, child_connection = context.Pipe()
        alarm_seconds = min(timeout + _ORPHAN_SECONDS, _LONGEST_ALARM_SECONDS)
        args = child_connection, function, alarm_seconds, memory
        self._process = context.Process(target=_serve, args=args, daemon=True)
        self._process.start()
        child_connection.close()  # a copy here would keep the pipe open after the death of the process
        self.pid: int = self._process.pid

    def give(self, index: int, item: Item) -> None:
        """Send an item to the process."""
        self.index, self.deadline = index, time.monotonic() + self._timeout
        with contextlib.suppress(OSError):  # it has died: `receive` will say so
            self.connection.send(item)

    def receive(self) -> Any:
        """Return the next message: None (the process is ready), a result, or `LostItem`."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            ending = _ending(self._process.exitcode)
            # SIGKILL comes from elsewhere: the limit makes allocations fail.
            limited = self._memory is not None and ending != signal.SIGKILL.name
            limit = f"; it may take {_megabytes(self._memory or 0)} of memory" if limited else ""
            return LostItem(f"the process that worked on it died ({ending}){limit}", self.pid, died=True)

    @property
    def was_killed(self) -> bool:
        """True for a process that has ended by SIGKILL, which comes from elsewhere: for lack of memory, say."""
        return bool(self._process.exitcode == -signal.SIGKILL)

    def end(self) -> None:
        """End the process by SIGTERM, and by SIGKILL if libav does not let it go."""
        self.connection.close()
        self._process.terminate()
        self._process.join(timeout=_TERM_SECONDS)
        self._process.kill()
        self._process.join()


def _serve(connection: Connection, function: Callable[[Any], Any], alarm_seconds: float, memory: int | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the one that started them ends them
    signal.signal(signal.SIGTERM, _exit)
    if memory is not None:
        _limit_memory(memory)
    connection.send(None)
    while True:
        try:
            item = connection.recv()
        except (EOFError, OSError):  # the other side is gone
            return
        # SIGALRM kills this process, also inside libav, if nobody is left to do it.
        signal.setitimer(signal.ITIMER_REAL, alarm_seconds)
        try:
            result = function(item)
        except MemoryError:
            if memory is None:
                raise
            result = LostItem(f"needs more than {_megabytes(memory)} of memory", os.getpid())
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        with contextlib.suppress(OSError):
            connection.send(result)


def _limit_memory(memory: int) -> None:
    """Limit the address space of this process to `memory` bytes more than it has."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = used + memory if hard == resource.RLIM_INFINITY else min(used + memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _megabytes(memory: int) -> str:
    return f"{memory / (1 << 20):.4g} MB"


def _exit(number: int, frame: FrameType | None) -> None:
    # An exception, unlike the signal itself, lets `finally` remove half-written files.
    raise SystemExit(128 + number)


def _ending(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return signal.Signals(-exit_code).name
    return f"exit status {exit_code}"

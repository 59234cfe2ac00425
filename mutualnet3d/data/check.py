"""Which videos of a list can be decoded, to their last frame.

A broken file can do more than raise an error: libav may crash or never return. So the work is done by processes that
get one video at a time; one that dies or takes too long is replaced, and costs its own video alone.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import multiprocessing
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any, Generic, TypeVar

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.annotations import Video, read_kinetics_list
from mutualnet3d.data.decode import VideoDecodeError, VideoFile
from mutualnet3d.data.make_lists import path_in_list, write_list, write_whole
from mutualnet3d.log import progress

OK, MISSING, BAD, SHORT = "ok", "missing", "bad", "short"
ANY_LABEL = 10**9  # more classes than any list has: labels are not what is checked

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Result:
    """What became of one video: its status (ok, missing, bad, short), why, and how many frames came out of it."""

    path: str
    status: str
    reason: str = ""
    num_frames: int = 0


@dataclass(frozen=True)
class Summary:
    """How many videos of a list are of which status."""

    ok: int
    missing: int
    bad: int
    short: int

    @property
    def all_ok(self) -> bool:
        return self.missing == self.bad == self.short == 0

    def __str__(self) -> str:
        total = self.ok + self.missing + self.bad + self.short
        return f"{total} videos: {self.ok} ok, {self.missing} missing, {self.bad} bad, {self.short} short"


def check_list(
    list_path: str,
    output: str,
    *,
    clean_list: str = "",
    path_prefix: str = "",
    separator: str = " ",
    label_file: str = "",
    min_frames: int = 1,
    workers: int = 1,
    timeout: float = 300.0,
) -> Summary:
    """Check every video of a list; write a report and, if asked, the list of the good ones. Both are whole or absent.

    Args:
        list_path, path_prefix, separator, label_file: as `read_kinetics_list`.
        output: the report, CSV: `path,status,reason` for each line of the list that is not ok, in the list's order.
        clean_list: where to write `path label` lines of the good videos, in the list's order; "" for not. Paths stay
            relative if they were: to `path_prefix` if there is one, else to the new list's folder.
        min_frames, workers, timeout: as `check_videos`.

    Raises:
        FileNotFoundError, ValueError: as `read_kinetics_list`; a number that is out of range; no good video to list.
    """
    videos = read_kinetics_list(
        list_path, num_classes=ANY_LABEL, path_prefix=path_prefix, separator=separator, label_file=label_file
    )
    paths = list(dict.fromkeys(video.path for video in videos))  # each once, however often it is listed
    results = {result.path: result for result in check_videos(paths, min_frames, workers, timeout)}

    report = io.StringIO()
    rows = csv.writer(report, lineterminator="\n")
    rows.writerow(["path", "status", "reason"])
    for result in (results[video.path] for video in videos):
        if result.status != OK:
            rows.writerow([result.path, result.status, result.reason])
    write_whole(output, report.getvalue())

    if clean_list:
        good = [video for video in videos if results[video.path].status == OK]
        if not good:
            raise ValueError(f"{clean_list} is not written: no video of {list_path} is ok; {output} says why")
        write_list(
            clean_list, [(_path_to_write(video, list_path, clean_list, path_prefix), video.label) for video in good]
        )
    count = Counter(results[video.path].status for video in videos)
    return Summary(ok=count[OK], missing=count[MISSING], bad=count[BAD], short=count[SHORT])


def _path_to_write(video: Video, list_path: str, clean_list: str, path_prefix: str) -> str:
    """A listed video's path as a list at `clean_list` has to say it."""
    base = path_prefix or os.path.dirname(list_path)
    relative = video.path.removeprefix(os.path.join(base, "")) if base else video.path
    if relative == video.path and (base or os.path.isabs(relative) or "://" in relative):
        return video.path  # it was not relative
    folders_differ = os.path.abspath(os.path.dirname(clean_list)) != os.path.abspath(os.path.dirname(list_path))
    if folders_differ and not path_prefix:
        return path_in_list(video.path, os.path.dirname(clean_list))
    return relative


def check_videos(
    paths: Sequence[str], min_frames: int = 1, workers: int = 1, timeout: float = 300.0
) -> Iterator[Result]:
    """The results of `paths`, in their order, as soon as they are known; shows how far it is.

    Args:
        paths: of the videos; any that iopath can open.
        min_frames: a video of fewer frames is short.
        workers: number of processes.
        timeout: seconds that one video may take; one that takes longer is bad.

    Raises:
        ValueError: a number that is out of range.
    """
    if min_frames < 1:
        raise ValueError(f"min_frames is {min_frames}; allowed: 1 or more")
    outcomes = run_apart(partial(check_video, min_frames=min_frames), paths, workers=workers, timeout=timeout)
    # They come as they are done; those that are early wait here for their turn.
    early: dict[int, Result] = {}
    turn = 0
    for index, outcome in progress(outcomes, total=len(paths), what="videos checked"):
        early[index] = Result(paths[index], BAD, outcome.reason) if isinstance(outcome, Lost) else outcome
        while turn in early:
            yield early.pop(turn)
            turn += 1


def check_video(path: str, min_frames: int = 1) -> Result:
    """Decode every frame of a video, in this process: a crash of the decoder is a crash of the caller's."""
    num_frames = 0
    try:
        if not g_pathmgr.isfile(path):
            return Result(path, MISSING, "there is no such file")
        with VideoFile(path) as video:
            for _ in video.frames(range(video.info.num_frames)):
                num_frames += 1
    except VideoDecodeError as error:
        return Result(path, BAD, str(error), num_frames)
    except Exception as error:  # noqa: BLE001 - whatever it is, training would meet it too
        return Result(path, BAD, f"{path}: cannot be decoded: {type(error).__name__}: {error}", num_frames)
    if num_frames < min_frames:
        return Result(path, SHORT, f"{num_frames} frames, fewer than {min_frames}", num_frames)
    return Result(path, OK, "", num_frames)


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

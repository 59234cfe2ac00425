"""Watch over a loader: clips that do not come, workers that are stopped, a data disk that is away."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from mutualnet3d.data.outage import DataAway, outages_reported_to
from mutualnet3d.log import logger

_LOOK_SECONDS = 0.25
_REPORT_SECONDS = 30.0  # a wait that long is told, and again after twice, four times ... as long
_STATES = {"T": "is stopped", "t": "is stopped by a debugger", "D": "waits for a disk", "S": "sleeps", "R": "computes"}
_waits: list[float] = []  # starts of this process's waits for clips


def seconds_waiting() -> float:
    """Return the seconds for which this process has been waiting for clips; 0 while it does not."""
    return time.monotonic() - min(_waits) if _waits else 0.0


class WorkerRecord(ctypes.Structure):
    """State of a worker, in memory that the worker and the process that started it share.

    Attributes:
        clips: number of clips that it has finished.
        video: position in the list of the video that it is at.
        is_busy: 1 while it loads a clip.
        away_since: time at which it began to wait for the data disk; 0: it does not.
    """

    _fields_ = (
        ("clips", ctypes.c_int64),
        ("video", ctypes.c_int64),
        ("is_busy", ctypes.c_int64),
        ("away_since", ctypes.c_double),
    )


class RecordedDataset(torch.utils.data.Dataset[Any]):
    """Data set that writes down its current clip.

    Args:
        dataset: data set that loads the clips.
        records: a record for each worker.
    """

    def __init__(self, dataset: Any, records: Sequence[WorkerRecord]):
        self.dataset, self.records = dataset, records

    def __getitem__(self, request: Any) -> Any:
        worker = torch.utils.data.get_worker_info()
        record = self.records[worker.id if worker else 0]
        record.video, record.is_busy = getattr(request, "index", -1), 1
        try:
            with outages_reported_to(partial(setattr, record, "away_since")):
                return self.dataset[request]
        finally:
            record.clips += 1
            record.is_busy = 0


class Watch:
    """Thread that looks at a loader's workers while this process waits for clips.

    Args:
        processes: the workers.
        records: a record for each of them, in their order.
        path_of: function of a video's position that returns its path.
        patience: seconds without a finished clip after which the workers are killed; None: never.
        kill: function that kills the workers.

    Attributes:
        error: reason for which the workers were killed; None: they were not.
    """

    def __init__(
        self,
        processes: Sequence[BaseProcess],
        records: Sequence[WorkerRecord],
        path_of: Callable[[int], str],
        patience: float | None,
        kill: Callable[[], None],
    ):
        self.processes, self.records, self.path_of = processes, records, path_of
        self.patience, self.kill = patience, kill
        self.error: RuntimeError | None = None
        self._since: float | None = None
        self._away_since = 0.0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch of the loader", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Context in which this process waits for clips."""
        started = time.monotonic()
        _waits.append(started)
        self._since = started
        try:
            yield
        finally:
            self._since = None
            _waits.remove(started)

    def _run(self) -> None:
        num_clips, last_clip, next_report = -1, time.monotonic(), _REPORT_SECONDS
        while not self._closed.wait(_LOOK_SECONDS):
            self._look_at_disk()
            since, now = self._since, time.monotonic()
            done = sum(record.clips for record in self.records)
            if since is None or done != num_clips:
                num_clips, last_clip = done, now
            if since is None:
                next_report = _REPORT_SECONDS
                continue
            waited = now - max(since, last_clip)
            if now - since >= next_report:
                logger.warning("waiting for clips since %.0f s: %s", now - since, self._accounts())
                next_report *= 2
            if self.processes and self.patience is not None and waited >= self.patience:
                self._give_up(waited)
                return

    def _look_at_disk(self) -> None:
        starts = [record.away_since for record in self.records if record.away_since]
        if starts and not self._away_since:
            self._away_since = min(starts)
            video = next((record.video for record in self.records if record.away_since), -1)
            when = time.strftime("%H:%M:%S", time.localtime(self._away_since))
            logger.warning("data disk away since %s (%s): waiting for it", when, self.path_of(video))
        elif not starts and self._away_since:
            logger.warning("no clip waits for the data disk any more, after %.0f s", time.time() - self._away_since)
            self._away_since = 0.0

    def _give_up(self, waited: float) -> None:
        states = [state_of(process.pid) for process in self.processes]
        text = f"no clip came for {waited:.0f} s: {self._accounts()}"
        # One that computes has met a video that libav does not come back from: another start would meet it again.
        is_computing = any(state == "R" and record.is_busy for state, record in zip(states, self.records, strict=True))
        self.error = RuntimeError(text) if is_computing else DataAway(text)
        self.kill()

    def _accounts(self) -> str:
        """Return a text with the state of each worker that is at a clip, or is stopped."""
        accounts = []
        for process, record in zip(self.processes, self.records, strict=False):
            state = state_of(process.pid)
            if record.is_busy or state in "TtD":
                at = f" at {self.path_of(record.video)}" if record.is_busy else ""
                accounts.append(f"worker pid {process.pid} {_STATES.get(state, 'has ended')} (state {state}){at}")
        return "; ".join(accounts) or "no worker is at a clip"


def state_of(pid: int | None) -> str:
    """Return the kernel's letter for the state of a process, as in ps; "X" if it has ended, "?" if nobody tells."""
    if not Path("/proc/self/stat").exists():
        return "?"
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"

"""What a run says: text for people, JSON lines for programs, a progress bar on a terminal."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

import simplejson
from tqdm import tqdm

logger = logging.getLogger("mutualnet3d")
_is_main = True  # of the processes of a job, the one that speaks

Item = TypeVar("Item")


class Records(Protocol):
    """Where records go."""

    def write(self, record: dict[str, Any]) -> None: ...


class _AboveTheBar(logging.Handler):
    """Writes lines to standard output without tearing a progress bar apart."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)
        sys.stdout.flush()


def setup_logging(output_dir: str, rank: int = 0) -> None:
    """Send the log to standard output and to `output_dir`/log.txt, appending; what is for debugging to the file alone.
    A second call moves the file. Of a job's processes those beside rank 0 say their warnings on standard error, and
    write nothing.
    """
    global _is_main
    _is_main = rank == 0
    if _is_main:
        os.makedirs(output_dir, exist_ok=True)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    if rank:
        others = logging.StreamHandler(sys.stderr)
        others.setLevel(logging.WARNING)
        others.setFormatter(logging.Formatter(f"[rank {rank}] %(message)s"))
        logger.addHandler(others)
        return
    formatter = logging.Formatter("[%(asctime)s] %(message)s", datefmt="%m-%d %H:%M:%S")
    terminal, file = _AboveTheBar(), logging.FileHandler(os.path.join(output_dir, "log.txt"), encoding="utf-8")
    terminal.setLevel(logging.INFO)
    for handler in (terminal, file):
        handler.setFormatter(formatter)
        logger.addHandler(handler)


class JsonLines:
    """Appends records to a file, one JSON object a line, each flushed. Of a job's processes rank 0 alone.

    Attributes:
        also: where else every record goes.
    """

    def __init__(self, path: str):
        self.path = path
        self.also: list[Records] = []

    def write(self, record: dict[str, Any]) -> None:
        if not _is_main:
            return
        # Opened anew for each record: few a second at most, and nothing is left open or unflushed by a killed run.
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(simplejson.dumps(record, ignore_nan=True) + "\n")
        for each in self.also:
            each.write(record)


def progress(items: Iterable[Item], total: int, what: str, period_seconds: float = 10.0) -> Iterator[Item]:
    """Pass `items` on, showing how far it is: a bar on a terminal, otherwise a line every `period_seconds`."""
    if not _is_main:
        yield from items
        return
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=what, leave=False)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= period_seconds and done < total:
            last = now
            logger.info("%s: %d of %d, %s left", what, done, total, duration((now - start) / done * (total - done)))


def duration(seconds: float) -> str:
    """Seconds as people read them: `45 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

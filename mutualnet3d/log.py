"""The log of a run: text for people, JSON lines for programs, a progress bar on a terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

import simplejson
from tqdm import tqdm

logger = logging.getLogger("mutualnet3d")
_is_main = True  # True in the one process of a job that writes the log

_RED, _YELLOW, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[0m"

# Bytes of a line of a log; a longer one is damaged, each such part of it.
_LONGEST_RECORD = 1 << 22

Item = TypeVar("Item")


def printable(text: str, keep: str = "") -> str:
    """Return text with escapes, as `repr` has them, in place of the characters that are not printed.

    A terminal obeys those in names of files and classes, and hides or turns others.

    Args:
        text: text with names.
        keep: characters that stay, such as the line feeds of a text of several lines.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else ascii(char)[1:-1] for char in text)


class PrintableFormatter(logging.Formatter):
    """Formatter whose lines a terminal can show: see `printable`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line or lines of a record, with escapes for what is not printed."""
        return printable(super().format(record), keep="\n\t")


class Records(Protocol):
    """Target of records."""

    def write(self, record: dict[str, Any]) -> None:
        """Write a record, a JSON object."""


class _TerminalHandler(logging.Handler):
    """Handler that writes lines to standard output, above a progress bar.

    Warnings are yellow and errors red on a terminal. The environment's NO_COLOR (any value but "") leaves colours out.
    """

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        colour = _RED if record.levelno >= logging.ERROR else _YELLOW if record.levelno >= logging.WARNING else ""
        if colour and sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
            line = f"{colour}{line}{_PLAIN}"
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


class _FileHandler(logging.FileHandler):
    """Handler that writes lines to a file, for which a line that cannot be written is an error.

    Logging would print a traceback for each line, and go on.
    """

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, self.baseFilename) from error
        super().handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of lines whose error was raised before
            super().close()


def setup_logging(output_dir: str, rank: int = 0) -> None:
    """Send the log to standard output and to `output_dir`/log.txt, appending; debug lines to the file alone.

    A second call moves the file. Other ranks than 0 print their warnings to standard error and write no file.

    Args:
        output_dir: folder of the run.
        rank: number of this process in its job.
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
        others.setFormatter(PrintableFormatter(f"[rank {rank}] %(message)s"))
        logger.addHandler(others)
        return
    _end_last_line(os.path.join(output_dir, "log.txt"), lambda line: True)
    formatter = PrintableFormatter("[%(asctime)s] %(message)s", datefmt="%m-%d %H:%M:%S")
    terminal, file = _TerminalHandler(), _FileHandler(os.path.join(output_dir, "log.txt"), encoding="utf-8")
    terminal.setLevel(logging.INFO)
    for handler in (terminal, file):
        handler.setFormatter(formatter)
        logger.addHandler(handler)


class JsonLines:
    """Writer that appends records to a file, one JSON object per line, each flushed; on rank 0 of a job alone.

    Args:
        path: path of the file.

    Attributes:
        sinks: further targets of every record.
    """

    def __init__(self, path: str):
        self.path = path
        self.sinks: list[Records] = []

    def write(self, record: dict[str, Any]) -> None:
        """Append a record; numbers that are not finite become null.

        Args:
            record: values by their names, which JSON can hold.

        Raises:
            OSError: it cannot be written; the file is named.
        """
        if not _is_main:
            return
        # Opened again for each record, a few per second at most: a killed run leaves nothing unflushed.
        try:
            _end_last_line(self.path, _is_record)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(simplejson.dumps(record, ignore_nan=True) + "\n")
        except OSError as error:  # a full disk does not name the file
            raise OSError(error.errno, error.strerror, self.path) from error
        for sink in self.sinks:
            sink.write(record)


def _end_last_line(path: str, is_whole: Callable[[bytes], bool]) -> None:
    """End the last line of a file that is about to be appended to, if a kill or a full disk has cut it off.

    The next line would be glued to it.

    Args:
        path: the file; nothing happens if there is none, or if it is a pipe or a device.
        is_whole: function of that line that returns True if it lacks its end alone; another line is removed.
    """
    if not os.path.isfile(path):
        return
    with open(path, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return
        start, tail = size, b""
        while start > 0 and b"\n" not in tail:
            length = min(_BLOCK, start)
            start -= length
            file.seek(start)
            tail = file.read(length) + tail
        line = tail[tail.rfind(b"\n") + 1 :]
        if is_whole(line):
            file.seek(size)
            file.write(b"\n")
        else:
            file.truncate(size - len(line))


_BLOCK = 2**16  # bytes read at once


def read_records(path: str) -> list[dict[str, Any]]:
    """Return the records of a file of `JsonLines`.

    Lines that a kill or a full disk has damaged are left out, with a warning; an unfinished last line may be one that
    is being written, and is left out without.

    Args:
        path: path of the file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no file.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path}: a log must be a file")  # reading a FIFO may never end
    records, num_damaged = [], 0
    with open(path, "rb") as file:
        while line := file.readline(_LONGEST_RECORD):
            record = _record(line)
            if record is not None:
                records.append(record)
            elif line.endswith(b"\n") or len(line) == _LONGEST_RECORD:
                num_damaged += 1
    if num_damaged:
        logger.warning("%s: %d of %d lines are damaged, and left out", path, num_damaged, len(records) + num_damaged)
    return records


def _is_record(line: bytes) -> bool:
    return _record(line) is not None


def _record(line: bytes) -> dict[str, Any] | None:
    """Return the record of a line; None for a line that is none."""
    try:
        record = simplejson.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def progress(items: Iterable[Item], total: int, what: str, period_seconds: float = 10.0) -> Iterator[Item]:
    """Yield `items` with a progress bar on a terminal, otherwise with a line every `period_seconds`.

    Args:
        items: items of the work, in order.
        total: number of items.
        what: name of the work, for the bar and the lines.
        period_seconds: seconds between two lines where there is no terminal.
    """
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
    """Return seconds as text for people: `45 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

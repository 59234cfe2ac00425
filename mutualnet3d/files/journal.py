"""Journal of a work on numbered items: a line of JSON for each that is done, which survives any kill.

A line is written at once when its item is done. A line that a kill or a full disk has cut off is dropped when the
journal is opened again, as is any other damaged line: its item is done anew. Nothing waits for the disk: what a power
cut takes is done anew too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from array import array
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import simplejson

_NUMBER = "number"  # key of an item's number in its line
_LONGEST_LINE = 1 << 22  # bytes; a longer one is damaged
_NEWLINE = b"\n"


class JournalInUse(ValueError):
    """Error for a journal that another process writes."""


class Journal:
    """Context that holds the journal for this process, and reads what it has.

    Args:
        path: the file; it is made if it is not there.
        num_items: number of items, which are numbered from 0.

    Attributes:
        num_done: number of items that are done.

    Raises:
        JournalInUse: another process holds it.
    """

    def __init__(self, path: str, num_items: int):
        self.path, self.num_items = path, num_items
        self.num_done = 0
        self._place_of = array("q", [-1]) * num_items  # of each item's line in the file
        self._end = 0
        self._descriptor = -1

    def __enter__(self) -> Journal:
        self._descriptor = _open_locked(self.path)
        self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def has(self, number: int) -> bool:
        """Return True if an item is done."""
        return self._place_of[number] >= 0

    def add(self, number: int, record: Mapping[str, Any]) -> None:
        """Write down that an item is done.

        Args:
            number: number of the item, which is not done yet.
            record: its result, plain values; numbers that are not finite become null.

        Raises:
            OSError: the line cannot be written; no part of it is left.
        """
        assert not self.has(number), f"item {number} is done already"
        line = simplejson.dumps({_NUMBER: number, **record}, ignore_nan=True).encode("ascii") + _NEWLINE
        try:
            written = 0
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._end)
            raise OSError(
                error.errno,
                f"{error.strerror}; it has the {self.num_done} of {self.num_items} results before, and the same "
                "command goes on from there",
                self.path,
            ) from error
        self._note(number, len(line))

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the results of all items in the order of their numbers.

        Raises:
            ValueError: an item is not done.
        """
        with open(self.path, "rb") as file:
            for number, place in enumerate(self._place_of):
                if place < 0:
                    raise ValueError(f"{self.path}: item {number} of {self.num_items} is not done")
                file.seek(place)
                record = simplejson.loads(file.readline())
                del record[_NUMBER]
                yield record

    def clear(self) -> None:
        """Drop all results."""
        os.ftruncate(self._descriptor, 0)
        self._place_of = array("q", [-1]) * self.num_items
        self.num_done = self._end = 0

    def remove(self) -> None:
        """Remove the file, which is this process's until it leaves the context."""
        os.remove(self.path)

    def _read(self) -> None:
        size = os.fstat(self._descriptor).st_size
        with open(self.path, "rb") as file:
            while line := file.readline(_LONGEST_LINE):
                number = _number_of(line)
                if number is not None and number < self.num_items and not self.has(number):
                    self._note(number, len(line))
                elif line.endswith(_NEWLINE):
                    self._end += len(line)
                else:
                    break
        if self._end < size:
            os.ftruncate(self._descriptor, self._end)

    def _note(self, number: int, length: int) -> None:
        """Note the line of an item that ends the file so far."""
        self._place_of[number] = self._end
        self._end += length
        self.num_done += 1


def _open_locked(path: str) -> int:
    """Return the descriptor of a file that this process has locked. The kernel drops the lock at the process's end.

    Raises:
        JournalInUse: another process has locked it.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise JournalInUse(f"{path} is being written by another run; wait for its end") from None
        except OSError:  # a disk without locks
            return descriptor
        # The run that held it may have removed it before it let it go.
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)


def _number_of(line: bytes) -> int | None:
    """Return the number of the item that a line is about; None for a damaged line."""
    if not line.endswith(_NEWLINE):
        return None
    try:
        record = simplejson.loads(line.decode("ascii"))
        number = record[_NUMBER]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return number if isinstance(number, int) and not isinstance(number, bool) and number >= 0 else None

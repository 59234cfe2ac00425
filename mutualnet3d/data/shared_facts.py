"""Facts about the files of a list that only decoding tells, in memory that all loader workers share.

A worker meets another part of the list in each epoch, so that all workers need the facts that one has met.
"""

from __future__ import annotations

from multiprocessing import context
from multiprocessing.heap import BufferWrapper
from typing import Any

import numpy as np
from iopath.common.file_io import g_pathmgr

from mutualnet3d.video import file_facts
from mutualnet3d.video.file_facts import NOTHING_KNOWN, FileFacts, FileState

_COLUMNS = 2  # the facts, as a number; the file's state, as a number
_UNKNOWN_COUNT = 0
_MASK = (1 << 63) - 1


class SharedFacts:
    """Facts about the files of a list, by their place in it.

    Args:
        num_videos: length of the list.
    """

    def __init__(self, num_videos: int):
        self._rows = np.zeros((num_videos, _COLUMNS), np.int64)
        self._shared: BufferWrapper | None = None

    def recall(self, index: int, path: str) -> None:
        """Take over the facts that any process has about the file `path`, the list's `index`th."""
        number, state_number = self._rows[index].tolist()
        if not number:
            return
        state = _state_of(path)
        if _number_of(state) == state_number and file_facts.facts_of(state) == NOTHING_KNOWN:
            file_facts.remember(state, FileFacts(from_start=True, num_frames=(number >> 1) or None))

    def note(self, index: int, path: str) -> None:
        """Pass on the facts that this process has about the file `path`, the list's `index`th."""
        state = _state_of(path)
        facts = file_facts.facts_of(state)
        if facts.from_start:
            self._rows[index] = (facts.num_frames or _UNKNOWN_COUNT) << 1 | 1, _number_of(state)

    def __reduce__(self) -> tuple[Any, ...]:
        if context.get_spawning_popen() is None:
            return _with_rows, (self._rows, None)
        if self._shared is None:
            self._shared = BufferWrapper(max(self._rows.nbytes, 1))
            rows, self._rows = self._rows, _rows_in(self._shared, len(self._rows))
            self._rows[:] = rows
        return _mapped, (self._shared, len(self._rows))


def _state_of(path: str) -> FileState:
    return FileState.of(g_pathmgr.get_local_path(path))


def _number_of(state: FileState) -> int:
    return hash((state.num_bytes, state.changed_ns)) & _MASK


def _rows_in(shared: BufferWrapper, num_videos: int) -> np.ndarray:
    num_numbers = num_videos * _COLUMNS
    return np.frombuffer(shared.create_memoryview(), np.int64, num_numbers).reshape(num_videos, _COLUMNS)


def _with_rows(rows: np.ndarray, shared: BufferWrapper | None) -> SharedFacts:
    facts = SharedFacts(0)
    facts._rows, facts._shared = rows, shared
    return facts


def _mapped(shared: BufferWrapper, num_videos: int) -> SharedFacts:
    return _with_rows(_rows_in(shared, num_videos), shared)

"""Facts about files that only decoding tells, remembered by the process that found them."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass

# Files of which a process remembers something, at most: some 300 bytes each.
MAX_FILES = 1 << 16


@dataclass(frozen=True)
class FileFacts:
    """Facts about a video file that differ from what its headers and packets say.

    Args:
        from_start: True if frames are only right when the file is decoded from its start, and counted.
        num_frames: number of frames that come out then; None: not known.
    """

    from_start: bool = False
    num_frames: int | None = None


@dataclass(frozen=True)
class FileState:
    """State of a file, by which a changed one is told from the one that was read.

    Args:
        path: path on this machine.
        num_bytes: its size.
        changed_ns: time of its last change, nanoseconds.
    """

    path: str
    num_bytes: int
    changed_ns: int

    @classmethod
    def of(cls, path: str) -> FileState:
        """Return the state of the file at `path`, on this machine."""
        status = os.stat(path)
        return cls(os.path.abspath(path), status.st_size, status.st_mtime_ns)


NOTHING_KNOWN = FileFacts()
_facts: OrderedDict[FileState, FileFacts] = OrderedDict()
_num_remembered = 0


def facts_of(state: FileState) -> FileFacts:
    """Return the facts that this process has about a file."""
    return _facts.get(state, NOTHING_KNOWN)


def num_remembered() -> int:
    """Return the number of facts that were remembered so far."""
    return _num_remembered


def remember(state: FileState, facts: FileFacts) -> None:
    """Remember facts about a file; those of the file that was first told of are forgotten where there are too many."""
    global _num_remembered
    _num_remembered += 1
    _facts[state] = facts
    while len(_facts) > MAX_FILES:
        _facts.popitem(last=False)

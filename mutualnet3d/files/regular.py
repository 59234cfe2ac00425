"""Files from other people: nothing but a file is opened, and no more of it is read than its kind can have."""

from __future__ import annotations

import os
import stat

from iopath.common.file_io import g_pathmgr

_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def kind_of(mode: int) -> str | None:
    """Return the kind of an entry of a folder in words, by its mode of `os.stat`; None: a regular file."""
    return next((text for is_kind, text in _KINDS if is_kind(mode)), None)


def read_bounded(path: str, kind: str, max_bytes: int) -> bytes:
    """Return the content of `path`.

    Args:
        path: the file; it may be reached through links.
        kind: name for errors, "a query table" for instance.
        max_bytes: largest size of a file of that kind.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is larger, or no file, but a FIFO for instance, which is not opened: it may never end.
    """
    if not g_pathmgr.isfile(path):
        if os.path.exists(path):
            raise ValueError(f"{path}: {kind} must be a file; this is {kind_of(os.stat(path).st_mode)}")
        raise FileNotFoundError(f"no {kind.removeprefix('a ')} at {path}")
    with g_pathmgr.open(path, "rb") as file:
        content: bytes = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"{path}: {kind} has at most {max_bytes >> 20} MB; this file is larger")
    return content

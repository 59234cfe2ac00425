"""Regular files, told from folders, FIFOs and devices, which may never end, and read up to a bound."""

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


def check_regular(path: str, kind: str) -> None:
    """Refuse a local path that is there and no file, or a link in a circle.

    Args:
        path: path of a file; one that does not exist passes.
        kind: name for the error, "a checkpoint" for instance.

    Raises:
        ValueError: a folder, a FIFO, a device, a socket, or a link that cannot be followed; it names path and kind.
    """
    try:
        entry = kind_of(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        if not os.path.islink(path):
            return
        entry = "a link to nothing"
    except (OSError, ValueError) as error:  # a circle of links, a name that is too long or has a NUL byte
        raise ValueError(f"{path!r}: cannot be read as {kind}: {getattr(error, 'strerror', None) or error}") from error
    if entry is not None:
        raise ValueError(f"{path}: {kind} must be a file; this is {entry}")


def local_file(path: str, kind: str) -> str:
    """Return the path of a file's content on this machine.

    Args:
        path: the file; any path that iopath can open.
        kind: name for errors, "a checkpoint" for instance.

    Raises:
        FileNotFoundError: there is none.
        ValueError: an error of `check_regular`.
    """
    check_regular(path, kind)
    if not g_pathmgr.isfile(path):
        raise FileNotFoundError(f"no file at {path}, which should be {kind}")
    local: str = g_pathmgr.get_local_path(path)
    return local


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
    check_regular(path, kind)
    if not g_pathmgr.isfile(path):
        raise FileNotFoundError(f"no {kind.removeprefix('a ')} at {path}")
    with g_pathmgr.open(path, "rb") as file:
        content: bytes = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"{path}: {kind} has at most {max_bytes >> 20} MB; this file is larger")
    return content

"""Files below a folder, opened so that no name leads out of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager


class NoFileError(ValueError):
    """Error about a name that is not of a regular file below the folder."""


@contextmanager
def file_below(root: str, name: str) -> Iterator[int]:
    """Yield the descriptor of a regular file below a folder, for `path_of_open_file`.

    The descriptor itself cannot be read. Each part of the name is opened in the folder before it and must not be a
    link, so that a part that is replaced meanwhile does not lead out either. FIFOs and devices are not opened, only
    looked at.

    Args:
        root: path of the folder.
        name: relative name, parts separated by slashes.

    Yields:
        The descriptor.

    Raises:
        NoFileError: the name has an empty part, `.`, `..` or a NUL, is of no file, or leads through a link. The message
            does not say which, since that would tell of files outside.
        FileNotFoundError: there is no folder `root`.
    """
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *folders, last = name.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in (*folders, last)):
            raise NoFileError(_text(name))
        try:
            for part in folders:
                inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
                os.close(folder)
                folder = inner
            fd = os.open(last, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except (OSError, UnicodeEncodeError) as error:
            raise NoFileError(_text(name)) from error
    finally:
        os.close(folder)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise NoFileError(_text(name))
        yield fd
    finally:
        os.close(fd)


def _text(name: str) -> str:
    return f"no video {name!r:.200} below the server's folder; links, '..' and folders are not followed"

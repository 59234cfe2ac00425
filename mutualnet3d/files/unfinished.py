"""Temporary files and folders of writers: their names, and those of killed writers told from those of running ones."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from mutualnet3d.files.folder_lock import is_running

TEMPORARY_SUFFIX = ".tmp"
LOCK_NAME = ".writer"  # in a temporary folder: network disks lock files alone


def temporary_path(path: str, pid: int | None = None) -> str:
    """Return the name that `path` has while process `pid` (default: this one) writes it."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.{os.getpid() if pid is None else pid}{TEMPORARY_SUFFIX}")


@contextmanager
def held(path: str) -> Iterator[None]:
    """Context in which the file `path`, which is made if it is not there, is locked by this process.

    The kernel drops the lock at the process's end, by SIGKILL too, and other machines see it on disks that they share.
    On a disk without locks the context does nothing, and such a disk's abandoned files stay.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def remove_abandoned(folder: str, name: str | None = None) -> None:
    """Remove the temporary files of killed writers from a folder: their processes are gone, and nobody has a lock.

    The process of another machine's writer cannot be seen here, but its lock can.

    Args:
        folder: the folder; it need not be there.
        name: name of the output; None: all outputs.
    """
    anything = ".+" if name is None else re.escape(name)
    pattern = re.compile(rf"\.{anything}\.(\d+)(\.[a-z0-9_]+)?{re.escape(TEMPORARY_SUFFIX)}", re.DOTALL)
    with contextlib.suppress(FileNotFoundError), os.scandir(folder or ".") as entries:
        for entry in entries:
            match = pattern.fullmatch(entry.name)
            if match and not is_running(int(match[1])):
                with contextlib.suppress(OSError):  # held by another machine, or removed by another writer
                    _remove_if_free(entry.path, is_folder=entry.is_dir(follow_symlinks=False))


def _remove_if_free(path: str, is_folder: bool) -> None:
    """Remove a file or a folder.

    Raises:
        OSError: a process has locked it, or it has gone.
    """
    lock = os.path.join(path, LOCK_NAME) if is_folder else path
    descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_folder:
            shutil.rmtree(path)
        else:
            os.remove(path)
    finally:
        os.close(descriptor)

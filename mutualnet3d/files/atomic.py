"""Files and folders that are whole or absent: written beside their place, synced, then renamed.

A kill at any moment leaves the old content or the new one, never half of one. (Local disks only: remote stores have no
rename that promises this.)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

TEMPORARY_SUFFIX = ".tmp"


def temporary_path(path: str, pid: int | None = None) -> str:
    """Return the name that `path` has while process `pid` (default: this one) writes it."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.{os.getpid() if pid is None else pid}{TEMPORARY_SUFFIX}")


@contextmanager
def atomic_file(path: str, sync: bool = True) -> Iterator[str]:
    """Yield a temporary path beside `path`; sync that file and rename it to `path` if the block ends well.

    The folder is made if it is not there. If the block raises, the temporary file is removed and `path` stays as it
    was.

    Args:
        path: final place of the file.
        sync: True to wait for the disk; False for many small files that can be made again.
    """
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        if sync:
            sync_to_disk(temporary)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
    if sync:
        sync_to_disk(os.path.dirname(path) or ".")  # the rename itself must survive a power cut


@contextmanager
def atomic_folder(path: str) -> Iterator[str]:
    """Yield a temporary folder beside `path`; sync its files and rename it to `path` if the block ends well.

    Raises:
        FileExistsError: something is at `path`.
    """
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already; a new folder is needed")
    parent, name = os.path.split(os.path.abspath(path))
    os.makedirs(parent, exist_ok=True)
    # A free name, whatever a killed process left. The folder inside has ordinary permissions, mkdtemp's has not.
    hidden = tempfile.mkdtemp(prefix=f".{name}.", suffix=TEMPORARY_SUFFIX, dir=parent)
    temporary = os.path.join(hidden, name)
    try:
        os.mkdir(temporary)
        yield temporary
        for folder, _, names in os.walk(temporary, topdown=False):
            for file in names:
                sync_to_disk(os.path.join(folder, file))
            sync_to_disk(folder)
        os.replace(temporary, path)
        sync_to_disk(parent)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def write_atomically(path: str, write: Callable[[IO[bytes]], Any]) -> None:
    """Let `write` fill a binary file that becomes `path` when it is whole: see `atomic_file`."""
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        write(file)


def write_text(path: str, text: str) -> None:
    """Write `text` in UTF-8 to `path`, atomically."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def link_atomically(path: str, link: str) -> None:
    """Give the file `path` the second name `link`, in the place of whatever had it; a copy where the disk knows no
    links."""
    with atomic_file(link) as temporary:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)


def sync_to_disk(path: str) -> None:
    """Wait until the file or folder `path` is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Files and folders that are whole or absent: written beside their place, synced, then renamed.

A kill at any moment leaves the old content or the new one, never half of one. (Local disks only: remote stores have no
rename that promises this.)
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from mutualnet3d.files.unfinished import LOCK_NAME, held, remove_abandoned
from mutualnet3d.files.unfinished import TEMPORARY_SUFFIX as TEMPORARY_SUFFIX
from mutualnet3d.files.unfinished import temporary_path as temporary_path

_TEMPORARY_NAME = re.compile(r"\..+\.(\d+)\.tmp", re.DOTALL)  # of `temporary_path`
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
# A disk with less takes no block: whatever a library made of that, this is its cause.
_FULL_BYTES = 64 << 10


class WriteError(OSError):
    """Error for a disk that takes no more: the message names the file, the reason, the free bytes and the rest.

    Args:
        path: file or folder that was to be written.
        reason: text of the cause.
        number: errno of the cause.
    """

    def __init__(self, path: str, reason: str, number: int = errno.ENOSPC):
        super().__init__(
            f"{path} cannot be written: {reason} ({_free(path)}); "
            f"{'the one before is whole' if os.path.lexists(path) else 'no part of it is left'}"
        )
        self.errno = number


@contextmanager
def atomic_file(path: str, sync: bool = True) -> Iterator[str]:
    """Yield a temporary path beside `path`; sync that file and rename it to `path` if the block ends well.

    The folder is made if it is not there. If the block raises, the temporary file is removed and `path` stays as it
    was. With `sync`, files that killed writers of `path` left are removed.

    Args:
        path: final place of the file.
        sync: True to wait for the disk; False for many small files that can be made again.

    Raises:
        WriteError: the disk is full.
    """
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    if sync:  # not for each of many files: the whole folder is looked through
        remove_abandoned(*os.path.split(path))
    temporary = temporary_path(path)
    try:
        with disk_errors_named(path), held(temporary):
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

    Folders that killed writers of `path` left are removed.

    Args:
        path: path of the folder to make.

    Raises:
        FileExistsError: something is at `path`.
        WriteError: the disk is full.
    """
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already; a new folder is needed")
    parent, name = os.path.split(os.path.abspath(path))
    os.makedirs(parent, exist_ok=True)
    remove_abandoned(parent, name)
    # A free name, whatever a killed process left. The folder inside has ordinary permissions, mkdtemp's has not.
    hidden = tempfile.mkdtemp(prefix=f".{name}.{os.getpid()}.", suffix=TEMPORARY_SUFFIX, dir=parent)
    temporary = os.path.join(hidden, name)
    try:
        with disk_errors_named(path), held(os.path.join(hidden, LOCK_NAME)):
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


@contextmanager
def disk_errors_named(path: str) -> Iterator[None]:
    """Context in which an error becomes a `WriteError` for `path` if a full disk is its cause.

    Libraries make other errors of it, which are recognized too.
    """
    try:
        yield
    except WriteError:  # of a file in a folder
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number in _DISK_ERRORS:
            raise WriteError(path, os.strerror(number), number) from error
        if _is_full(path):
            raise WriteError(path, os.strerror(errno.ENOSPC)) from error
        raise


def write_atomically(path: str, write: Callable[[IO[bytes]], Any]) -> None:
    """Let `write` fill a binary file that becomes `path` when it is whole: see `atomic_file`."""
    with atomic_file(path) as temporary:
        raw = _RawFile(temporary, "w")
        try:
            with io.BufferedWriter(raw) as file:
                write(file)
        except Exception as error:
            # torch's writer turns the system's error into one of its own, without a reason.
            if raw.error is not None and raw.error is not error:
                raise raw.error from error
            raise


class _RawFile(io.FileIO):
    """File that remembers the error of a write.

    Attributes:
        error: first error; None without one.
    """

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.error = self.error or error
            raise


def write_text(path: str, text: str) -> None:
    """Write `text` in UTF-8 to `path`, atomically."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def link_atomically(path: str, link: str) -> None:
    """Give the file `path` the second name `link`, in the place of whatever had it.

    Where the disk knows no links it is a copy.
    """
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


def remove_unfinished(folder: str, is_running: Callable[[int], bool]) -> list[str]:
    """Remove the temporary files that killed processes of this machine left in `folder`; return their names.

    Args:
        folder: folder that no process of another machine writes into.
        is_running: function that returns True for the number of a process that runs.
    """
    removed = []
    for name in sorted(os.listdir(folder)):
        match = _TEMPORARY_NAME.fullmatch(name)
        if match and not is_running(int(match[1])):
            with contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                os.remove(os.path.join(folder, name))
                removed.append(name)
    return removed


def _nearest_folder(path: str) -> str:
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def _is_full(path: str) -> bool:
    return shutil.disk_usage(_nearest_folder(path)).free < _FULL_BYTES


def _free(path: str) -> str:
    folder = _nearest_folder(path)
    state = os.statvfs(folder)
    files = "" if state.f_favail or not state.f_files else ", no file more"
    return f"{state.f_bavail * state.f_frsize} bytes are free{files} on the disk of {folder}"

"""Outages of a data disk, which make many videos unreadable at once and pass: they are waited for."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import TypeVar

from mutualnet3d.data.lists import Video

Clip = TypeVar("Clip")

# Errors of a disk or its server, whatever is on it.
DISK_ERRORS = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENODEV,
        errno.ENXIO,
    }
)
# Errors of a file that is not there or is another's: an outage only if many videos are not there either.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM})
_STARVED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_SAMPLE = 64  # videos that are looked at to tell a missing file from a missing disk
_SMALL_SAMPLE = 16  # the same where it is done after each video that fails
_SHARE = 0.1  # of them that cannot be read: the disk is away
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 4.0  # seconds between two tries

_report: ContextVar[Callable[[float], None]] = ContextVar("report", default=lambda since: None)


class DataAway(RuntimeError):
    """Error for videos that cannot be read now: a disk is away, or does not answer. Another start may find them."""


@contextlib.contextmanager
def outages_reported_to(report: Callable[[float], None]) -> Iterator[None]:
    """Context in which `report` is called with the time at which an outage begins, and with 0 at its end."""
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


class DataDisk:
    """Disk that has the videos of a list; all of them were there when the run started.

    Args:
        videos: the list.
        timeout: seconds for which an outage is waited for; 0: not at all.
    """

    def __init__(self, videos: Sequence[Video], timeout: float):
        self.videos, self.timeout = videos, timeout
        self._is_given_up = False

    def read(self, index: int, load: Callable[[], Clip], errors: type[Exception]) -> Clip:
        """Return the result of `load`, which reads a video; again, as long as it fails for an outage.

        Args:
            index: position of the video.
            load: function that reads it.
            errors: errors of `load` that say that the video is bad; they carry the system's error as their cause.

        Raises:
            DataAway: the outage lasts longer than `timeout`.
            OSError: this process lacks memory or file descriptors, which is no fault of the video.
        """
        started, pause, was_readable = time.time(), _FIRST_PAUSE, False
        try:
            while True:
                try:
                    return load()
                except errors as error:
                    code = errno_of(error)
                    if code in _STARVED:
                        raise OSError(code, _starved(error)) from error
                    # libav too calls a damaged file an I/O error: a file that can be read to its end is one.
                    is_readable = code in DISK_ERRORS and can_read(self.videos[index], to_its_end=True)
                    if (is_readable and was_readable) or not self.is_away(index, code):
                        raise
                    was_readable = is_readable
                    if self._is_given_up or time.time() - started >= self.timeout:
                        # One file that cannot be read, on a disk that can: a bad block.
                        if code in DISK_ERRORS and self._share_away() < _SHARE:
                            raise
                        self._is_given_up = True
                        raise DataAway(f"data disk away for {time.time() - started:.0f} s: {error}") from error
                _report.get()(started)
                time.sleep(min(pause, max(started + self.timeout - time.time(), 0.0)))
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            _report.get()(0.0)

    def is_away(self, index: int, code: int | None) -> bool:
        """Tell whether a video that cannot be read is missing for an outage of its disk.

        Args:
            index: position of the video.
            code: number of the system's error; None: it was none.
        """
        path = file_of(self.videos[index])
        if "://" in path or not self.timeout:
            return False
        if code in DISK_ERRORS:
            return True
        if code not in _ABSENT:
            return False
        if _has_files(os.path.dirname(path)):
            return False  # it alone is missing
        return self._share_away() >= _SHARE

    def _share_away(self) -> float:
        """Return the fraction of the videos that cannot be read now, by a sample over the whole list."""
        step = max(len(self.videos) // _SAMPLE, 1)
        sample = range(0, len(self.videos), step)
        return sum(not can_read(self.videos[index]) for index in sample) / len(sample)


class OutageCheck:
    """Check of videos that are read once, whether or not all of them were there at first: nothing is waited for.

    Args:
        paths: paths of the videos.
    """

    def __init__(self, paths: Sequence[str]):
        sample = paths[:: max(len(paths) // _SMALL_SAMPLE, 1)]
        self._present = [path for path in sample if "://" not in path and _error_of(path) is None]

    def refuse(self, reason: str) -> None:
        """Raise an error if the disk is away, after a video could not be read.

        Args:
            reason: text about that video.

        Raises:
            DataAway: videos that could be read at first cannot be now, nor is anything else in their folders.
        """
        num_away = sum(map(_is_gone, self._present))
        if num_away and num_away >= _SHARE * len(self._present):
            raise DataAway(f"data disk away, no video is called bad for it: {reason}")


def errno_of(error: BaseException | None) -> int | None:
    """Return the number of the system's error that led to `error`; None if there is none."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def file_of(video: Video) -> str:
    """Return the file or folder whose existence is the video's."""
    return os.path.join(video.path, video.pictures.partition("\n")[0]) if video.pictures else video.path


def can_read(video: Video, to_its_end: bool = False) -> bool:
    """Tell whether a video's file can be read, or its folder listed.

    Args:
        video: the video.
        to_its_end: True to read the whole file; False: its first byte.
    """
    return _error_of(file_of(video), to_its_end) is None


def _error_of(path: str, to_its_end: bool = False) -> OSError | None:
    """Return the error of reading a file, or of listing a folder; None: there is none."""
    try:
        if os.path.isdir(path):
            os.listdir(path)
            return None
        with open(path, "rb", buffering=0) as file:
            while file.read(1 << 20 if to_its_end else 1) and to_its_end:
                pass
    except OSError as error:
        return error
    return None


def _is_gone(path: str) -> bool:
    """Tell whether a file cannot be read for its disk: the disk says so, or all of its folder is gone."""
    error = _error_of(path)
    return error is not None and (error.errno in DISK_ERRORS or not _has_files(os.path.dirname(path)))


def _has_files(folder: str) -> bool:
    try:
        with os.scandir(folder or ".") as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def _starved(error: Exception) -> str:
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return f"{error}; this process may have {descriptors} open files (ulimit -n) and no more memory than there is"

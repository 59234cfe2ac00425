"""Bad videos of a run: each is counted, and written down once with its reason; too many end the run."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mutualnet3d.data.dataset import Failure
from mutualnet3d.data.lists import Video
from mutualnet3d.files.regular import check_regular
from mutualnet3d.log import logger

_MOST_MISSING = 100_000  # lines about missing videos of a list
_MOST_OF_REFUSED = 1_000  # the same, if so many are missing that the run ends
_COLUMNS = ("split", "path", "reason", "listed_at", "position")


class TooManyBadVideos(RuntimeError):
    """Error for more missing or bad videos of a list than the run allows."""


@dataclass(frozen=True)
class BadVideo:
    """Line of the file.

    Args:
        split: name of the list that has the video: train, val or test.
        path: path of the video.
        reason: "missing", or the decoder's message.
        listed_at: file and line of the list.
        position: in training, the position in the stream of clips at which the video was met; else "".
    """

    split: str
    path: str
    reason: str
    listed_at: str
    position: str = ""


class BadVideoFile:
    """CSV file, `split,path,reason,listed_at,position`, with a line for every bad video, also of earlier runs.

    A line is written at once and whole; one that a killed process left unfinished is dropped.

    Args:
        path: local path of the file.
        is_writer: True in the one process of a job that writes; the others keep in memory what they add.
    """

    def __init__(self, path: str, is_writer: bool = True):
        self.path, self.is_writer = path, is_writer
        self._entries = {(entry.split, entry.path): entry for entry in self._read()}

    def entries(self, split: str) -> list[BadVideo]:
        """Return the entries of a split."""
        return [entry for entry in self._entries.values() if entry.split == split]

    def add(self, entry: BadVideo) -> None:
        """Write an entry, unless the file has one of the same video."""
        self.add_all([entry])

    def add_all(self, entries: Iterable[BadVideo]) -> None:
        """Write entries at once, without those that the file has."""
        new = {}
        for entry in entries:
            if (entry.split, entry.path) not in self._entries:
                new[entry.split, entry.path] = entry
        self._entries.update(new)
        if not self.is_writer or not new:
            return
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        if not os.path.exists(self.path):
            rows.writerow(_COLUMNS)
        for entry in new.values():
            rows.writerow([getattr(entry, column).replace("\n", " ") for column in _COLUMNS])
        with open(self.path, "ab", buffering=0) as file:
            file.write(text.getvalue().encode("utf-8", errors="backslashreplace"))

    def _read(self) -> list[BadVideo]:
        if not os.path.exists(self.path):
            return []
        check_regular(self.path, "a list of bad videos")
        with open(self.path, "rb+" if self.is_writer else "rb") as file:
            content = file.read()
            content = content[: content.rfind(b"\n") + 1]
            if self.is_writer:
                file.truncate(len(content))
        rows = list(csv.reader(io.StringIO(content.decode("utf-8"), newline="")))
        if rows and tuple(rows[0]) != _COLUMNS:
            raise ValueError(f"{self.path}:1: expected the header {','.join(_COLUMNS)}, got {','.join(rows[0])!r:.200}")
        return [BadVideo(*row) for row in rows[1:] if len(row) == len(_COLUMNS)]


class BadVideos:
    """Bad videos of one split's list.

    Args:
        split: name of the list: train, val or test.
        videos: the videos that exist; the index of a request is a position in it.
        missing: the listed videos that do not.
        file: file of all bad videos.
        max_fraction: largest allowed fraction of all listed videos that are missing or bad; None: any.
        num_left: number of listed videos that were not looked for, since too many were missing before them.

    Attributes:
        damaged: numbers of the videos of which a clip was used although the decoder concealed errors in it.

    Raises:
        TooManyBadVideos: too many are missing, or none exists.
    """

    def __init__(
        self,
        split: str,
        videos: Sequence[Video],
        missing: Sequence[Video],
        file: BadVideoFile,
        max_fraction: float | None = None,
        num_left: int = 0,
    ):
        self.split, self.videos, self.num_missing, self._num_left = split, videos, len(missing), num_left
        self._file, self._max_fraction = file, max_fraction
        self._bad: dict[str, str] = {}
        self._merged: set[str] = set()  # paths that all processes of a job have
        self.damaged: set[int] = set()
        is_refused = self._is_refused() or not videos
        most = _MOST_OF_REFUSED if is_refused else _MOST_MISSING
        self._written = "all" if len(missing) <= most else f"the first {most}"
        file.add_all(BadVideo(split, video.path, "missing", video.listed_at) for video in missing[:most])
        if len(missing) > most:
            logger.warning("%s: %s has the first %d of %d missing videos", split, file.path, most, len(missing))
        others = "".join(f", then {video.path}" for video in missing[1:3]) if is_refused else ""
        self._check(
            f"the first that is missing is {missing[0].path}, listed at {missing[0].listed_at}{others}"
            if missing
            else ""
        )

    @property
    def num_listed(self) -> int:
        """Number of the list's lines, with those whose videos are not there."""
        return len(self.videos) + self.num_missing + self._num_left

    @property
    def num_bad(self) -> int:
        """Number of videos so far that exist but could not be decoded."""
        return len(self._bad)

    @property
    def num_damaged(self) -> int:
        """Number of videos so far of which a clip was used although the decoder concealed errors in it."""
        return len(self.damaged)

    def report_damaged(self, index: int) -> None:
        """Count, and log, a video of which a clip is used although the decoder concealed errors in it."""
        if index not in self.damaged:
            self.damaged.add(index)
            logger.info("damaged video (%s, number %d): %s", self.split, self.num_damaged, self.videos[index].path)

    def mark_bad(self, indices: Iterable[int]) -> None:
        """Count videos that the run found bad before it went on from a checkpoint."""
        reasons = {entry.path: entry.reason for entry in self._file.entries(self.split)}
        for index in indices:
            path = self.videos[index].path
            self._bad[path] = reasons.get(path, "found bad before the run went on from a checkpoint")
            self._merged.add(path)

    def new_entries(self) -> list[BadVideo]:
        """Return the videos that this process has found bad since the last `merge`."""
        return [
            entry
            for entry in self._file.entries(self.split)
            if entry.path in self._bad and entry.path not in self._merged
        ]

    def merge(self, entries: Iterable[BadVideo]) -> None:
        """Count, and write down, the new entries of all processes of the job.

        Args:
            entries: bad videos that any process has met.

        Raises:
            TooManyBadVideos: together they are too many.
        """
        last = ""
        for entry in entries:
            self._merged.add(entry.path)
            if entry.path not in self._bad:
                self._bad[entry.path] = last = entry.reason
                self._file.add(entry)
        if last:
            self._check(f"the last: {last}")

    def report(self, failure: Failure, position: int | None = None) -> None:
        """Count, log and write down the video of a clip that could not be read.

        Args:
            failure: the clip and the reason.
            position: in training, the position in the stream of clips.

        Raises:
            TooManyBadVideos: this video is one more than the limit allows.
        """
        video = self.videos[failure.request.index]
        if video.path in self._bad:
            return
        self._bad[video.path] = failure.reason
        logger.warning("bad video (%s, number %d): %s", self.split, self.num_bad, failure.reason)
        entry = BadVideo(self.split, video.path, failure.reason, video.listed_at)
        self._file.add(entry if position is None else replace(entry, position=str(position)))
        self._check(f"the last: {failure.reason}")

    def _is_refused(self) -> bool:
        """Tell whether more videos are missing or bad than the run allows."""
        unusable = self.num_missing + self.num_bad
        return self._max_fraction is not None and unusable > self._max_fraction * self.num_listed

    def _check(self, example: str) -> None:
        if self._is_refused():
            raise TooManyBadVideos(
                f"{self.split}: of {self.num_listed} listed videos {self.num_missing} are missing and "
                f"{self.num_bad} so far cannot be decoded, more than DATA.MAX_BAD_FRACTION, "
                f"{self._max_fraction:g}, allows; {example}; {self._written} are in {self._file.path}"
            )
        if not self.videos:
            raise TooManyBadVideos(f"{self.split}: none of {self.num_listed} listed videos is there; {example}")

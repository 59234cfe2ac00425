"""Videos that could not be used: counted, written down once each with their reason, and too many of them end a run."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mutualnet3d.data.dataset import Failure
from mutualnet3d.data.lists import Video
from mutualnet3d.log import logger

_COLUMNS = ("split", "path", "reason", "listed_at", "position")


class TooManyBadVideos(RuntimeError):
    """More videos of the training list are bad than the run allows."""


@dataclass(frozen=True)
class BadVideo:
    """A line of the file.

    Args:
        split: of the list that has the video: train, val or test.
        path: of the video.
        reason: "missing", or what the decoder said.
        listed_at: file and line of the list.
        position: in training, the place in the stream of clips where it was found out; else "".
    """

    split: str
    path: str
    reason: str
    listed_at: str
    position: str = ""


class BadVideoFile:
    """A CSV file, `split,path,reason,listed_at,position`, with a line for every bad video, also of earlier runs.

    A line is written at once and whole; one that a killed process left unfinished is dropped.

    Args:
        path: of the file.
        is_writer: of the processes of a job one writes; the others have in memory what they add.
    """

    def __init__(self, path: str, is_writer: bool = True):
        self.path, self.is_writer = path, is_writer
        self._entries = {(entry.split, entry.path): entry for entry in self._read()}

    def entries(self, split: str) -> list[BadVideo]:
        """What the file has of a split."""
        return [entry for entry in self._entries.values() if entry.split == split]

    def add(self, entry: BadVideo) -> None:
        """Write the video down, unless it is there."""
        if (entry.split, entry.path) in self._entries:
            return
        self._entries[entry.split, entry.path] = entry
        if not self.is_writer:
            return
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        if not os.path.exists(self.path):
            rows.writerow(_COLUMNS)
        rows.writerow([getattr(entry, column).replace("\n", " ") for column in _COLUMNS])
        with open(self.path, "ab", buffering=0) as file:
            file.write(text.getvalue().encode("utf-8", errors="backslashreplace"))

    def _read(self) -> list[BadVideo]:
        if not os.path.exists(self.path):
            return []
        with open(self.path, "rb+" if self.is_writer else "rb") as file:
            whole = file.read()
            whole = whole[: whole.rfind(b"\n") + 1]
            if self.is_writer:
                file.truncate(len(whole))
        rows = list(csv.reader(io.StringIO(whole.decode("utf-8"), newline="")))
        if rows and tuple(rows[0]) != _COLUMNS:
            raise ValueError(f"{self.path}:1: expected the header {','.join(_COLUMNS)}, got {','.join(rows[0])!r}")
        return [BadVideo(*row) for row in rows[1:] if len(row) == len(_COLUMNS)]


class BadVideos:
    """The bad videos of one split's list.

    Args:
        split: train, val or test.
        found: the videos that exist; requests count in it.
        missing: the listed ones that do not.
        file: where they are written down.
        max_fraction: more than this fraction of all listed videos being missing or bad is an error; None: any number.

    Raises:
        TooManyBadVideos: too many are missing, or none is there.
    """

    def __init__(
        self,
        split: str,
        found: Sequence[Video],
        missing: Sequence[Video],
        file: BadVideoFile,
        max_fraction: float | None = None,
    ):
        self.split, self.found, self.num_missing = split, found, len(missing)
        self._file, self._max_fraction = file, max_fraction
        self._bad: dict[str, str] = {}
        self._known_to_all: set[str] = set()  # of the processes of a job
        for video in missing:
            file.add(BadVideo(split, video.path, "missing", video.listed_at))
        self._check(
            f"the first that is missing is {missing[0].path}, listed at {missing[0].listed_at}" if missing else ""
        )

    @property
    def num_listed(self) -> int:
        return len(self.found) + self.num_missing

    @property
    def num_bad(self) -> int:
        """Videos that exist but could not be decoded, so far."""
        return len(self._bad)

    def recall(self, indices: Iterable[int]) -> None:
        """Videos that the run found bad before it went on from a checkpoint: they count from now on."""
        reasons = {entry.path: entry.reason for entry in self._file.entries(self.split)}
        for index in indices:
            path = self.found[index].path
            self._bad[path] = reasons.get(path, "found bad before the run went on from a checkpoint")
            self._known_to_all.add(path)

    def findings(self) -> list[BadVideo]:
        """The videos that this process has found bad since the last `take`."""
        return [
            entry
            for entry in self._file.entries(self.split)
            if entry.path in self._bad and entry.path not in self._known_to_all
        ]

    def take(self, findings: Iterable[BadVideo]) -> None:
        """Count, and write down, what the processes of the job have found, this one among them.

        Raises:
            TooManyBadVideos: together they are too many.
        """
        last = ""
        for entry in findings:
            self._known_to_all.add(entry.path)
            if entry.path not in self._bad:
                self._bad[entry.path] = last = entry.reason
                self._file.add(entry)
        if last:
            self._check(f"the last: {last}")

    def report(self, failure: Failure, position: int | None = None) -> None:
        """A clip could not be had.

        Raises:
            TooManyBadVideos: with this one they are too many.
        """
        video = self.found[failure.request.index]
        if video.path in self._bad:
            return
        self._bad[video.path] = failure.reason
        logger.warning("bad video (%s, number %d): %s", self.split, self.num_bad, failure.reason)
        place = "" if position is None else str(position)
        self._file.add(BadVideo(self.split, video.path, failure.reason, video.listed_at, place))
        self._check(f"the last: {failure.reason}")

    def _check(self, example: str) -> None:
        lost = self.num_missing + self.num_bad
        if self._max_fraction is not None and lost > self._max_fraction * self.num_listed:
            raise TooManyBadVideos(
                f"{self.split}: of {self.num_listed} listed videos {self.num_missing} are missing and "
                f"{self.num_bad} so far cannot be decoded, more than DATA.MAX_BAD_FRACTION, "
                f"{self._max_fraction:g}, allows; {example}; all are in {self._file.path}"
            )
        if not self.found:
            raise TooManyBadVideos(f"{self.split}: none of {self.num_listed} listed videos is there; {example}")

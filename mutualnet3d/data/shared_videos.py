"""Videos that two lists share, by their paths or by their content: a test on them measures memory."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mutualnet3d.data.video_list import Video, VideoList
from mutualnet3d.files.hashes import sha256_of
from mutualnet3d.log import progress


@dataclass(frozen=True)
class SharedPaths:
    """Videos of a list whose paths another list has too.

    Args:
        num_shared: their number.
        first: the first of them, in both lists; None if there is none.
    """

    num_shared: int
    first: tuple[Video, Video] | None


def shared_paths(videos: Sequence[Video], others: Sequence[Video]) -> SharedPaths:
    """Find the videos of a list whose paths are in another list too; by hashes of the paths, for lists of millions."""
    listed, other = VideoList.of(videos), VideoList.of(others)
    hash_N, other_hash_N = _hashes(listed), _hashes(other)
    shared = np.flatnonzero(np.isin(hash_N, other_hash_N))
    if not len(shared):
        return SharedPaths(0, None)
    place = int(np.flatnonzero(other_hash_N == hash_N[shared[0]])[0])
    return SharedPaths(len(shared), (listed[int(shared[0])], other[place]))


def _hashes(videos: VideoList) -> np.ndarray:
    return np.fromiter(map(hash, videos.paths()), np.int64, len(videos))


@dataclass(frozen=True)
class SharedVideo:
    """Video of one list that another list has too.

    Args:
        video: the video in its own list.
        other: the first video of the other list that is the same.
    """

    video: Video
    other: Video

    @property
    def is_copy(self) -> bool:
        """True if it is another file of the same content."""
        return self.video.path != self.other.path

    def __str__(self) -> str:
        if self.is_copy:
            return f"the same file as {self.other.path} ({self.other.listed_at})"
        return f"listed at {self.other.listed_at} too"


def shared_videos(lists: Sequence[Sequence[Video]]) -> dict[tuple[int, int], list[SharedVideo]]:
    """Find the videos that two of several lists share: of the same path, or files of the same bytes.

    Two lists of the same paths are taken for one: test.csv may be val.csv. Folders of pictures, and files of remote
    stores, are compared by their paths alone.

    Args:
        lists: the lists.

    Returns:
        For each pair of lists (i, j) that shares videos, i before j: those of list j, with those of list i.
    """
    contents = _contents({video.path for videos in lists for video in videos}) if len(lists) > 1 else {}
    shared = {}
    for first, second in combinations(range(len(lists)), 2):
        if [video.path for video in lists[first]] == [video.path for video in lists[second]]:
            continue
        by_path: dict[str, Video] = {}
        by_content: dict[str, Video] = {}
        for video in lists[first]:
            by_path.setdefault(video.path, video)
            by_content.setdefault(contents.get(video.path, video.path), video)
        pairs = [
            SharedVideo(video, other)
            for video in lists[second]
            if (other := by_path.get(video.path) or by_content.get(contents.get(video.path, video.path)))
        ]
        if pairs:
            shared[first, second] = pairs
    return shared


def _contents(paths: set[str]) -> dict[str, str]:
    """Return a text that stands for the content of each file of which another one has the size."""
    of_size: dict[int, list[str]] = defaultdict(list)
    for path in sorted(paths):
        size = _size(path)
        if size:
            of_size[size].append(path)
    alike = [path for group in of_size.values() if len(group) > 1 for path in group]
    return dict(_hashed(alike)) if alike else {}


def _hashed(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    for path in progress(paths, len(paths), "files of equal size compared"):
        try:
            yield path, sha256_of(path)
        except OSError:  # the check of the video says what is wrong with it
            continue


def _size(path: str) -> int:
    """Return the size of a file of this machine, 0 if there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0

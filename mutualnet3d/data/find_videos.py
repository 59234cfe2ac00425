"""Search for listed videos: those that exist, and those that are missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.lists import Video
from mutualnet3d.data.outage import file_of
from mutualnet3d.log import progress
from mutualnet3d.video.paths import video_exists

_THREADS = 16
_VIDEOS_PER_CALL = 512


@dataclass(frozen=True)
class FoundVideos:
    """Listed videos that exist and those that do not, both in the list's order.

    Args:
        existing: those that exist.
        missing: those that do not.
        num_left: number of videos that were not looked for, since too many were missing before them.
    """

    existing: list[Video]
    missing: list[Video]
    num_left: int = 0

    def __str__(self) -> str:
        text = f"found {len(self.existing)} of {len(self.existing) + len(self.missing)} videos"
        if self.num_left:
            text += f", and did not look for the other {self.num_left}"
        if self.missing:
            first = self.missing[0]
            text += f"; the first that is missing: {file_of(first)} (listed at {first.listed_at})"
        return text


def find_videos(
    videos: Sequence[Video],
    run_once: Callable[[Callable[[], bytes]], bytes] | None = None,
    max_missing: float = math.inf,
) -> FoundVideos:
    """Find the videos that exist: the file of each, or a picture of its folder (the first one listed, or any).

    Many at a time, since on a network's disk each file is a wait; shows the progress.

    Args:
        videos: the list.
        run_once: function that runs its argument in one process of a job and returns the result in all of them; None:
            this process searches for itself.
        max_missing: number of missing videos at which the search goes on; with more it ends.
    """

    def search() -> bytes:
        return _search(videos, max_missing)

    exists = run_once(search) if run_once else search()
    return FoundVideos(
        [video for video, is_file in zip(videos, exists, strict=False) if is_file],
        [video for video, is_file in zip(videos, exists, strict=False) if not is_file],
        len(videos) - len(exists),
    )


def _search(videos: Sequence[Video], max_missing: float) -> bytes:
    """Return a byte for each video, 1 if it exists; for the first of them alone, if more than `max_missing` do not."""
    size = max(1, min(_VIDEOS_PER_CALL, -(-len(videos) // _THREADS)))
    parts = [videos[start : start + size] for start in range(0, len(videos), size)]
    exists: list[bool] = []
    num_missing = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for part in progress(pool.map(_exist, parts), len(parts), "looking for the videos"):
            exists += part
            num_missing += part.count(False)
            if num_missing > max_missing:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    return bytes(exists)


def _exist(videos: Sequence[Video]) -> list[bool]:
    return [g_pathmgr.isfile(file_of(video)) if video.pictures else video_exists(video.path) for video in videos]

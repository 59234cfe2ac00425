"""Search for listed videos: those that exist, and those that are missing."""

from __future__ import annotations

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
    """Listed videos that exist and those that do not, both in the list's order."""

    existing: list[Video]
    missing: list[Video]

    def __str__(self) -> str:
        text = f"found {len(self.existing)} of {len(self.existing) + len(self.missing)} videos"
        if self.missing:
            first = self.missing[0]
            text += f"; the first that is missing: {file_of(first)} (listed at {first.listed_at})"
        return text


def find_videos(videos: Sequence[Video], run_once: Callable[[Callable[[], bytes]], bytes] | None = None) -> FoundVideos:
    """Find the videos that exist: the file of each, or a picture of its folder (the first one listed, or any).

    Many at a time, since on a network's disk each file is a wait; shows the progress.

    Args:
        videos: the list.
        run_once: function that runs its argument in one process of a job and returns the result in all of them; None:
            this process searches for itself.
    """

    def search() -> bytes:
        return _search(videos)

    exists = run_once(search) if run_once else search()
    return FoundVideos(
        [video for video, is_file in zip(videos, exists, strict=True) if is_file],
        [video for video, is_file in zip(videos, exists, strict=True) if not is_file],
    )


def _search(videos: Sequence[Video]) -> bytes:
    """Return a byte for each video: 1 if it exists."""
    size = max(1, min(_VIDEOS_PER_CALL, -(-len(videos) // _THREADS)))
    parts = [videos[start : start + size] for start in range(0, len(videos), size)]
    exists: list[bool] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for part in progress(pool.map(_exist, parts), len(parts), "looking for the videos"):
            exists += part
    return bytes(exists)


def _exist(videos: Sequence[Video]) -> list[bool]:
    return [g_pathmgr.isfile(file_of(video)) if video.pictures else video_exists(video.path) for video in videos]

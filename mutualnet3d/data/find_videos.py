"""Search for listed videos: those that exist, and those that are missing."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.folder_scan import PRESENT, UNSEEN, scan_folders
from mutualnet3d.data.found_cache import FoundCache
from mutualnet3d.data.outage import file_of
from mutualnet3d.data.video_list import Video, VideoList
from mutualnet3d.log import logger, progress
from mutualnet3d.video.paths import video_exists

_THREADS = 16
_VIDEOS_PER_CALL = 512
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 16.0  # seconds between two searches


@dataclass(frozen=True)
class FoundVideos:
    """Listed videos that exist and those that do not, both in the list's order.

    Args:
        existing: videos of which there is a file or a folder with pictures.
        missing: other videos that were looked for.
        num_left: number of videos that were not looked for, since too many were missing before them.
        is_searched: False if no video was looked for, and all count as existing.
    """

    existing: VideoList
    missing: VideoList
    num_left: int = 0
    is_searched: bool = True

    def __str__(self) -> str:
        if not self.is_searched:
            return f"{len(self.existing)} videos, none of which was looked for"
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
    patience: float = 0.0,
    cache_folder: str | None = None,
) -> FoundVideos:
    """Find the videos that exist: the file of each, or a picture of its folder (the first one listed, or any).

    Many at a time, since on a network's disk each file is a wait; shows the progress.

    Args:
        videos: the list.
        run_once: function that runs its argument in one process of a job and returns the result in all of them; None:
            this process searches for itself.
        max_missing: number of missing videos at which the search goes on; with more it ends.
        patience: seconds for which a search that ended so is begun again, after pauses.
        cache_folder: folder of results that are kept from run to run: see `FoundCache`. None: the disk is looked at.
    """
    listed = VideoList.of(videos)

    def search() -> bytes:
        if cache_folder is None:
            return search_disk()
        cache = FoundCache(listed, cache_folder)
        exists = cache.load()
        if exists is not None:
            logger.info("the videos were looked for before (%s), and their folders have not changed", cache.path)
            return exists
        exists = search_disk()
        if len(exists) == len(listed):
            cache.save(exists)
        return exists

    def search_disk() -> bytes:
        started, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            exists = _search(listed, max_missing)
            remaining = started + patience - time.monotonic()
            if exists.count(0) <= max_missing or remaining <= 0:
                return exists
            logger.warning("%d videos are missing: waiting for their disk, %.0f s at most", exists.count(0), remaining)
            time.sleep(min(pause, remaining))
            pause = min(2 * pause, _LONGEST_PAUSE)

    exists = np.frombuffer(run_once(search) if run_once else search(), np.bool_)
    is_whole = len(exists) == len(listed) and bool(exists.all())
    return FoundVideos(
        listed if is_whole else listed.take(np.flatnonzero(exists)),
        listed.take(np.flatnonzero(~exists)),
        len(listed) - len(exists),
    )


def _search(videos: VideoList, max_missing: float) -> bytes:
    """Return a byte for each video, 1 if it exists; for the first of them alone, if more than `max_missing` do not."""
    size = max(1, min(_VIDEOS_PER_CALL, -(-len(videos) // _THREADS)))
    starts = range(0, len(videos), size)
    state_N = scan_folders(videos)
    exists = bytearray()
    num_missing = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = pool.map(partial(_exist, videos, state_N, size), starts)
        for part in progress(parts, len(starts), "looking for the videos"):
            exists += part
            num_missing += part.count(0)
            if num_missing > max_missing:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    return bytes(exists)


def _exist(videos: VideoList, state_N: np.ndarray, size: int, start: int) -> bytes:
    """Return a byte for each of `size` videos from `start`, 1 if it exists, by its state or by a look."""
    states = state_N[start : start + size]
    exists = states == PRESENT
    unseen = np.flatnonzero(states == UNSEEN).tolist()
    # All are unpacked first: 16 threads that unpack between two looks at the disk wait for each other, 14 s a million.
    files = videos.files(start, start + len(states)) if unseen else []
    for place in unseen:
        path, pictures = files[place]
        exists[place] = (
            g_pathmgr.isfile(os.path.join(path, pictures.partition("\n")[0])) if pictures else video_exists(path)
        )
    return exists.tobytes()

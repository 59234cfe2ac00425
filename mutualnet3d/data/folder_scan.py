"""Listings of the folders that a list of videos names: many files are seen by one listing instead of a look at each.

A look is a system call, and a wait on a network's disk; a listing brings the names and the kinds of hundreds of files
at once. It proves that a regular file is there. Anything else needs a look: a link, a folder, a name that the listing
does not have, which a disk that ignores case may find all the same.
"""

from __future__ import annotations

import os
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from itertools import islice

import numpy as np

from mutualnet3d.data.video_list import VideoList
from mutualnet3d.log import progress
from mutualnet3d.video.paths import video_exists

# States of videos after the listings.
UNSEEN, PRESENT, ABSENT = 0, 1, 2

_THREADS = 16
_LEAST_VIDEOS = 16  # of a folder; the few calls of a listing are fewer than the looks from there on
# A listing ends after so many entries for each name: a folder may have many more files than the list, and four
# entries take the time of one look (16 us and 26 us on a local disk).
_ENTRIES_PER_NAME = 4
_CHUNK = 4096  # videos whose paths are in memory at once
_BATCH = 2048  # entries whose kinds are looked up at once
_MOST_BATCHES = 4 * _THREADS  # of a folder, that wait at the same time
# A path of more than 4096 bytes has no file, although its folder may list it: 4 bytes a character, names of 255 bytes.
_LONGEST_FOLDER = 950


def scan_folders(videos: VideoList) -> np.ndarray:
    """Return the state of each video, uint8 (N,): PRESENT, ABSENT (its folder is), or UNSEEN, which needs a look.

    Folders of few listed videos, folders of pictures and remote paths are left out.

    Args:
        videos: the list.
    """
    folders, folder_N = _folders_of(videos)
    places_N = np.argsort(folder_N, kind="stable")
    ends = np.cumsum(np.bincount(folder_N + 1, minlength=len(folders) + 1))
    groups = [
        (folder, places_N[start:end])
        for folder, start, end in zip(folders, ends[:-1], ends[1:], strict=True)
        if end - start >= _LEAST_VIDEOS and len(folder) <= _LONGEST_FOLDER
    ]
    state_N = np.full(len(videos), UNSEEN, np.uint8)
    with ThreadPoolExecutor(_THREADS) as checks, ThreadPoolExecutor(_THREADS) as scans:
        results = scans.map(partial(_scan, videos, checks), groups)
        for (_, places), states in zip(groups, progress(results, len(groups), "listing the folders"), strict=True):
            state_N[places] = states
    return state_N


def _folders_of(videos: VideoList) -> tuple[list[str], np.ndarray]:
    """Return the folders, with the separator at their ends, and the number of each video's, int32 (N,); -1: none."""
    numbers, folder_N = dict[str, int](), array("i")
    for start in range(0, len(videos), _CHUNK):
        folder_N.extend(
            -1 if pictures or "://" in path else numbers.setdefault(path[: path.rfind("/") + 1], len(numbers))
            for path, pictures in videos.files(start, min(start + _CHUNK, len(videos)))
        )
    return list(numbers), np.frombuffer(folder_N, np.int32) if folder_N else np.zeros(0, np.int32)


def _scan(videos: VideoList, checks: Executor, group: tuple[str, np.ndarray]) -> np.ndarray | int:
    """Return the states of a folder's videos, or one state of all.

    Args:
        videos: the list.
        checks: threads that look up the kinds of entries.
        group: folder, and the places of its videos in the list.
    """
    folder, places = group
    try:
        entries = os.scandir(folder or ".")
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except (OSError, ValueError):  # permission, or a path that cannot be
        return UNSEEN
    names: list[str] = []
    for start in range(0, len(places), _CHUNK):
        names += (path[len(folder) :] for path in videos.paths_at(places[start : start + _CHUNK]))
    unseen = set(names)
    with entries:
        for seen in _seen(entries, unseen, checks):
            unseen.difference_update(seen)
    present = np.fromiter((name not in unseen for name in names), np.bool_, len(names))
    first = int(present.argmax())
    # Who may list a folder may be forbidden to reach its files.
    if not present[first] or not video_exists(folder + names[first]):
        return UNSEEN
    return np.where(present, np.uint8(PRESENT), np.uint8(UNSEEN))


def _seen(entries: Iterator[os.DirEntry[str]], names: set[str], checks: Executor) -> Iterator[list[str]]:
    """Yield, in parts, those names of regular files that a listing has."""
    batches: deque[Future[list[str]]] = deque()
    num_left, num_allowed = len(names), _ENTRIES_PER_NAME * len(names)
    try:
        while num_left and (listed := list(islice(entries, min(_BATCH, num_allowed)))):
            num_allowed -= len(listed)
            batch = [entry for entry in listed if entry.name in names]
            num_left -= len(batch)
            # Some disks list no kinds: then each is a wait, which other threads share.
            batches.append(checks.submit(_regular_files, batch))
            if len(batches) > _MOST_BATCHES:
                yield batches.popleft().result()
    except OSError:  # of the disk, in the midst of the listing: the looks at the rest tell more
        pass
    while batches:
        yield batches.popleft().result()


def _regular_files(entries: Sequence[os.DirEntry[str]]) -> list[str]:
    """Return the names of the regular files among entries; a link is none."""
    names = []
    for entry in entries:
        try:
            if entry.is_file(follow_symlinks=False):
                names.append(entry.name)
        except OSError:  # of a disk that lists no kinds
            continue
    return names

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
from itertools import islice

import numpy as np

from mutualnet3d.data.video_list import VideoList
from mutualnet3d.log import progress
from mutualnet3d.video.paths import video_exists

# States of videos after the listings.
UNSEEN, PRESENT, ABSENT = 0, 1, 2

_THREADS = 16
_LEAST_VIDEOS = 16  # of a folder; the few calls of a listing are fewer than the looks from there on
_ENTRIES_PER_NAME = 4  # entries that take the time of one look on a local disk
_MOST_IN_VAIN = 16  # listings, more than useful ones
_CHUNK = 4096  # videos whose paths are in memory at once
_PART = 2048  # entries of a listing that are read at once
_MOST_PARTS = 2 * _THREADS  # of a folder, that wait at the same time
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
    sizes = np.bincount(folder_N + 1, minlength=len(folders) + 1)
    ends = np.cumsum(sizes)
    groups = [
        (folders[number], places_N[ends[number] : ends[number + 1]])
        for number in np.flatnonzero(sizes[1:] >= _LEAST_VIDEOS).tolist()
        if len(folders[number]) <= _LONGEST_FOLDER
    ]
    state_N = np.full(len(videos), UNSEEN, np.uint8)
    with ThreadPoolExecutor(_THREADS) as checks, ThreadPoolExecutor(_THREADS) as scans:
        results = scans.map(_Scanner(videos, checks).states_of, groups)
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


class _Scanner:
    """Scanner of folders, of several at a time.

    Args:
        videos: the list.
        checks: threads that look up the kinds of entries.
    """

    def __init__(self, videos: VideoList, checks: Executor):
        self._videos, self._checks = videos, checks
        # Threads may count past each other: that costs some listings, and changes no state.
        self._num_in_vain = 0

    def states_of(self, group: tuple[str, np.ndarray]) -> np.ndarray | int:
        """Return the states of a folder's videos, or one state of all.

        Args:
            group: the folder, and the places of its videos in the list.
        """
        folder, places = group
        # The folders of a list are alike: where the first have many more files than it names, the others have too.
        if self._num_in_vain >= _MOST_IN_VAIN:
            return UNSEEN
        try:
            entries = os.scandir(folder or ".")
        except (FileNotFoundError, NotADirectoryError):
            return ABSENT
        except (OSError, ValueError):  # permission, or a path that cannot be
            return UNSEEN
        names: list[str] = []
        for start in range(0, len(places), _CHUNK):
            names += (path[len(folder) :] for path in self._videos.paths_at(places[start : start + _CHUNK]))
        unseen = set(names)
        with entries:
            for seen in _seen(entries, unseen, self._checks):
                unseen.difference_update(seen)
        present = np.fromiter((name not in unseen for name in names), np.bool_, len(names))
        self._num_in_vain += 1 if np.count_nonzero(present) < len(names) / 2 else -1
        first = int(present.argmax())
        # Who may list a folder may be forbidden to reach its files.
        if not present[first] or not video_exists(folder + names[first]):
            return UNSEEN
        return np.where(present, np.uint8(PRESENT), np.uint8(UNSEEN))


def _seen(entries: Iterator[os.DirEntry[str]], names: set[str], checks: Executor) -> Iterator[list[str]]:
    """Yield, in parts, names of regular files that a listing has.

    It ends where looks take less: after all names, or where the folder has many more files.
    """
    parts: deque[Future[list[str]]] = deque()
    size, num_left = min(_PART, _ENTRIES_PER_NAME * len(names)), len(names)
    try:
        while num_left and (listed := list(islice(entries, size))):
            part = [entry for entry in listed if entry.name in names]
            num_left -= len(part)
            # Some disks list no kinds: then each is a wait, which other threads share.
            parts.append(checks.submit(_regular_files, part))
            if len(parts) > _MOST_PARTS:
                yield parts.popleft().result()
            if _ENTRIES_PER_NAME * len(part) < len(listed):
                break
    except OSError:  # of the disk, in the midst of the listing: the looks at the rest tell more
        pass
    while parts:
        yield parts.popleft().result()


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

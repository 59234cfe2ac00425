"""Results of searches for listed videos, kept from run to run.

A result holds as long as the list and the videos' folders stay as they are.
A folder's time of change tells of files that came, went or got another name. It does not tell of a link whose file
went; that video is then a bad one when it is read.
"""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mutualnet3d.data.video_list import VideoList
from mutualnet3d.files.atomic import write_atomically
from mutualnet3d.log import logger

_THREADS = 16
_CHUNK = 4096  # videos whose paths are in memory at once
# A folder that changed less than this before a search may change again with the same time.
_SETTLED_SECONDS = 2.0
_ABSENT = (-1, -1)


def default_cache_folder() -> str:
    """Return the user's folder for results of searches: mutualnet3d/searches in `XDG_CACHE_HOME`, else in ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(root, "mutualnet3d", "searches")


class FoundCache:
    """Kept result of the search for the videos of one list. The states of the folders are those of its making.

    Args:
        videos: the list.
        cache_folder: folder of the results of all lists.

    Attributes:
        path: file of the result.
    """

    def __init__(self, videos: VideoList, cache_folder: str):
        self._num_videos = len(videos)
        digest, folders = hashlib.sha256(os.getcwd().encode("utf-8", "surrogateescape")), dict[str, None]()
        self._is_remote = False
        for start in range(0, len(videos), _CHUNK):
            files = videos.files(start, min(start + _CHUNK, len(videos)))
            text = "".join(f"\n{path}\0{pictures}" for path, pictures in files)
            digest.update(text.encode("utf-8", "surrogatepass"))
            self._is_remote |= "://" in text
            folders.update((folder, None) for file in files for folder in _folders_of(*file))
        self.path = os.path.join(cache_folder, f"{digest.hexdigest()[:32]}.npz")
        self._made_at = time.time()
        self._states = np.zeros((0, 2), np.int64) if self._is_remote else _states_of(folders)

    def load(self) -> bytes | None:
        """Return a byte for each video, 1 if it was there; None without a result, or if a folder has changed since."""
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                states, bits = stored["folder_states"], stored["exists"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s: not used, the videos are looked for: %s", self.path, error)
            return None
        if self._is_remote or not np.array_equal(states, self._states):
            return None
        if bits.dtype != np.uint8 or bits.shape != (-(-self._num_videos // 8),):
            logger.warning("%s: not used, the videos are looked for: it is of another list", self.path)
            return None
        return np.unpackbits(bits, count=self._num_videos).tobytes()

    def save(self, exists: bytes) -> None:
        """Keep the result of a search that began after this object was made; where it cannot be kept, the log says why.

        Args:
            exists: a byte for each video, 1 if it is there.
        """
        if self._is_remote:
            logger.info(
                "the search is not kept (DATA.FIND_VIDEOS cached): videos of remote stores have no folder's time"
            )
            return
        if len(self._states) and self._states[:, 0].max() > (self._made_at - _SETTLED_SECONDS) * 1e9:
            logger.info("the search is not kept (DATA.FIND_VIDEOS cached): a folder changed less than 2 s before it")
            return
        bits = np.packbits(np.frombuffer(exists, np.uint8))
        arrays = {"folder_states": self._states, "exists": bits}
        try:
            write_atomically(self.path, lambda file: np.savez(file, allow_pickle=False, **arrays))
        except OSError as error:
            logger.warning("the search is not kept (DATA.FIND_VIDEOS cached): %s", error)


def _folders_of(path: str, pictures: str) -> tuple[str, ...]:
    """Return the folders whose changes may add or remove a video."""
    first = os.path.join(path, pictures.partition("\n")[0]) if pictures else path
    parent = first.rpartition("/")[0] or "/"
    # A path without an extension may be a folder of pictures, which come and go in it.
    return (parent,) if pictures or "." in path[len(parent) :] else (parent, path)


def _states_of(folders: Iterable[str]) -> np.ndarray:
    """Return time of change in nanoseconds and number of each folder, int64 (F, 2)."""
    with ThreadPoolExecutor(_THREADS) as pool:
        states = list(pool.map(_state_of, folders))
    return np.array(states, np.int64).reshape(-1, 2)


def _state_of(folder: str) -> tuple[int, int]:
    try:
        status = os.stat(folder)
    except (OSError, ValueError):
        return _ABSENT
    return status.st_mtime_ns, status.st_ino & (1 << 63) - 1

"""Scores of a test that are on the disk in place of memory: those of a test under way, and those of its end.

Legend: V videos, K classes.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np
import torch

from mutualnet3d.files.atomic import disk_errors_named

Key = TypeVar("Key", bound=Hashable)


class MappedScores:
    """Float32 tensor in a file that is mapped into memory.

    All of its place on the disk is taken at once: a full disk is an error now, and not a bus error later.

    Args:
        path: the file; if it is there and has the size, its content stays.
        shape: shape of the tensor, without zeros.

    Attributes:
        tensor: the tensor; what is written into it is in the file at the next `sync`.
        is_new: True if the file was not there, or had another size.

    Raises:
        WriteError: the disk is full.
    """

    def __init__(self, path: str, shape: tuple[int, ...]):
        self.path, num_bytes = path, 4 * math.prod(shape)
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        self.is_new = not os.path.exists(path) or os.path.getsize(path) != num_bytes
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if self.is_new else 0), 0o666)
        try:
            with disk_errors_named(path), _removed_on_error(path, self.is_new):
                os.posix_fallocate(descriptor, 0, num_bytes)
                self._map = mmap.mmap(descriptor, num_bytes)
        finally:
            os.close(descriptor)
        self.tensor = torch.from_numpy(np.frombuffer(self._map, np.float32).reshape(shape))

    def sync(self) -> None:
        """Wait until the content is on the disk.

        Raises:
            WriteError: the disk is full.
        """
        with disk_errors_named(self.path):
            self._map.flush()

    def release(self) -> None:
        """Leave the pages that were touched to the system, which has the content in its cache or on the disk."""
        self._map.madvise(mmap.MADV_DONTNEED)


@contextlib.contextmanager
def _removed_on_error(path: str, is_new: bool) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if is_new:
            os.remove(path)
        raise


class ScoreFile(Mapping[Key, torch.Tensor]):
    """Scores float32 (V, K) by key, in a file without a name, which goes with this object; one is read at a time.

    Args:
        folder: folder on whose disk the file is.
    """

    def __init__(self, folder: str):
        self.folder = folder
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with this object
        weakref.finalize(self, self._file.close)
        self._places: dict[Key, tuple[int, torch.Size]] = {}

    def __setitem__(self, key: Key, score_VK: torch.Tensor) -> None:
        """Add the scores of a key that has none.

        Args:
            key: key of the scores.
            score_VK: scores, float32.

        Raises:
            WriteError: the disk is full.
        """
        assert key not in self._places, "scores are written once"
        assert score_VK.dtype == torch.float32, "scores are float32"
        with disk_errors_named(os.path.join(self.folder, "scores")):
            start = self._file.seek(0, os.SEEK_END)
            self._file.write(score_VK.contiguous().numpy().data)
            self._file.flush()
        self._places[key] = start, score_VK.shape

    def __getitem__(self, key: Key) -> torch.Tensor:
        start, shape = self._places[key]
        if not shape.numel():
            return torch.empty(shape)
        # Memory of its own: that of malloc stays with the process, in pieces of 32 MB for 20,000 videos of 400 classes.
        memory = mmap.mmap(-1, 4 * shape.numel())
        self._file.seek(start)
        num_read = self._file.readinto(memory)
        assert num_read == len(memory), "the file is shorter than what was written"
        return torch.from_numpy(np.frombuffer(memory, np.float32).reshape(shape))

    def __iter__(self) -> Iterator[Key]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class ComputedScores(Mapping[Key, torch.Tensor]):
    """Scores (V, K) by key, computed each time they are asked for, so that few of them are in memory at a time.

    Args:
        keys: keys of the scores.
        compute: function of a key that returns its scores.
    """

    def __init__(self, keys: Iterable[Key], compute: Callable[[Key], torch.Tensor]):
        self._keys, self._compute = dict.fromkeys(keys), compute

    def __getitem__(self, key: Key) -> torch.Tensor:
        if key not in self._keys:
            raise KeyError(key)
        return self._compute(key)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

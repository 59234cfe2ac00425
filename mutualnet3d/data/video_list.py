"""Listed videos, a million of them in some 60 bytes each, in memory that all loader workers share."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from multiprocessing import context
from multiprocessing.heap import BufferWrapper
from typing import Any, overload

import numpy as np

_CHUNK = 4096  # entries that are packed or unpacked at once
_SHARED_FROM = 1 << 20  # bytes; a smaller list is copied to each worker, which takes less than a block of shared memory
_WHOLE = b"\xff"  # first byte of a text that lacks its column's prefix; no text in UTF-8 has this byte


@dataclass(frozen=True)
class Video:
    """Entry of a list.

    Args:
        path: the video's file; the folder, if the video is a folder of pictures.
        label: its class.
        listed_at: place of the entry (`file:line`), for messages.
        pictures: names of a folder's pictures in order, relative to `path`, joined by newlines, where the list names
            them. One string, since a data set may have millions of pictures. "": the video is a file, or all pictures
            of a folder in the natural order of their names.
    """

    path: str
    label: int
    listed_at: str
    pictures: str = ""

    @property
    def picture_paths(self) -> list[str]:
        """Full paths of the pictures that the list names; none if it names the file or folder alone."""
        return [os.path.join(self.path, name) for name in self.pictures.split("\n")] if self.pictures else []


@dataclass(frozen=True)
class _Texts:
    """Column of texts.

    Args:
        prefix: beginning of most of them.
        text: the rest of all, in UTF-8, one after the other, uint8 (bytes,).
        bounds: first byte of each, and the end of the last, (texts + 1,).
    """

    prefix: str
    text: np.ndarray
    bounds: np.ndarray

    def at(self, index: int) -> str:
        return self._decoded(self.text[int(self.bounds[index]) : int(self.bounds[index + 1])].tobytes())

    def part(self, start: int, stop: int) -> list[str]:
        """Return the texts from `start` to before `stop`."""
        bounds = self.bounds[start : stop + 1].astype(np.int64)
        raw = self.text[int(bounds[0]) : int(bounds[-1])].tobytes()
        places = (bounds - bounds[0]).tolist()
        spans = pairwise(places)
        if raw.isascii():
            text, prefix = raw.decode("ascii"), self.prefix
            return [prefix + text[first:last] for first, last in spans]
        return [self._decoded(raw[first:last]) for first, last in spans]

    def taken(self, indices: np.ndarray) -> _Texts:
        """Return the column of the texts at `indices`."""
        starts, ends = self.bounds[:-1][indices], self.bounds[1:][indices]
        # Texts that follow each other are copied at once.
        is_first = np.append(True, starts[1:] != ends[:-1])[: len(starts)]
        is_last = np.append(is_first[1:], True)[: len(starts)]
        raw = self.text.data
        runs = zip(starts[is_first].tolist(), ends[is_last].tolist(), strict=True)
        text = b"".join([raw[start:end] for start, end in runs])
        return _Texts(self.prefix, np.frombuffer(text, np.uint8), _bounds(ends - starts))

    def _decoded(self, raw: bytes) -> str:
        if raw.startswith(_WHOLE):
            return raw[1:].decode("utf-8", "surrogatepass")
        return self.prefix + raw.decode("utf-8", "surrogatepass")


class VideoList(Sequence[Video]):
    """Immutable list of videos, equal to any sequence of the same videos.

    A loader worker that gets it maps the memory of the process that sends it, where the list is long.

    Args:
        texts: columns of paths, of places in the list, and of pictures.
        label_N: classes, int64 (N,).
    """

    def __init__(self, texts: tuple[_Texts, _Texts, _Texts], label_N: np.ndarray):
        self._texts, self.label_N = texts, label_N
        self._shared: BufferWrapper | None = None  # memory that has all columns, if it is shared

    @classmethod
    def of(cls, videos: Iterable[Video]) -> VideoList:
        """Return the list of `videos`, which may be one already."""
        if isinstance(videos, VideoList):
            return videos
        rest, packed = iter(videos), VideoPacker()
        while part := list(islice(rest, _CHUNK)):
            packed.add(
                [video.path for video in part],
                [video.label for video in part],
                [video.listed_at for video in part],
                [video.pictures for video in part],
            )
        return packed.finish()

    def __len__(self) -> int:
        return len(self.label_N)

    @overload
    def __getitem__(self, index: int) -> Video: ...

    @overload
    def __getitem__(self, index: slice) -> VideoList: ...

    def __getitem__(self, index: int | slice) -> Video | VideoList:
        if isinstance(index, slice):
            return self.take(np.arange(*index.indices(len(self))))
        row = range(len(self))[index]
        path, listed_at, pictures = (column.at(row) for column in self._texts)
        return Video(path, int(self.label_N[row]), listed_at, pictures)

    def __iter__(self) -> Iterator[Video]:
        for start in range(0, len(self), _CHUNK):
            stop = min(start + _CHUNK, len(self))
            paths, places, pictures = (column.part(start, stop) for column in self._texts)
            yield from map(Video, paths, self.label_N[start:stop].tolist(), places, pictures)

    def paths(self) -> Iterator[str]:
        """Iterate over the paths, in a third of the time that whole videos take."""
        for start in range(0, len(self), _CHUNK):
            yield from self._texts[0].part(start, min(start + _CHUNK, len(self)))

    def paths_at(self, indices: np.ndarray) -> list[str]:
        """Return the paths of the videos at `indices`, positions or a mask, in their order."""
        paths = self._texts[0].taken(indices)
        return paths.part(0, len(paths.bounds) - 1)

    def files(self, start: int, stop: int) -> list[tuple[str, str]]:
        """Return path and pictures of the videos from `start` to before `stop`, both within the list."""
        paths, _, pictures = self._texts
        return list(zip(paths.part(start, stop), pictures.part(start, stop), strict=True))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        first = ", ".join(map(repr, islice(self, 3)))
        return f"VideoList([{first}{', ...' if len(self) > 3 else ''}])"

    @property
    def num_bytes(self) -> int:
        """Size of the columns in memory."""
        return sum(array.nbytes for array in self._arrays())

    def take(self, indices: np.ndarray) -> VideoList:
        """Return the list of the videos at `indices`, positions or a mask, in their order."""
        paths, places, pictures = self._texts
        taken = paths.taken(indices), places.taken(indices), pictures.taken(indices)
        return VideoList(taken, self.label_N[indices])

    def __reduce__(self) -> tuple[Any, ...]:
        prefixes = [column.prefix for column in self._texts]
        if context.get_spawning_popen() is None or self.num_bytes < _SHARED_FROM:
            return _unpickled, (prefixes, self._arrays())
        if self._shared is None:
            self._share()
        return _mapped, (prefixes, self._shared, [(array.dtype.str, array.nbytes) for array in self._arrays()])

    def _arrays(self) -> list[np.ndarray]:
        # Large items first: each array then begins where its items may lie.
        return [self.label_N, *(column.bounds for column in self._texts), *(column.text for column in self._texts)]

    def _share(self) -> None:
        """Move the columns to memory that other processes can map: in /dev/shm, or in a temporary file."""
        arrays = self._arrays()
        shared = BufferWrapper(self.num_bytes)  # what RawArray lies in, which cannot be sent while it is made
        columns = _columns(shared, [(array.dtype.str, array.nbytes) for array in arrays])
        for column, own in zip(columns, arrays, strict=True):
            column[:] = own
        self._texts, self.label_N = _assembled([column.prefix for column in self._texts], columns)
        self._shared = shared


def _columns(shared: BufferWrapper, layout: list[tuple[str, int]]) -> list[np.ndarray]:
    """Return the arrays that lie in `shared`, by their types and sizes in bytes."""
    whole = np.frombuffer(shared.create_memoryview(), np.uint8)
    columns, start = [], 0
    for dtype, size in layout:
        columns.append(whole[start : start + size].view(dtype))
        start += size
    return columns


def _assembled(prefixes: list[str], arrays: list[np.ndarray]) -> tuple[tuple[_Texts, _Texts, _Texts], np.ndarray]:
    label_N, columns = arrays[0], arrays[1:]
    paths, places, pictures = map(_Texts, prefixes, columns[3:], columns[:3])
    return (paths, places, pictures), label_N


def _unpickled(prefixes: list[str], arrays: list[np.ndarray]) -> VideoList:
    return VideoList(*_assembled(prefixes, arrays))


def _mapped(prefixes: list[str], shared: BufferWrapper, layout: list[tuple[str, int]]) -> VideoList:
    videos = _unpickled(prefixes, _columns(shared, layout))
    videos._shared = shared
    return videos


def _bounds(lengths: np.ndarray) -> np.ndarray:
    """Return the bounds of texts of these lengths in bytes."""
    bounds = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=bounds[1:])
    return bounds.astype(np.uint32) if bounds[-1] < 1 << 32 else bounds


class VideoPacker:
    """Columns of a `VideoList` in the making.

    Args:
        folder: beginning of most paths, with the separator at its end.
        list_path: beginning of most places in the list.
    """

    def __init__(self, folder: str = "", list_path: str = ""):
        self._prefixes = (folder, list_path, "")
        self._texts = (bytearray(), bytearray(), bytearray())
        self._lengths = (array("I"), array("I"), array("I"))
        self._labels = array("q")

    def add(self, paths: list[str], labels: list[int], places: list[str], pictures: list[str]) -> None:
        """Add videos by the values of their fields, in lists of the same length."""
        self._labels.extend(labels)
        for prefix, text, lengths, values in zip(
            self._prefixes, self._texts, self._lengths, (paths, places, pictures), strict=True
        ):
            packed, lengths_of_values = _packed(values, prefix)
            text += packed
            lengths.extend(lengths_of_values)

    def finish(self) -> VideoList:
        """Return the list; this packer is empty then."""
        paths, places, pictures = (
            _Texts(prefix, np.frombuffer(text, np.uint8), _bounds(np.array(lengths, np.int64)))
            for prefix, text, lengths in zip(self._prefixes, self._texts, self._lengths, strict=True)
        )
        label_N = np.frombuffer(self._labels, np.int64) if self._labels else np.zeros(0, np.int64)
        return VideoList((paths, places, pictures), label_N)


def _packed(texts: list[str], prefix: str) -> tuple[bytes, Iterable[int]]:
    """Return the bytes of texts, without their prefix, one after the other, and their lengths in bytes."""
    rests = [text.removeprefix(prefix) for text in texts] if prefix else texts
    joined = "".join(rests)
    # Nearly all: texts in ASCII that have the prefix.
    if joined.isascii() and len(joined) == sum(map(len, texts)) - len(prefix) * len(texts):
        return joined.encode("ascii"), map(len, rests)
    parts = [_encoded(text, prefix) for text in texts]
    return b"".join(parts), map(len, parts)


def _encoded(text: str, prefix: str) -> bytes:
    # A path of the system may have bytes that are not UTF-8, which Python keeps as lone surrogates.
    if not prefix:
        return text.encode("utf-8", "surrogatepass")
    if text.startswith(prefix):
        return text[len(prefix) :].encode("utf-8", "surrogatepass")
    return _WHOLE + text.encode("utf-8", "surrogatepass")

"""Check of the sample counts that an MP4 or MOV file claims, before libav reads its index.

libav makes an index entry per claimed sample and does not look at the clock meanwhile: a file of 5 kB that claims 20
million samples of one size takes 85 s and 3 GB. Tables that list their samples are bounded by their own bytes; what is
checked are the counts that stand for samples without listing them.

libav accepts most boxes at any place, and finds its way through broken ones. So the boxes are not walked, apart from
those at the top: their headers are searched for by name, with a size before the name that can be.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from struct import unpack_from

from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.encryption import check_tracks_for_encryption
from mutualnet3d.video.errors import VideoDecodeError

# Samples of all tracks: more than 20 hours of video at 60 frames per second and its sound.
MAX_SAMPLES = 1 << 23

# Samples of sound that a byte holds, at most (MACE 6:1).
_SAMPLES_PER_BYTE = 8

# libav makes one entry of so many samples of uncompressed sound.
_SAMPLES_PER_ENTRY = 1024

# Bytes of an index, and of what a compressed one unfolds into: 8 bytes and more per sample.
MAX_INDEX_BYTES = 1 << 27
MAX_UNFOLDED_BYTES = 1 << 24

# First boxes of the files that libav takes for this format. Files that begin otherwise are opened as others alone.
_FIRST = frozenset(
    [*b"ftyp moov mdat free skip wide junk pnot PICT styp sidx moof uuid udta prfl emsg ediw".split(), b"jP  "]
)

# Boxes in which libav looks for no others.
_LEAVES = frozenset(b"mdat ftyp styp sidx uuid free skip wide junk pnot PICT emsg".split())


def check_boxes(name: str, path: str, deadline: Deadline | None = None) -> bool:
    """Refuse a file whose boxes claim more samples than it can hold, or say that the video is encrypted.

    Args:
        name: name of the file, for the message.
        path: path of the file, on this machine.
        deadline: time that reading may take; None: any time.

    Returns:
        True if the file begins as MP4 and MOV files do. Others must not be opened as such: they were not checked.

    Raises:
        VideoDecodeError: the file claims too many samples, its index is too large, or its video is encrypted.
        OSError: the file cannot be read.
    """
    deadline = deadline or Deadline(name)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if os.pread(descriptor, 4, 4) not in _FIRST:
            return False
        num_bytes = os.fstat(descriptor).st_size
        claims = _Claims(name, num_bytes)
        for start, end in _indices(descriptor, num_bytes, deadline):
            if end - start > MAX_INDEX_BYTES:
                raise VideoDecodeError(f"{name}: the index has {end - start} bytes; allowed: at most {MAX_INDEX_BYTES}")
            deadline.check()
            claims.add(os.pread(descriptor, end - start, start))
        return True
    finally:
        os.close(descriptor)


def _indices(descriptor: int, num_bytes: int, deadline: Deadline) -> Iterator[tuple[int, int]]:
    """Yield the places [start, end) of the boxes at the top in which others may be."""
    start = 0
    while start + 8 <= num_bytes:
        deadline.check()
        header = os.pread(descriptor, 24, start)
        size, kind = unpack_from(">I4s", header)
        if size == 1 and len(header) >= 16:
            (size,) = unpack_from(">Q", header, 8)
        elif size == 0:
            size = num_bytes - start
        if size < 8:
            return
        end = min(start + size, num_bytes)
        # libav takes free space for an index that begins as one.
        if kind not in _LEAVES or header[12:16] in (b"mvhd", b"cmov"):
            yield start, end
        start = end


class _Claims:
    """Samples that a file claims so far.

    Args:
        name: name of the file, for the message.
        num_bytes: size of the file.
    """

    def __init__(self, name: str, num_bytes: int):
        self._name, self._num_bytes = name, num_bytes
        self._num_claimed = self._num_samples = 0

    def add(self, boxes: bytes, is_unfolded: bool = False) -> None:
        """Count the samples that a box at the top claims.

        Args:
            boxes: bytes of the box, its header included.
            is_unfolded: True if they were compressed in another box, which is done once alone.

        Raises:
            VideoDecodeError: there are too many; the video is encrypted.
        """
        for place in _boxes(boxes, b"cmvd"):
            if not is_unfolded:
                unfolding = zlib.decompressobj()
                try:
                    unfolded = unfolding.decompress(boxes[place + 4 :], MAX_UNFOLDED_BYTES)
                except zlib.error:
                    continue  # libav refuses it too
                if unfolding.unconsumed_tail:
                    raise VideoDecodeError(
                        f"{self._name}: the compressed index has more than {MAX_UNFOLDED_BYTES} bytes"
                    )
                self.add(unfolded, is_unfolded=True)
        before, *tracks = boxes.split(b"trak")
        check_tracks_for_encryption(self._name, tracks)
        for track in (before, *tracks):
            self._add_track(track)
        for place in _boxes(boxes, b"trun"):
            flags, count = unpack_from(">II", boxes, place)
            if not flags & 0xF00:  # nothing is said of single samples
                self._claim(count, 1, "a fragment")

    def _add_track(self, track: bytes) -> None:
        times = [unpack_from(">III", track, place + 4) for place in _boxes(track, b"stts", 16)]
        is_raw_sound = (
            b"soun" in track
            and b"vide" not in track
            and bool(times)
            and all((runs, step) == (1, 1) for runs, _, step in times)
        )
        for place in _boxes(track, b"stsz", 12):
            size, count = unpack_from(">II", track, place + 4)
            if is_raw_sound:  # libav makes its entries by the chunks
                self._check(count, self._num_bytes * _SAMPLES_PER_BYTE, "a track of sound")
            elif size:
                self._claim(count, size, "a track")
            else:
                self._count(min(count, (len(track) - place) // 4))
        for place in _boxes(track, b"stz2", 12):
            self._count(min(unpack_from(">I", track, place + 8)[0], 2 * (len(track) - place)))
        if is_raw_sound:
            chunks = [*_boxes(track, b"stco"), *_boxes(track, b"co64")]
            num_chunks = max((unpack_from(">I", track, place + 4)[0] for place in chunks), default=0)
            self._add_chunks(track, min(num_chunks, len(track) // 4))

    def _add_chunks(self, track: bytes, num_chunks: int) -> None:
        """Count the entries of sound that is told by chunks: runs of chunks of the same number of samples."""
        for place in _boxes(track, b"stsc"):
            (num_runs,) = unpack_from(">I", track, place + 4)
            num_runs = min(num_runs, (len(track) - place - 8) // 12)
            runs = [unpack_from(">II", track, place + 8 + 12 * run) for run in range(num_runs)]
            for run, (first, count) in enumerate(runs):
                stop = runs[run + 1][0] if run + 1 < num_runs else num_chunks + 1
                num_entries = max(0, min(stop, num_chunks + 1) - first) * (count // _SAMPLES_PER_ENTRY)
                self._claim(num_entries, 1, "a track of sound")

    def _claim(self, count: int, size: int, place: str) -> None:
        self._check(count * size, self._num_bytes, place)
        self._num_claimed += count
        self._check(self._num_claimed, self._num_bytes, place)
        self._count(count)

    def _count(self, count: int) -> None:
        self._num_samples += count
        if self._num_samples > MAX_SAMPLES:
            raise VideoDecodeError(
                f"{self._name}: the index has {self._num_samples} samples; allowed: at most {MAX_SAMPLES}"
            )

    def _check(self, claimed: int, allowed: int, place: str) -> None:
        if claimed > allowed:
            raise VideoDecodeError(
                f"{self._name}: {place} claims more samples than the file's {self._num_bytes} bytes can hold"
            )


def _boxes(data: bytes, kind: bytes, num_bytes: int = 8) -> Iterator[int]:
    """Yield the places of the contents, `num_bytes` or more, of all that may be boxes of a kind."""
    place = data.find(kind, 4)
    while place >= 0:
        (size,) = unpack_from(">I", data, place - 4)
        content = place + (12 if size == 1 else 4)
        if (size < 2 or 8 <= size <= len(data)) and content + num_bytes <= len(data):
            yield content
        place = data.find(kind, place + 4)

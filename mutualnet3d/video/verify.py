"""Comparison of the frames that are asked for alone with those of decoding a file from its start to its end."""

from __future__ import annotations

import math
import random
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mutualnet3d.video.container import MP4, VideoContainer, open_file
from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.decoder import Decoder
from mutualnet3d.video.errors import FrameCountCorrected, decoder_errors
from mutualnet3d.video.picture import RgbConverter
from mutualnet3d.video.reader import VideoReader


@dataclass(frozen=True)
class RandomAccess:
    """Result of a comparison.

    Args:
        num_promised: number of frames that the reader said at first or that the file's header promises: the larger.
        num_frames: number of frames that come out in decoding from start to end.
        num_damaged: number of these in which errors are concealed, or in those that they may refer to.
        num_compared: number of frames that were asked for alone.
        wrong: numbers of the frames that were another picture when they were asked for alone, ascending.
    """

    num_promised: int
    num_frames: int
    num_damaged: int
    num_compared: int
    wrong: tuple[int, ...]


def compare_random_access(
    path: str, timeout: float | None = None, count: int | None = 8, most_seconds: float = math.inf
) -> RandomAccess:
    """Decode a file from its start to its end, then ask for frames alone, in random order, and compare.

    Args:
        path: path of the file; any that iopath can open.
        timeout: seconds that the whole comparison may take; None: any time.
        count: number of frames to compare, evenly spread, the first and the last among them; None: all.
        most_seconds: seconds after which no further frame is asked for alone: in an hour that must be decoded from its
            start each would take minutes.

    Raises:
        VideoDecodeError: the file cannot be read, has no frame that can be decoded, or takes too long.
    """
    deadline = Deadline(path, timeout)
    sums, num_damaged, num_in_header = _decode_all(path, deadline)
    spread = range(len(sums)) if count is None else np.linspace(0, len(sums) - 1, count).round().astype(int).tolist()
    numbers = sorted(set(spread))
    random.Random(0).shuffle(numbers)
    wrong = []
    with VideoReader(path, deadline.remaining()) as video:
        num_promised = max(video.info.num_frames, num_in_header)
        started, num_compared = time.monotonic(), 0
        for number in numbers:
            if num_compared and time.monotonic() - started > most_seconds:
                break
            if _sum_of_frame(video, number) != sums[number]:
                wrong.append(number)
            num_compared += 1
    return RandomAccess(num_promised, len(sums), num_damaged, num_compared, tuple(sorted(wrong)))


def _decode_all(path: str, deadline: Deadline) -> tuple[list[int], int, int]:
    """Return a check sum of each frame of the file, the number of damaged ones, and that of the promised ones.

    The last is the number of frames in the header, 0 if it does not tell.

    Raises:
        VideoDecodeError: there is no frame; the time is over.
    """
    sums: list[int] = []
    num_damaged = 0
    converters: defaultdict[tuple[int, int], RgbConverter] = defaultdict(RgbConverter)  # a video may change its size
    with decoder_errors(path, deadline.timeout), open_file(path, deadline=deadline) as container:
        decoder = Decoder(container, deadline)
        for frame, is_damaged in decoder.frames_and_damage(container.packets()):
            sums.append(_check_sum(converters[frame.width, frame.height](frame)))
            num_damaged += is_damaged
        if not sums:
            raise decoder.nothing_decoded()
        num_in_header = _promised(container, len(sums))
    return sums, num_damaged, num_in_header


def _promised(container: VideoContainer, num_frames: int) -> int:
    """Return the number of frames that header and index promise of a file that gave `num_frames`; 0: they tell none."""
    index = container.stream.index_entries
    entries = [index[number] for number in range(len(index))]
    if container.format == MP4:
        # The header also counts frames that an edit list hides; but frames beyond the end of the file are promised.
        num_cut = sum(entry.pos + entry.size > container.num_bytes for entry in entries)
        # One that is cut in its middle may have given a frame.
        return min(num_frames + num_cut, container.stream.frames) if num_cut else 0
    if container.format == "avi" and entries:
        # Times count frames. Where some have none, the header also counts the repeated ones, which have no data.
        has_all = entries[-1].timestamp - entries[0].timestamp == len(entries) - 1
        return max(container.stream.frames, len(entries)) if has_all else len(entries)
    return 0


def _sum_of_frame(video: VideoReader, number: int) -> int | None:
    """Return the check sum of a frame that is asked for alone; None: there is no such frame."""
    try:
        frames: Iterator[np.ndarray] = video.read([number])
        return _check_sum(next(frames))
    except FrameCountCorrected:
        if number >= video.info.num_frames:
            return None
        return _check_sum(next(video.read([number])))


def _check_sum(picture_HWC: np.ndarray) -> int:
    return zlib.crc32(f"{picture_HWC.shape}".encode() + np.ascontiguousarray(picture_HWC).tobytes())

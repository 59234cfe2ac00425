"""Frames of a video file, decoded once from its start to its end, each with its number.

It is for films and recordings of hours. All packets are read first: they say how many frames there are and when each is
shown, as `VideoReader.info` does. Then every packet is decoded in turn. A frame has the place of its timestamp, so that
what is lost in a damaged part moves no later frame; where a file has no timestamps that can be relied on, frames are
counted, and in AVI, whose packets are numbered, packets without a frame are counted too once an error was seen. What is
in memory is one frame and eight bytes for each frame of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import av
import numpy as np

from mutualnet3d.video.container import VideoContainer, open_file
from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.decoder import Decoder
from mutualnet3d.video.errors import decoder_errors
from mutualnet3d.video.frame_stream import LONGEST_WAIT
from mutualnet3d.video.info import VideoInfo
from mutualnet3d.video.packet_list import SKIPPING
from mutualnet3d.video.picture import RgbConverter
from mutualnet3d.video.reader import VideoReader

_NO_FRAME = "no frame came"


class FrameSequence:
    """Video file whose frames are read once, in order.

    Args:
        path: path of the file; any that iopath can open.

    Attributes:
        path: path of the file.
        info: number, rate and times of the frames, as the packets tell them.
        num_damaged: number of pictures so far that were given although errors are concealed in them, or in frames that
            they may refer to.

    Raises:
        VideoDecodeError: see `VideoReader`.
    """

    def __init__(self, path: str):
        self.path, self.num_damaged = path, 0
        with VideoReader(path) as reader:
            self.info: VideoInfo = reader.info
            keys = reader.frame_keys
        self._keys = None if keys is None else np.array(keys, np.int64)

    def read(self, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield number and picture of the frames at `numbers`, without those that cannot be decoded.

        Args:
            numbers: numbers of frames, ascending, no repeats, all below `info.num_frames`.

        Returns:
            Iterator of numbers, ascending, and pictures: upright, RGB, uint8 (H, W, 3), of the first one's size.

        Raises:
            VideoDecodeError: no frame can be decoded; none comes within `LONGEST_WAIT` seconds.
        """
        is_needed = np.zeros(self.info.num_frames, bool)
        is_needed[numbers] = True
        last_needed = int(numbers[-1]) if len(numbers) else -1
        deadline = Deadline(self.path, LONGEST_WAIT, _NO_FRAME)
        to_rgb = RgbConverter()
        with decoder_errors(self.path, LONGEST_WAIT, _NO_FRAME), open_file(self.path, deadline=deadline) as container:
            container.refuse_errors()
            decoder = Decoder(container, deadline)
            is_empty = True
            for number, frame, is_damaged in self._numbered(container, decoder, is_needed):
                is_empty = False
                if number > last_needed:
                    return
                if is_needed[number]:
                    self.num_damaged += is_damaged
                    yield number, to_rgb(frame)
                deadline.restart()  # who takes the pictures may take any time
            if is_empty:
                raise decoder.nothing_decoded()

    def _numbered(
        self, container: VideoContainer, decoder: Decoder, is_needed: np.ndarray
    ) -> Iterator[tuple[int, av.VideoFrame, bool]]:
        """Yield frames with their numbers, ascending, and True for those in which errors may be concealed."""
        frames: Iterable[av.VideoFrame] = decoder.all_frames(container.packets())
        if self._keys is not None and container.codec.name in SKIPPING:
            needed = _NeededKeys(self._keys, is_needed)
            frames = decoder.run(container.packets(), needed, may_skip=True)  # type: ignore[arg-type]
        last, last_place, num_errors, is_damaged = -1, None, 0, False
        for frame in frames:
            has_failed = frame.is_corrupt or decoder.num_errors > num_errors
            is_damaged = has_failed or (is_damaged and not frame.key_frame)
            num_errors = decoder.num_errors
            number: int | None = last + 1
            if self._keys is not None:
                number = place_of(self._keys, frame.pts)
            elif not container.has_times and has_failed and frame.dts is not None and last_place is not None:
                number = last + max(1, frame.dts - last_place)  # AVI: timestamps count packets
            last_place = frame.dts
            if number is None or not last < number < len(is_needed):
                continue
            last = number
            yield number, frame, is_damaged


class _NeededKeys:
    """Timestamps of the frames that are needed.

    Args:
        keys: timestamps of all frames, ascending.
        is_needed: True for each frame that is needed.
    """

    def __init__(self, keys: np.ndarray, is_needed: np.ndarray):
        self._keys, self._is_needed = keys, is_needed

    def __contains__(self, key: int | None) -> bool:
        place = place_of(self._keys, key)
        return place is not None and bool(self._is_needed[place])


def place_of(keys: np.ndarray, key: int | None) -> int | None:
    """Return the place of the nearest of `keys`, which ascend; None: there is no key.

    A timestamp is among them, unless an MP4 file's index promises even times that its packets do not keep.
    """
    if key is None:
        return None
    after = min(int(np.searchsorted(keys, key)), len(keys) - 1)
    before = max(after - 1, 0)
    return before if abs(key - int(keys[before])) < abs(int(keys[after]) - key) else after

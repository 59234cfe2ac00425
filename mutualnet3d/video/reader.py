"""Video files to frames, by PyAV: exactly the frames that were asked for, and as little decoding as that takes.

All packets of the video stream are read first (`packet_list`); they say which frames there are and when each is shown.
(Of an MP4 file with evenly spaced frames only those around the chosen ones, which must agree with the file's index:
`mp4_index`.) Decoding then begins at the keyframe before a chosen frame and ends with the last packet that is needed,
and H.264 frames between them to which no other refers are skipped (`decoder`).

The result must equal that of decoding the whole file, from its start to its end, each frame counted. Keyframes,
timestamps and the order of frames are claims, of the container or of the packets. Where the frames that come out
contradict them, or are damaged, or where there are no such claims, the video is decoded from its start and its frames
are counted as they come; the process remembers it of the file (`file_facts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import av
import numpy as np

from mutualnet3d.video.container import open_file
from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.errors import FrameCountCorrected, VideoDecodeError, decoder_errors
from mutualnet3d.video.file_facts import FileFacts, FileState, facts_of, remember
from mutualnet3d.video.info import VideoInfo
from mutualnet3d.video.keyframe_run import NotBelieved, decode_run
from mutualnet3d.video.packet_list import PacketList
from mutualnet3d.video.packet_source import PacketSource
from mutualnet3d.video.picture import RgbConverter


class VideoReader:
    """A video file that is open for reading: an `OpenVideo`.

    Args:
        path: path of the file; any that iopath can open.
        timeout: seconds that opening and all reading may take together; None: any time. The clock is looked at between
            packets and by libav while it waits for the file, so that no signal is needed.

    Attributes:
        num_damaged_frames: number of frames so far that were given although the decoder concealed errors in them, or in
            those that they refer to.

    Raises:
        VideoDecodeError: the file is missing, is none (a pipe), is no video, has no video stream or no frame, or takes
            too long.
    """

    def __init__(self, path: str, timeout: float | None = None):
        self.path = path
        self.num_damaged_frames = 0
        self._deadline = Deadline(path, timeout)
        with decoder_errors(path, timeout):
            container = open_file(path, probe=False, deadline=self._deadline)
            try:
                self._state = FileState.of(container.location)
                self._source = PacketSource(container, self._deadline)
            except BaseException:
                container.close()
                raise

    @property
    def info(self) -> VideoInfo:
        """Number and rate of the frames."""
        return self._source.info

    @property
    def frame_keys(self) -> Sequence[int] | None:
        """Timestamps of the frames, in units of the stream; see `PacketSource.frame_keys`."""
        return self._source.frame_keys

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file and of all packets."""
        self._source.close()

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the frames at `indices`, upright, RGB, uint8 (H, W, 3).

        All have the size of the first; in a video that changes its size the others are scaled to it.

        Args:
            indices: numbers of the frames, from 0, ascending, no repeats.

        Raises:
            FrameCountCorrected: the video has fewer frames than `info` said; `info` has changed.
            VideoDecodeError: the video breaks, or takes too long.
        """
        if indices and indices[-1] >= self.info.num_frames:
            raise VideoDecodeError(f"{self.path}: has {self.info.num_frames} frames; frame {indices[-1]} was asked for")
        to_rgb = RgbConverter()
        delivered, promised = 0, self.info.num_frames
        with decoder_errors(self.path, self._deadline.timeout):
            for frame in self.decode(indices):
                yield to_rgb(frame)
                delivered += 1
            if delivered < len(indices):
                raise FrameCountCorrected(
                    f"{self.path}: {promised} frames were promised, {self.info.num_frames} can be decoded"
                )

    def decode(self, indices: Sequence[int]) -> Iterator[av.VideoFrame]:
        """Yield the decoder's frames at `indices`, in order.

        There are fewer where the video has fewer than `info` said, which then has their true number.
        """
        facts, delivered = facts_of(self._state), 0
        if facts.num_frames is not None and indices and indices[-1] >= facts.num_frames:
            # What was promised is said first in any case: a clip must not depend on what was found out before.
            self._source.info = self.info.with_count(facts.num_frames)
            return
        if not facts.from_start:
            with suppress(NotBelieved):
                for packets in self._source.attempts(indices):
                    for frame in self._by_key(packets, indices[delivered:]):
                        yield frame
                        delivered += 1
                    if delivered == len(indices):
                        return
        yield from self._by_counting(indices[delivered:])

    def _by_key(self, packets: PacketList, indices: Sequence[int]) -> Iterator[av.VideoFrame]:
        """Yield the frames at `indices`, as far as they come, in order.

        Raises:
            NotBelieved: only decoding from the start gives the right frames.
        """
        if packets.keys is None or max(indices, default=-1) >= len(packets.keys):
            return  # the video looked otherwise when it was read again
        source = self._source
        keys = [packets.keys[index] for index in indices]
        chosen = set(keys)
        position = 0
        for start, stop in packets.runs(chosen):
            for frame in decode_run(source.decoder, packets, start, stop, chosen, source.container.is_probed):
                if frame.pts == keys[position]:
                    yield frame
                    position += 1
                    if position == len(keys):
                        return

    def _by_counting(self, indices: Sequence[int]) -> Iterator[av.VideoFrame]:
        """Yield the frames at `indices`, as far as they come, in order, counted from the start of the video."""
        source = self._source
        packets = source.from_start()
        facts = facts_of(self._state)
        if not facts.from_start:
            remember(self._state, replace(facts, from_start=True))
        chosen = set(indices)
        last = indices[-1] if indices else -1
        num_frames = 0
        for frame, is_damaged in source.decoder.frames_and_damage(packets.packets(0, packets.num_packets), chosen):
            if num_frames in chosen:
                self.num_damaged_frames += is_damaged
                yield frame
            num_frames += 1
            if num_frames > last:
                return
        if not num_frames:
            raise source.decoder.nothing_decoded()
        packets.timestamps = None
        source.info = source.info.with_count(num_frames)
        remember(self._state, FileFacts(from_start=True, num_frames=num_frames))

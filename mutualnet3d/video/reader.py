"""Video files to frames, by PyAV: exactly the frames that were asked for, and as little decoding as that takes.

All packets of the video stream are read first (`packet_list`); they say which frames there are and when each is shown.
(Of an MP4 file with evenly spaced frames only those around the chosen ones, which must agree with the file's index:
`mp4_index`.) Decoding then begins at the keyframe before a chosen frame and ends with the last packet that is needed,
and H.264 frames between them to which no other refers are skipped (`decoder`). Where timestamps are missing or
contradict the decoder's, the video is decoded from its start and its frames are counted as they come.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import av
import numpy as np

from mutualnet3d.video.container import open_file
from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.decoder import Decoder
from mutualnet3d.video.errors import FrameCountCorrected, VideoDecodeError, decoder_errors
from mutualnet3d.video.info import VideoInfo, measure_info
from mutualnet3d.video.mp4_index import Mp4Index, read_mp4_index
from mutualnet3d.video.packet_list import PacketList, read_packets
from mutualnet3d.video.picture import RgbConverter


class VideoReader:
    """A video file that is open for reading: an `OpenVideo`.

    Args:
        path: path of the file; any that iopath can open.
        timeout: seconds that opening and all reading may take together; None: any time. The clock is looked at between
            packets and by libav while it waits for the file, so that no signal is needed.

    Attributes:
        info: number and rate of the frames.

    Raises:
        VideoDecodeError: the file is missing, is none (a pipe), is no video, has no video stream or no frame, or takes
            too long.
    """

    def __init__(self, path: str, timeout: float | None = None):
        self.path = path
        self._deadline = Deadline(path, timeout)
        with decoder_errors(path, timeout):
            self._container = open_file(path, probe=False, deadline=self._deadline)
            try:
                self._decoder = Decoder(self._container, self._deadline)
                self._mp4_index = read_mp4_index(self._container, self._deadline)
                self._packets: PacketList | None = None
                if self._mp4_index is None:
                    self._read_packets()
                else:
                    self.info = self._info_of(self._mp4_index)
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file and of all packets."""
        self._packets = None
        self._container.close()

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the frames at `indices` (ascending, no repeats), upright, RGB, uint8 (H, W, 3).

        All have the size of the first; in a video that changes its size the others are scaled to it.

        Raises:
            FrameCountCorrected: the video has fewer frames than `info` said; `info` has changed.
            VideoDecodeError: the video breaks, or takes too long.
        """
        if indices and indices[-1] >= self.info.num_frames:
            raise VideoDecodeError(f"{self.path}: has {self.info.num_frames} frames; frame {indices[-1]} was asked for")
        to_rgb = RgbConverter()
        delivered = 0
        with decoder_errors(self.path, self._deadline.timeout):
            for frame in self.decode(indices):
                yield to_rgb(frame)
                delivered += 1
            if delivered < len(indices):
                raise self._correct_count()

    def decode(self, indices: Sequence[int]) -> Iterator[av.VideoFrame]:
        """Yield the decoder's frames at `indices`, as far as they come, in order."""
        packets = self._load(indices)
        if packets.timestamps is None:
            yield from self._by_counting(packets, indices)
            return
        delivered = 0
        for candidates, from_start in self._attempts(packets):
            for frame in self._by_timestamp(candidates, indices[delivered:], from_start):
                yield frame
                delivered += 1
            if delivered == len(indices):
                return

    def _attempts(self, packets: PacketList) -> Iterator[tuple[PacketList, bool]]:
        """Yield the packets to decode, and whether all from the start on: an attempt is made where those before it gave
        too few frames."""
        yield packets, False
        if self._mp4_index is not None:
            packets = self._read_instead_of_index()
            yield packets, False
        if not self._container.is_probed:
            # A decoder that was not told how far frames are reordered may drop the first ones.
            self._container.open(probe=True)
            packets = self._read_packets()
            yield packets, False
        if self._container.codec.name == "h264":
            # H.264 may mark a frame as a keyframe from which the picture only builds up, over the next ones.
            yield packets, True

    # ---- the packets -------------------------------------------------------------------------------------------------

    def _load(self, indices: Sequence[int]) -> PacketList:
        """Return packets that have the frames at `indices`."""
        if self._mp4_index is not None:
            return self._mp4_index.load(indices) or self._read_instead_of_index()
        assert self._packets is not None, f"{self.path} is closed"
        return self._packets

    def _read_instead_of_index(self) -> PacketList:
        """Read all packets: the file's index does not tell all.

        Raises:
            FrameCountCorrected: they are not as many as the index said.
        """
        promised, self._mp4_index = self.info.num_frames, None
        self._container.open(probe=False)
        packets = self._read_packets()
        if self.info.num_frames != promised:
            raise FrameCountCorrected(
                f"{self.path}: the file's index has {promised} frames, its packets have {self.info.num_frames}"
            )
        return packets

    def _read_packets(self) -> PacketList:
        self._packets = read_packets(self._container, self._deadline)
        self.info = self._info_of(self._packets)
        return self._packets

    def _info_of(self, index: Mp4Index | PacketList) -> VideoInfo:
        container = self._container
        return measure_info(
            index.num_frames,
            index.times,
            container.stream.time_base,
            container.header_rates,
            container.header_seconds,
        )

    # ---- decoding ----------------------------------------------------------------------------------------------------

    def _by_timestamp(
        self, packets: PacketList, indices: Sequence[int], from_start: bool = False
    ) -> Iterator[av.VideoFrame]:
        """Yield the frames at `indices`, as far as they come, in order."""
        if packets.timestamps is None or max(indices, default=-1) >= len(packets.timestamps):
            return  # the video looked otherwise when it was read again
        times = [packets.timestamps[index] for index in indices]
        chosen = set(times)
        position = 0
        for start, stop in [(0, packets.num_packets)] if from_start else packets.runs(chosen):
            for frame in self._decode_run(packets, start, stop, chosen):
                if frame.pts == times[position]:
                    yield frame
                    position += 1
                    if position == len(times):
                        return

    def _decode_run(
        self, packets: PacketList, start: int, stop: int, chosen: Collection[int]
    ) -> Iterator[av.VideoFrame]:
        """Return the frames of a run of packets that begins where the container claims a keyframe.

        Only the first frame that comes out says whether it is one (`key_frame`, and not `is_corrupt`). Whatever
        distrusts the container's claim belongs here, and decodes from packet 0 instead.
        """
        return self._decoder.run(packets.packets(start, stop), chosen)

    def _by_counting(self, packets: PacketList, indices: Sequence[int]) -> Iterator[av.VideoFrame]:
        """Yield the frames at `indices`, as far as they come, in order, counted from the start of the video."""
        chosen = set(indices)
        last = indices[-1] if indices else -1
        for position, frame in enumerate(self._decoder.all_frames(packets.packets(0, packets.num_packets))):
            if position in chosen:
                yield frame
            if position >= last:
                return

    def _correct_count(self) -> Exception:
        """Count the frames by decoding all; from here on they are found by counting."""
        packets = self._packets
        assert packets is not None
        promised, packets.timestamps = self.info.num_frames, None
        num_frames = sum(1 for _ in self._decoder.all_frames(packets.packets(0, packets.num_packets)))
        if not num_frames:
            return self._decoder.nothing_decoded()
        self.info = self.info.with_count(num_frames)
        return FrameCountCorrected(f"{self.path}: {promised} frames were promised, {num_frames} can be decoded")

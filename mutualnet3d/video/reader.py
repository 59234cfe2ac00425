"""Video files to frames, by PyAV: exactly the frames that were asked for, and as little decoding as that takes.

All packets of the video stream are read first (`packet_list`); they say which frames there are and when each is shown.
(Of an MP4 file with evenly spaced frames only those around the chosen ones, which must agree with the file's index:
`mp4_index`.) Decoding then begins at the keyframe before a chosen frame and ends with the last packet that is needed,
and H.264 frames between them to which no other refers are skipped (`decoder`).

What all of that must equal is the decoding of the whole file, from its start to its end, each frame counted. Keyframes,
timestamps and the order of frames are claims, of the container or of the packets. Where the frames that come out
contradict them, or are damaged, or where there are no such claims, the video is decoded from its start and its frames
are counted as they come; the process remembers it of the file (`file_facts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import av
import numpy as np

from mutualnet3d.video.container import open_file
from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.decoder import Decoder
from mutualnet3d.video.errors import FrameCountCorrected, VideoDecodeError, decoder_errors
from mutualnet3d.video.file_facts import FileFacts, FileState, facts_of, remember
from mutualnet3d.video.frame_rate import choose_frame_rate
from mutualnet3d.video.info import VideoInfo
from mutualnet3d.video.keyframe_run import NotBelieved, decode_run
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
        num_damaged_frames: number of frames so far that were given although the decoder called them corrupt: it
            conceals errors in them.

    Raises:
        VideoDecodeError: the file is missing, is none (a pipe), is no video, has no video stream or no frame, or takes
            too long.
    """

    def __init__(self, path: str, timeout: float | None = None):
        self.path = path
        self.num_damaged_frames = 0
        self._deadline = Deadline(path, timeout)
        with decoder_errors(path, timeout):
            self._container = open_file(path, probe=False, deadline=self._deadline)
            try:
                self._state = FileState.of(self._container.location)
                self._decoder = Decoder(self._container, self._deadline)
                self._packets: PacketList | None = None
                self._mp4_index: Mp4Index | None = None
                if facts_of(self._state).from_start:
                    self._packets_from_start()
                else:
                    self._mp4_index = read_mp4_index(self._container, self._deadline)
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
        delivered, promised = 0, self.info.num_frames
        with decoder_errors(self.path, self._deadline.timeout):
            for frame in self.decode(indices):
                self.num_damaged_frames += frame.is_corrupt
                yield to_rgb(frame)
                delivered += 1
            if delivered < len(indices):
                raise FrameCountCorrected(
                    f"{self.path}: {promised} frames were promised, {self.info.num_frames} can be decoded"
                )

    def decode(self, indices: Sequence[int]) -> Iterator[av.VideoFrame]:
        """Yield the decoder's frames at `indices`, in order; fewer where the video has fewer than `info` said, which
        then has their true number."""
        delivered = 0
        try:
            for packets in self._attempts(self._load(indices)):
                for frame in self._by_key(packets, indices[delivered:]):
                    yield frame
                    delivered += 1
                if delivered == len(indices):
                    return
        except NotBelieved:
            pass
        yield from self._by_counting(indices[delivered:])

    def _attempts(self, packets: PacketList) -> Iterator[PacketList]:
        """Yield packets to take frames from by their keys: an attempt is made where those before it gave too few."""
        if packets.keys is None:
            return
        yield packets
        if self._mp4_index is not None:
            yield self._read_instead_of_index()
        if not self._container.is_probed:
            # A decoder that was not told how far frames are reordered may drop the first ones.
            self._reopen(probe=True)
            yield self._read_packets()

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
        self._reopen(probe=False)
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

    def _packets_from_start(self) -> PacketList:
        """Read all packets of a file whose frames are counted; from here on they are."""
        if self._packets is None or not self._container.is_probed:
            self._mp4_index = None
            self._reopen(probe=True)
            self._read_packets()
        elif not self._decoder.is_fresh:
            self._reopen(probe=True)
        assert self._packets is not None
        self._packets.forget_keys()
        num_frames = facts_of(self._state).num_frames
        if num_frames is not None:
            self.info = replace(self.info, num_frames=num_frames)
        return self._packets

    def _reopen(self, probe: bool) -> None:
        self._container.open(probe)
        self._decoder.is_fresh = True

    def _info_of(self, index: Mp4Index | PacketList) -> VideoInfo:
        rates, time_base = self._container.header_rates, self._container.stream.time_base
        return VideoInfo(index.num_frames, choose_frame_rate(rates, index.timestamps, time_base))

    # ---- decoding ----------------------------------------------------------------------------------------------------

    def _by_key(self, packets: PacketList, indices: Sequence[int]) -> Iterator[av.VideoFrame]:
        """Yield the frames at `indices`, as far as they come, in order.

        Raises:
            NotBelieved: only decoding from the start gives the right frames.
        """
        if packets.keys is None or max(indices, default=-1) >= len(packets.keys):
            return  # the video looked otherwise when it was read again
        keys = [packets.keys[index] for index in indices]
        chosen = set(keys)
        position = 0
        for start, stop in packets.runs(chosen):
            for frame in decode_run(self._decoder, packets, start, stop, chosen, self._container.is_probed):
                if frame.pts == keys[position]:
                    yield frame
                    position += 1
                    if position == len(keys):
                        return

    def _by_counting(self, indices: Sequence[int]) -> Iterator[av.VideoFrame]:
        """Yield the frames at `indices`, as far as they come, in order, counted from the start of the video."""
        packets = self._packets_from_start()
        self._remember(facts_of(self._state).num_frames)
        chosen = set(indices)
        last = indices[-1] if indices else -1
        num_frames = 0
        for frame in self._decoder.all_frames(packets.packets(0, packets.num_packets)):
            if num_frames in chosen:
                yield frame
            num_frames += 1
            if num_frames > last:
                return
        if not num_frames:
            raise self._decoder.nothing_decoded()
        packets.timestamps = None
        self.info = replace(self.info, num_frames=num_frames)
        self._remember(num_frames)

    def _remember(self, num_frames: int | None) -> None:
        remember(self._state, FileFacts(from_start=True, num_frames=num_frames))

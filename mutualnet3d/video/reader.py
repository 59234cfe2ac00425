"""Video files to frames, by PyAV: exactly the frames that were asked for, and as little decoding as that takes.

All packets of the video stream are read first; they say which frames there are and when each is shown, whatever the
headers claim. (Of an MP4 file with evenly spaced frames only those around the wanted ones, which must agree with the
file's index.) Decoding then begins at the keyframe before a wanted frame and ends with the last wanted packet, and
H.264 frames between them to which no other refers are skipped. Where timestamps are missing or contradict what the
decoder gives, the video is decoded from its start and its frames are counted as they come.
"""

from __future__ import annotations

import itertools
import os
import stat
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from types import TracebackType

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from iopath.common.file_io import g_pathmgr

from mutualnet3d.video.packet_index import PacketIndex

# What PyAV raises on damaged files: its own errors and, out of its bindings, these.
DECODER_ERRORS = (av.FFmpegError, OSError, ValueError, ArithmeticError, MemoryError, RuntimeError)

# Packets of more bytes in all are not kept between reading and decoding but read again.
_MAX_KEPT_BYTES = 64 << 20

# Larger pictures are taken for damaged headers; 8K video has half as many pixels.
MAX_PIXELS = 1 << 26

# Frame rates out of this range are not believed.
FPS_RANGE = (0.1, 1000.0)

# These formats state in their headers all that is needed; libav need not decode the first frames to find it out, which
# takes it as long as a tenth of a clip.
_STATED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_NO_PROBING = {"probesize": "5000", "analyzeduration": "1", "fpsprobesize": "0"}

# Flag of an entry of a file's index: decoding can begin there. Any other flag says that there is something about it.
_KEYFRAME = 1

# Packets between two looks at the clock.
_PACKETS_A_LOOK = 32


class VideoDecodeError(RuntimeError):
    """A video that cannot give the frames that were asked for. The message names the file and the cause.

    Takes the message alone, so that it crosses a loader worker's border as what it is.
    """


class FrameCountCorrected(VideoDecodeError):
    """The video has fewer frames than its packets promised; `VideoReader.info` now has their true number. Choose frames
    among those and ask again."""


@dataclass(frozen=True)
class VideoInfo:
    """What a clip sampler has to know of a video; `fps` in frames per second, None if the file does not tell."""

    num_frames: int
    fps: float | None


class VideoReader:
    """A video that is open for reading.

    One decoding thread: loaders run many workers, and libav's frame threads can hang on an early stop.

    Args:
        path: any path that iopath can open.
        timeout: seconds that opening and all reading may take together; None: any time. It is looked at between
            packets and by libav while it waits for the file, so that no signal is needed.

    Raises:
        VideoDecodeError: the file is missing, is none (a pipe), is no video, has no video stream or no frame, or takes
            too long.
    """

    def __init__(self, path: str, timeout: float | None = None):
        self.path, self._timeout = path, timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._reformatter = VideoReformatter()
        self._container: av.container.InputContainer | None = None
        self._shown: list[int] | None = None
        # Times of decoding by the file's index, where it took the place of the packets.
        self._index_times: list[int] | None = None
        try:
            self._local_path = _regular_file(path)
            self._open(probe=False)
            if not self._read_index():
                self._read_packets()
        except DECODER_ERRORS as error:
            self.close()
            raise self._failure(error) from error

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file and of all packets."""
        self._packets: Sequence[av.Packet | None] | None = None
        if self._container is not None:
            self._container.close()
            self._container = None

    def frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """The frames at `indices` (ascending, each once), upright, RGB uint8 (H, W, 3), one at a time.

        All have the size of the first; in a video that changes its size the others are scaled to it.

        Raises:
            FrameCountCorrected: the video has fewer frames than `info` said; `info` has changed.
            VideoDecodeError: the video breaks, or takes too long.
        """
        if indices and indices[-1] >= self.info.num_frames:
            raise VideoDecodeError(f"{self.path}: has {self.info.num_frames} frames; frame {indices[-1]} was asked for")
        size: tuple[int, int] | None = None
        delivered = 0
        try:
            for frame in self._wanted_frames(indices):
                size = size or (frame.width, frame.height)
                yield self._to_rgb(frame, *size)
                delivered += 1
            if delivered < len(indices):
                raise self._correct_count()
        except DECODER_ERRORS as error:
            raise self._failure(error) from error

    # ---- the file ----------------------------------------------------------------------------------------------------

    def _open(self, probe: bool) -> None:
        self.close()
        container = self._container = av.open(
            self._local_path,
            mode="r",
            options={} if probe else _NO_PROBING,
            metadata_errors="replace",
            timeout=self._timeout,
        )
        streams = [stream for stream in container.streams.video if not _is_picture(stream)]
        if not probe and (not streams or container.format.name not in _STATED):
            self._open(probe=True)
            return
        if not streams:
            raise VideoDecodeError(f"{self.path}: the file has no video stream")
        self._stream, self._probed = streams[0], probe
        for other in container.streams:
            if other is not self._stream:
                other.discard = av.stream.Discard.all  # not even read, where the format allows it
        self._codec = self._stream.codec_context
        if self._codec is None:
            raise VideoDecodeError(f"{self.path}: the video stream is of a codec that this libav does not know")
        self._codec.thread_count = 1
        self._codec.options = {"max_pixels": str(MAX_PIXELS)}

    def _demux(self) -> Iterator[list[av.Packet]]:
        """All packets of the video, some at a time."""
        assert self._container is not None
        packets = self._container.demux(self._stream)
        num_read = 0
        at_end = False
        while not at_end:
            some = []
            try:
                for packet in itertools.islice(packets, _PACKETS_A_LOOK):
                    some.append(packet)
            except av.FFmpegError:
                # A file may end in the middle of a packet; what stands before it is good.
                if not num_read + len(some):
                    raise
                at_end = True
            except IndexError:
                # PyAV stumbles at the end of a file in which streams have appeared since it was opened.
                at_end = True
            self._check_time()
            at_end = at_end or not some
            num_read += len(some)
            yield [packet for packet in some if packet.size]

    def _read_index(self) -> bool:
        """Learn what frames there are from the index that an MP4 file has at its start, so that only the packets around
        the wanted frames have to be read: where all frames last equally long and none is cut away. `_read_groups` then
        checks it against those packets. Whether it could be done."""
        assert self._container is not None
        stream, entries = self._stream, self._stream.index_entries
        num_frames = len(entries)
        if self._container.format.name != _STATED[0] or num_frames != stream.frames or stream.start_time is None:
            return False
        times = [entry.timestamp for entry in entries]
        step = times[1] - times[0] if num_frames > 1 else 0
        flags = [entry.flags for entry in entries]
        keyframes = [position for position, flag in enumerate(flags) if flag == _KEYFRAME]
        if (
            step <= 0
            or times != list(range(times[0], times[0] + num_frames * step, step))
            or len(keyframes) < 3  # most packets would be read anyway
            or keyframes[0] != 0
            or any(flag & ~_KEYFRAME for flag in flags)
            or max([entry.pos + entry.size for entry in entries]) > os.path.getsize(self._local_path)
        ):
            return False
        self._index_times, self._num_packets = times, num_frames
        self._index = PacketIndex([None] * num_frames, keyframes)
        self._shown = list(range(stream.start_time, stream.start_time + num_frames * step, step))
        self.info = VideoInfo(num_frames, self._frame_rate())
        return True

    def _read_groups(self, indices: Sequence[int]) -> bool:
        """Read the packets from the keyframe before each frame at `indices` up to the next keyframe. Whether they are
        what the file's index said: each group shows the frames of its place, and no others, the keyframe first."""
        times = self._index_times
        assert self._container is not None
        assert self._shown is not None
        assert times is not None
        keyframes = [*self._index.keyframes, self._num_packets]
        groups = sorted({bisect_right(keyframes, index) - 1 for index in indices})
        pts: list[int | None] = [None] * self._num_packets
        packets: list[av.Packet | None] = [None] * self._num_packets
        reader: Iterator[av.Packet] = iter(())
        end = -1
        for group in groups:
            start, stop = keyframes[group : group + 2]
            if start != end:
                # The keyframe's time of being shown, not of decoding: libav goes to the keyframe at or before that.
                self._container.seek(self._shown[start], stream=self._stream)
                reader = self._container.demux(self._stream)
            end = stop
            self._check_time()
            some = list(itertools.islice(reader, stop - start))
            shown = [packet.pts for packet in some if packet.pts is not None and not packet.is_discard]
            if sorted(shown) != self._shown[start:stop] or some[0].dts != times[start]:
                return False
            if shown[0] != self._shown[start]:  # an open group: its first frames need the group before it
                return False
            pts[start:stop], packets[start:stop] = shown, some
        self._index, self._packets = PacketIndex(pts, self._index.keyframes), packets
        return True

    def _read_packets(self) -> None:
        kept: list[av.Packet] | None = []
        kept_bytes = 0
        pts: list[int | None] = []
        keyframes: list[int] = []
        hidden: set[int] = set()
        for packets in self._demux():
            keyframes += [len(pts) + place for place, packet in enumerate(packets) if packet.is_keyframe]
            hidden |= {len(pts) + place for place, packet in enumerate(packets) if packet.is_discard}
            if self._codec.name == "vp8":
                hidden |= {len(pts) + place for place, packet in enumerate(packets) if not _vp8_is_shown(packet)}
            pts += [packet.pts for packet in packets]
            if kept is not None:
                kept += packets
                kept_bytes += sum([packet.size for packet in packets])
                if kept_bytes > _MAX_KEPT_BYTES:
                    kept = None
        self._index_times = None
        num_frames = len(pts) - len(hidden)
        if num_frames < 1:
            raise VideoDecodeError(f"{self.path}: the video has no frame")
        self._packets, self._num_packets = kept, len(pts)
        self._index = PacketIndex(pts, keyframes, hidden)
        assert self._container is not None
        # AVI knows the order of decoding alone; what libav gives for timestamps there is made up.
        self._shown = None if self._container.format.name == "avi" else self._index.shown
        self.info = VideoInfo(num_frames, self._frame_rate())

    def _frame_rate(self) -> float | None:
        """Measured from the timestamps; the header's, which is exact, where it agrees or nothing can be measured."""
        low, high = FPS_RANGE
        said = [float(rate) for rate in (self._stream.average_rate, self._stream.guessed_rate) if rate]
        said = [rate for rate in said if low <= rate <= high]
        if self._shown is not None and len(self._shown) > 1 and self._stream.time_base:
            measured = (len(self._shown) - 1) / float((self._shown[-1] - self._shown[0]) * self._stream.time_base)
            agreeing = [rate for rate in said if abs(rate - measured) <= 0.01 * measured]
            if low <= measured <= high:
                return agreeing[0] if agreeing else measured
        return said[0] if said else None

    def _packets_of(self, start: int, stop: int) -> Iterator[av.Packet]:
        """Packets `start` to `stop`, from memory, or from the file once more."""
        if self._packets is not None:
            yield from filter(None, self._packets[start:stop])
            return
        self._open(self._probed)
        yield from itertools.islice(itertools.chain.from_iterable(self._demux()), start, stop)

    # ---- decoding ----------------------------------------------------------------------------------------------------

    def _wanted_frames(self, indices: Sequence[int]) -> Iterator[av.VideoFrame]:
        """The frames at `indices`, as far as they come, in order."""
        if self._index_times is not None and not self._read_groups(indices):
            self._read_all_packets()
        if self._shown is None:
            yield from self._by_counting(indices)
            return
        delivered = 0
        for frame in self._by_timestamp(indices):
            yield frame
            delivered += 1
        if delivered < len(indices) and self._index_times is not None:
            self._read_all_packets()
            for frame in self._by_timestamp(indices[delivered:]):
                yield frame
                delivered += 1
        if delivered < len(indices) and not self._probed:
            # A decoder that was not told how far frames are reordered may drop the first ones.
            self._open(probe=True)
            self._read_packets()
            for frame in self._by_timestamp(indices[delivered:]):
                yield frame
                delivered += 1
        if delivered < len(indices) and self._codec.name == "h264":
            # H.264 may mark a frame as a keyframe from which the picture only builds up, over the next ones.
            yield from self._by_timestamp(indices[delivered:], from_start=True)

    def _read_all_packets(self) -> None:
        """The file's index does not tell all; the packets do."""
        promised = self.info.num_frames
        self._open(probe=False)
        self._read_packets()
        if self.info.num_frames != promised:
            raise FrameCountCorrected(
                f"{self.path}: the file's index has {promised} frames, its packets have {self.info.num_frames}"
            )

    def _by_timestamp(self, indices: Sequence[int], from_start: bool = False) -> Iterator[av.VideoFrame]:
        """The wanted frames, as far as they come, in order."""
        if self._shown is None or max(indices, default=-1) >= len(self._shown):
            return  # the video looked otherwise when it was read again
        wanted = [self._shown[index] for index in indices]
        is_wanted = set(wanted)
        next_wanted = 0
        for start, stop in [(0, self._num_packets)] if from_start else self._index.runs(is_wanted):
            for frame in self._decode_run(start, stop, is_wanted):
                if frame.pts == wanted[next_wanted]:
                    yield frame
                    next_wanted += 1
                    if next_wanted == len(wanted):
                        return

    def _decode_run(self, start: int, stop: int, wanted: set[int]) -> Iterator[av.VideoFrame]:
        """All frames that come of packets `start` to `stop`, the first of which is a keyframe. Those that no wanted one
        refers to need not come."""
        self._codec.flush_buffers()
        # H.264 says of every frame whether any other refers to it. HEVC says it for frames of the same layer only.
        may_skip = self._codec.name == "h264"
        skips = False
        for packet in self._packets_of(start, stop):
            if may_skip and skips is (packet.pts in wanted):
                skips = not skips
                self._codec.skip_frame = "NONREF" if skips else "DEFAULT"
            yield from self._decode(packet)
        # Ends the stream here: the decoder gives what it holds back, without being fed what follows.
        yield from self._decode(None)

    def _by_counting(self, indices: Sequence[int]) -> Iterator[av.VideoFrame]:
        """The wanted frames, as far as they come, in order, counted from the start of the video."""
        wanted = set(indices)
        last = indices[-1] if indices else -1
        for position, frame in enumerate(self._all_frames()):
            if position in wanted:
                yield frame
            if position >= last:
                return

    def _all_frames(self) -> Iterator[av.VideoFrame]:
        self._codec.flush_buffers()
        self._codec.skip_frame = "DEFAULT"
        for packet in self._packets_of(0, self._num_packets):
            yield from self._decode(packet)
        yield from self._decode(None)

    def _decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        self._check_time()
        try:
            return self._codec.decode(packet)
        except av.FFmpegError as error:
            # One damaged packet does not end a video: the frames that are missing are noticed.
            self._first_error = self._first_error or error
            return []

    _first_error: av.FFmpegError | None = None

    def _correct_count(self) -> VideoDecodeError:
        """Count the frames by decoding all; from here on they are found by counting."""
        promised, self._shown = self.info.num_frames, None
        num_frames = sum(1 for _ in self._all_frames())
        if not num_frames:
            return self._failure(self._first_error) if self._first_error else self._no_frame()
        self.info = replace(self.info, num_frames=num_frames)
        return FrameCountCorrected(f"{self.path}: {promised} frames were promised, {num_frames} can be decoded")

    def _to_rgb(self, frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
        rgb = self._reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
        plane = rgb.planes[0]
        # A view that keeps libav's memory alive for as long as it is used: nothing is copied.
        array = np.ndarray((height, width, 3), np.uint8, buffer=plane, strides=(plane.line_size, 3, 1))  # type: ignore[arg-type]
        turns = quarter_turns(frame)
        return np.rot90(array, turns) if turns else array

    def _check_time(self) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise self._too_late()

    def _too_late(self) -> VideoDecodeError:
        return VideoDecodeError(f"{self.path}: not decoded within {self._timeout:g} s")

    def _no_frame(self) -> VideoDecodeError:
        return VideoDecodeError(f"{self.path}: the video has no frame that can be decoded")

    def _failure(self, error: Exception) -> VideoDecodeError:
        if isinstance(error, VideoDecodeError):
            return error
        if isinstance(error, av.error.ExitError) and self._timeout is not None:  # libav was told to stop waiting
            return self._too_late()
        return VideoDecodeError(f"{self.path}: cannot be decoded: {type(error).__name__}: {error}")


def quarter_turns(frame: av.VideoFrame) -> int:
    """How many quarters the picture has to be turned to stand upright, against the clock."""
    return round(frame.rotation / 90) % 4


def upright_pixel_aspect(stream: av.VideoStream, frame: av.VideoFrame) -> Fraction | None:
    """Width over height of the upright picture's pixels; None: the file does not tell."""
    said = stream.sample_aspect_ratio
    if not said:
        return None
    return 1 / said if quarter_turns(frame) % 2 else said


def _is_picture(stream: av.VideoStream) -> bool:
    """Whether a "video" stream is the cover of an audio file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _regular_file(path: str) -> str:
    """The file of this machine at `path`, as libav takes for one whatever its name: "12:30.mp4" is no protocol."""
    local_path = os.path.abspath(g_pathmgr.get_local_path(path))
    if not stat.S_ISREG(os.stat(local_path).st_mode):
        raise VideoDecodeError(f"{path}: is a folder, pipe or device, not a file")
    return local_path


def _vp8_is_shown(packet: av.Packet) -> bool:
    """Whether a VP8 frame is more than a reference for others (RFC 6386, section 9.1)."""
    return bool(memoryview(packet)[0] & 0x10)

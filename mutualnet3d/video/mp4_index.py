"""Index that an MP4 file has at its start, instead of its packets: only those around the chosen frames are read."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import av

from mutualnet3d.video.container import MP4, VideoContainer
from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.packet_index import PacketIndex
from mutualnet3d.video.packet_list import MAX_PACKETS, SKIPPING, PacketList
from mutualnet3d.video.parameter_sets import ParameterSets, codec_may_be_444, is_of_old_x264
from mutualnet3d.video.picture_order import TimesCheck

# Flag of an entry: decoding can begin there. Any other flag says that there is something about it.
_KEYFRAME = 1

# Entries between two looks at the clock.
_BATCH = 4096

# libav's names of codecs whose packets alone say which frames there are.
_READ_WHOLE = frozenset(["mpeg4", "vp8", "vp9"])


class Mp4Index:
    """Frames that an MP4 file's index promises: evenly spaced, none cut away.

    Args:
        container: the file.
        deadline: time that reading may take.
        decoding_times: times at which the packets are decoded, ascending, in units of the stream.
        timestamps: times at which the frames are shown, ascending, likewise.
        keyframes: positions of the packets at which decoding can begin, ascending.
    """

    def __init__(
        self,
        container: VideoContainer,
        deadline: Deadline,
        decoding_times: Sequence[int],
        timestamps: list[int],
        keyframes: Sequence[int],
    ):
        self._container, self._deadline = container, deadline
        self._decoding_times, self.timestamps, self._keyframes = decoding_times, timestamps, keyframes

    @property
    def num_frames(self) -> int:
        """Number of frames that the index has."""
        return len(self.timestamps)

    def load(self, indices: Sequence[int]) -> PacketList | None:
        """Read the packets from the keyframe before each frame at `indices` up to the next keyframe.

        Args:
            indices: numbers of the frames, from 0.

        Returns:
            The packets, those of other groups left out. None: they are not what the index said. Each group must show
            the frames of its place, and no others, the keyframe first, and be decoded as the first one is.
        """
        codec, num_packets = self._container.codec, len(self.timestamps)
        borders = [*self._keyframes, num_packets]
        groups = sorted({bisect_right(borders, index) - 1 for index in indices})
        pts: list[int | None] = [None] * num_packets
        packets: list[av.Packet | None] = [None] * num_packets
        if groups and groups[0] and codec_may_be_444(codec):
            self._container.seek(self.timestamps[0])
            if is_of_old_x264(codec, next(self._container.packets())):
                return None
        check, sets = TimesCheck(codec), ParameterSets(codec)
        reader: Iterator[av.Packet] = iter(())
        end = -1
        for group in groups:
            start, stop = borders[group : group + 2]
            if start != end:
                # The keyframe's time of being shown, not of decoding: libav goes to the keyframe at or before that.
                self._container.seek(self.timestamps[start])
                reader = self._container.packets()
            end = stop
            self._deadline.check()
            read = list(itertools.islice(reader, stop - start))
            shown = [packet.pts for packet in read if packet.pts is not None and not packet.is_discard]
            if sorted(shown) != self.timestamps[start:stop] or read[0].dts != self._decoding_times[start]:
                return None
            if shown[0] != self.timestamps[start]:  # an open group: its first frames need the group before it
                return None
            if read[0].has_sidedata("new_extradata") or (not start and is_of_old_x264(codec, read[0])):
                return None
            if sets.add(read[0]):
                return None
            check.add(read)
            if not check.take():
                return None
            pts[start:stop], packets[start:stop] = shown, read
        index = PacketIndex(pts, self._keyframes)
        may_skip = codec.name in SKIPPING
        times = self.timestamps
        return PacketList(self._container, self._deadline, index, packets, times, times, may_skip=may_skip)


def read_mp4_index(container: VideoContainer, deadline: Deadline) -> Mp4Index | None:
    """Return the index of a file that was just opened; None: it is no MP4 file, or its index does not tell enough."""
    stream, entries = container.stream, container.stream.index_entries
    num_frames = len(entries)
    if (
        container.format != MP4
        or container.codec.name in _READ_WHOLE
        or num_frames != stream.frames
        or stream.start_time is None
    ):
        return None
    if num_frames > MAX_PACKETS:
        return None
    times: list[int] = []
    flags: list[int] = []
    end = 0
    rest = iter(entries)
    while batch := [(entry.timestamp, entry.flags, entry.pos + entry.size) for entry in itertools.islice(rest, _BATCH)]:
        deadline.check()
        batch_times, batch_flags, ends = zip(*batch, strict=True)
        times += batch_times
        flags += batch_flags
        end = max(end, *ends)
    step = times[1] - times[0] if num_frames > 1 else 0
    keyframes = [position for position, flag in enumerate(flags) if flag == _KEYFRAME]
    if (
        step <= 0
        or times != list(range(times[0], times[0] + num_frames * step, step))
        or len(keyframes) < 3  # most packets would be read anyway
        or keyframes[0] != 0
        or any(flag & ~_KEYFRAME for flag in flags)
        or end > container.num_bytes
    ):
        return None
    timestamps = list(range(stream.start_time, stream.start_time + num_frames * step, step))
    return Mp4Index(container, deadline, times, timestamps, keyframes)

"""All packets of a video, which say what frames there are and when each is shown, whatever the headers claim."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence

import av

from mutualnet3d.video.container import VideoContainer
from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.frame_times import times_of_showing
from mutualnet3d.video.packet_index import PacketIndex

# Packets of more bytes in all are not kept between reading and decoding but read again.
_MAX_KEPT_BYTES = 64 << 20

# A packet in memory costs that much beside its bytes.
_PACKET_BYTES = 1 << 10

# 19 hours at 30 frames per second. What is noted of more packets would need more than a gigabyte.
MAX_PACKETS = 1 << 21

# No codec's frames are so small, in bytes, on the average of so many packets.
_LEAST_BYTES, _MANY_PACKETS = 8, 1 << 16

# Packets between two looks at the clock.
_BATCH = 32


class PacketList:
    """Packets of a video in the order of the file, in memory or to be read once more.

    Args:
        container: the file; to be read again where the packets are not kept.
        deadline: time that reading may take.
        index: times and keyframes of the packets.
        packets: the packets, None for those that nobody needs; or None: they are read again.
        timestamps: times of the shown frames, ascending, in units of the stream; None: only decoding from the start
            says which frame comes when.
        times: times of the shown frames, where they are known without `timestamps`: AVI has those of decoding, whose
            distances are the same.
    """

    def __init__(
        self,
        container: VideoContainer,
        deadline: Deadline,
        index: PacketIndex,
        packets: Sequence[av.Packet | None] | None,
        timestamps: list[int] | None,
        times: list[int | None] | None = None,
    ):
        self._container, self._deadline = container, deadline
        self.index, self._packets, self.timestamps = index, packets, timestamps
        self.times: Sequence[int | None] | None = timestamps if times is None else times

    @property
    def num_packets(self) -> int:
        return len(self.index.pts)

    @property
    def num_frames(self) -> int:
        """Number of the packets whose frame is shown."""
        return len(self.index.pts) - len(self.index.hidden)

    def packets(self, start: int, stop: int) -> Iterator[av.Packet]:
        """Yield the packets from `start` up to `stop`; the decoder may be a new one afterwards."""
        if self._packets is not None:
            return filter(None, self._packets[start:stop])
        self._container.open(self._container.is_probed)
        return itertools.islice(itertools.chain.from_iterable(_batches(self._container, self._deadline)), start, stop)

    def runs(self, timestamps: Collection[int]) -> list[tuple[int, int]]:
        """Return the stretches of packets to decode for the frames at `timestamps`: see `PacketIndex.runs`."""
        return self.index.runs(timestamps)


def read_packets(container: VideoContainer, deadline: Deadline) -> PacketList:
    """Read all packets of a file that was just opened.

    Raises:
        VideoDecodeError: there is no frame; there are too many; the time is over.
        av.FFmpegError: the file cannot be read.
    """
    kept: list[av.Packet] | None = []
    kept_bytes = num_bytes = 0
    pts: list[int | None] = []
    keyframes: list[int] = []
    hidden: set[int] = set()
    decoding_times: list[int | None] = []
    is_vp8 = container.codec.name == "vp8"
    for packets in _batches(container, deadline):
        keyframes += [len(pts) + place for place, packet in enumerate(packets) if packet.is_keyframe]
        hidden |= {len(pts) + place for place, packet in enumerate(packets) if packet.is_discard}
        if is_vp8:
            hidden |= {len(pts) + place for place, packet in enumerate(packets) if not _vp8_is_shown(packet)}
        pts += [packet.pts for packet in packets]
        if not container.has_times:
            decoding_times += [packet.dts for packet in packets]
        batch_bytes = sum([packet.size for packet in packets])
        num_bytes += batch_bytes
        if len(pts) > _MANY_PACKETS and num_bytes < _LEAST_BYTES * len(pts):
            raise VideoDecodeError(
                f"{container.name}: the first {len(pts)} packets have {num_bytes} bytes, too few for frames"
            )
        if len(pts) > MAX_PACKETS:
            raise VideoDecodeError(f"{container.name}: the video has more than {MAX_PACKETS} packets; cut it")
        if kept is not None:
            kept += packets
            kept_bytes += batch_bytes + _PACKET_BYTES * len(packets)
            if kept_bytes > _MAX_KEPT_BYTES:
                kept = None
    if len(pts) - len(hidden) < 1:
        raise VideoDecodeError(f"{container.name}: the video has no frame")
    index = PacketIndex(pts, keyframes, hidden)
    if container.has_times:
        return PacketList(container, deadline, index, kept, index.shown)
    times = [time for place, time in enumerate(decoding_times) if place not in hidden]
    return PacketList(container, deadline, index, kept, None, times_of_showing(times, container.codec.reorder_depth))


def _batches(container: VideoContainer, deadline: Deadline) -> Iterator[list[av.Packet]]:
    """Yield all packets of a video, some at a time."""
    packets = container.packets()
    while batch := list(itertools.islice(packets, _BATCH)):
        deadline.check()
        yield batch


def _vp8_is_shown(packet: av.Packet) -> bool:
    """Tell whether a VP8 frame is more than a reference for others (RFC 6386, section 9.1)."""
    return bool(memoryview(packet)[0] & 0x10)

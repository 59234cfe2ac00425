"""Packets of a video, all of them: they tell number and times of the frames, whatever the headers claim."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence

import av

from mutualnet3d.video.container import VideoContainer
from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.frame_times import times_of_showing
from mutualnet3d.video.packet_claims import PacketClaims
from mutualnet3d.video.packet_index import PacketIndex

# Packets of more bytes in all are not held between reading and decoding but read again.
_MAX_KEPT_BYTES = 64 << 20

# A packet in memory costs that much beside its bytes.
_PACKET_BYTES = 1 << 10

# 19 hours at 30 frames per second. What is noted of more packets would need more than a gigabyte.
MAX_PACKETS = 1 << 21

# No codec's frames are so small, in bytes, on the average of so many packets.
_LEAST_BYTES, _MANY_PACKETS = 8, 1 << 16

# H.264 says of every frame whether any other refers to it, and MPEG-4 Part 2 by its kind. HEVC says it for frames of
# the same layer only.
SKIPPING = frozenset(["h264", "mpeg4"])

# Packets between two looks at the clock.
_BATCH = 32


class PacketList:
    """Packets of a video in the order of the file, in memory or to be read once more.

    Args:
        container: the file; to be read again where the packets are not held.
        deadline: time that reading may take.
        index: keys and keyframes of the packets. The frame of a packet has its key as timestamp.
        packets: the packets, None for those that nobody needs; or None: they are read again.
        keys: keys of the shown frames, in the order of being shown; None: only decoding from the start says which
            frame comes when.
        timestamps: times of the shown frames, ascending, in units of the stream, but for a constant; None: not known.
        is_renumbered: True if the keys are not the timestamps that the file gives its packets.
        may_skip: True if the decoder may pass over frames to which no other refers.
    """

    def __init__(
        self,
        container: VideoContainer,
        deadline: Deadline,
        index: PacketIndex,
        packets: Sequence[av.Packet | None] | None,
        keys: list[int] | None,
        timestamps: Sequence[int | None] | None,
        is_renumbered: bool = False,
        may_skip: bool = False,
    ):
        self._container, self._deadline = container, deadline
        self.index, self._packets, self.keys, self.timestamps = index, packets, keys, timestamps
        self.is_renumbered, self.may_skip = is_renumbered, may_skip

    @property
    def num_packets(self) -> int:
        """Number of packets."""
        return len(self.index.keys)

    @property
    def num_frames(self) -> int:
        """Number of the packets whose frame is shown."""
        return len(self.index.keys) - len(self.index.hidden)

    def packets(self, start: int, stop: int) -> Iterator[av.Packet]:
        """Yield the packets from `start` up to `stop`; the decoder may be a new one afterwards."""
        if self._packets is not None:
            packets: Iterator[av.Packet | None] = iter(self._packets[start:stop])
        else:
            self._container.restart()
            batches = _batches(self._container, self._deadline)
            packets = itertools.islice(itertools.chain.from_iterable(batches), start, stop)
        if not self.is_renumbered:
            return filter(None, packets)
        return self._renumbered(packets, start)

    def _renumbered(self, packets: Iterator[av.Packet | None], start: int) -> Iterator[av.Packet]:
        for position, packet in enumerate(packets, start):
            if packet is not None:
                packet.pts = self.index.keys[position]
                yield packet

    def forget_keys(self) -> None:
        """Forget the order: from here on only the decoding of all packets, as they are in the file, says it."""
        self.keys = None
        if self.is_renumbered:
            self._packets, self.is_renumbered = None, False

    def runs(self, keys: Collection[int]) -> list[tuple[int, int]]:
        """Return the stretches of packets to decode for the frames of some keys: see `PacketIndex.runs`."""
        return self.index.runs(keys)


def read_packets(container: VideoContainer, deadline: Deadline) -> PacketList:
    """Read all packets of a file that was just opened.

    Args:
        container: file that was just opened.
        deadline: time that reading may take.

    Raises:
        VideoDecodeError: there is no frame; there are too many; the time is over.
        av.FFmpegError: the file cannot be read.
    """
    held: list[av.Packet | None] | None = []
    kept_bytes = num_bytes = 0
    pts: list[int | None] = []
    decoding_times: list[int | None] = []
    keyframes: list[int] = []
    hidden: set[int] = set()
    claims = PacketClaims(container)
    for packets in _batches(container, deadline):
        keyframes += [len(pts) + place for place, packet in enumerate(packets) if packet.is_keyframe]
        hidden |= {len(pts) + place for place, packet in enumerate(packets) if packet.is_discard}
        fed = claims.add(packets)
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
        if held is not None:
            held += fed
            kept_bytes += batch_bytes + _PACKET_BYTES * len(packets)
            if kept_bytes > _MAX_KEPT_BYTES:
                held = None
    order = claims.order()
    hidden |= claims.hidden if order is None else set(order.hidden)
    if len(pts) - len(hidden) < 1:
        raise VideoDecodeError(f"{container.name}: the video has no frame")
    times = PacketIndex(pts, keyframes, hidden)
    index = times if order is None else PacketIndex(order.places, order.keyframes, hidden)
    shown_times: Sequence[int | None] | None = PacketIndex(pts, (), hidden).shown
    if not container.has_times:
        shown = [time for place, time in enumerate(decoding_times) if place not in hidden]
        shown_times = times_of_showing(shown, container.codec.reorder_depth)
    keys = None
    if order is not None or container.has_times:
        keys = index.shown if claims.are_believed and (held is not None or not claims.are_changed) else None
    return PacketList(
        container,
        deadline,
        index,
        held,
        keys,
        shown_times,
        is_renumbered=order is not None or claims.are_changed,
        may_skip=container.codec.name in SKIPPING,
    )


def _batches(container: VideoContainer, deadline: Deadline) -> Iterator[list[av.Packet]]:
    """Yield all packets of a video, some at a time."""
    packets = container.packets()
    while batch := list(itertools.islice(packets, _BATCH)):
        deadline.check()
        yield batch

"""Timestamps against the order in which a codec shows its pictures: those that contradict it are wrong.

Frames that are asked for alone are chosen by the timestamps of packets. Where these are not in the order of being
shown, neighbours are swapped, and nothing else tells it: most packets are not decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

import av

from mutualnet3d.video.bits import NotUnderstood
from mutualnet3d.video.h264_order import H264Order
from mutualnet3d.video.hevc_order import HevcOrder
from mutualnet3d.video.mpeg2_order import Mpeg2Order


class _Order(Protocol):
    def add(self, packet: av.Packet) -> int: ...


class TimesCheck:
    """Check of timestamps, for packets that are added in the order of the file.

    Args:
        codec: decoder of the video.
    """

    def __init__(self, codec: av.VideoCodecContext):
        self._times: list[int | None] = []
        self._numbers: list[int] = []
        self._is_understood = True
        self._order: _Order | None = None
        # Of codecs whose pictures are not read here all that is known is that some are not shown as they are decoded.
        self._is_reordered = codec.has_b_frames and codec.name not in _ORDERS
        try:
            if codec.name in _ORDERS:
                self._order = _ORDERS[codec.name](codec)
        except NotUnderstood:
            self._is_understood = False

    def add(self, packets: Sequence[av.Packet]) -> None:
        """Add the next packets."""
        if self._is_reordered:
            self._times += [packet.pts for packet in packets]
        if self._order is None or not self._is_understood:
            return
        add = self._order.add
        try:
            self._numbers += [add(packet) for packet in packets]
        except NotUnderstood:
            self._is_understood = False
        self._times += [packet.pts for packet in packets]

    def take(self) -> bool:
        """Return True if the packets since the last call have timestamps in the order in which they are shown.

        It is False if theirs is another, or if that order cannot be told. The packets are forgotten.
        """
        times, numbers = self._times, self._numbers
        self._times, self._numbers = [], []
        if not self._is_understood or None in times:
            return False
        if self._is_reordered:
            return any(later <= time for time, later in pairwise(times))  # type: ignore[operator]
        in_order = [number for _, number in sorted(zip(times, numbers, strict=True))]
        return in_order == sorted(in_order)


_ORDERS: dict[str, Callable[[av.VideoCodecContext], _Order]] = {
    "h264": H264Order,
    "hevc": HevcOrder,
    "mpeg1video": lambda codec: Mpeg2Order(),
    "mpeg2video": lambda codec: Mpeg2Order(),
}

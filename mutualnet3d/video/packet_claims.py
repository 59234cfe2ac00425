"""Claims of a video's packets about its frames, beside the timestamps that their container gives them."""

from __future__ import annotations

import av

from mutualnet3d.video.bits import NotUnderstood
from mutualnet3d.video.container import MP4, VideoContainer
from mutualnet3d.video.hidden_frames import shown_frames_counter
from mutualnet3d.video.jpeg import JpegCheck
from mutualnet3d.video.mpeg4_order import DisplayOrder, Mpeg4Order
from mutualnet3d.video.parameter_sets import ParameterSets, is_of_old_x264
from mutualnet3d.video.picture_order import TimesCheck

# libav's names of codecs whose frames are shown in the order of the file.
_IN_FILE_ORDER = frozenset(
    """mjpeg msmpeg4 msmpeg4v1 msmpeg4v2 wmv1 wmv2 h263 flv ffv1 huffyuv ffvhuff utvideo dvvideo rawvideo
    cinepak""".split()  # noqa: SIM905 - one name a line would hide the list
)
_MAY_REORDER = frozenset(["h264", "hevc"])


class PacketClaims:
    """Claims of all packets of a video, added in the order of the file.

    Args:
        container: the file, which was just opened.

    Attributes:
        hidden: positions of the packets that show no frame, by their codec.
        are_believed: False if frames may only be taken from a decoder that began at the start of the file.
        are_changed: True if the packets to be decoded are not those of the file.
    """

    def __init__(self, container: VideoContainer):
        self._container, codec = container, container.codec
        self._count_shown = shown_frames_counter(codec.name)
        self._sets = ParameterSets(codec) if codec.name in ("h264", "hevc") else None
        self._jpeg = JpegCheck() if codec.name == "mjpeg" else None
        self._mpeg4 = self._new_mpeg4_order() if codec.name == "mpeg4" else None
        self._has_new_headers = container.format in (MP4, "flv")
        self._num_packets = 0
        self._times = TimesCheck(codec) if container.has_times and codec.name != "mpeg4" else None
        self._keyframes: list[int] = []
        self.hidden: set[int] = set()
        self.are_changed = False
        self.are_believed = codec.name != "mpeg4" or self._mpeg4 is not None

    def add(self, packets: list[av.Packet]) -> list[av.Packet | None]:
        """Add the next packets; return those to be decoded in their places."""
        start = self._num_packets
        if not start and packets and is_of_old_x264(self._container.codec, packets[0]):
            self.are_believed = False
        self._num_packets += len(packets)
        if self._container.format == "avi":
            self._keyframes += [start + place for place, packet in enumerate(packets) if packet.is_keyframe]
        if self._sets is not None:
            for packet in packets:
                if packet.is_keyframe:
                    self._sets.add(packet)
        if self._jpeg is not None and self.are_believed:
            self.are_believed = all(map(self._jpeg.is_whole, packets))
        if self._count_shown is not None:
            counts = [self._count_shown(packet) for packet in packets]
            self.hidden |= {start + place for place, count in enumerate(counts) if not count}
            self.are_believed &= max(counts) < 2
        if self._has_new_headers and self.are_believed:
            # A change that no keyframe comes with is no valid MP4 file's.
            first = 0 if start else 1
            changeable = [packet for packet in packets[first:] if packet.is_keyframe or self._container.format != MP4]
            self.are_believed = not any(map(self._has_other_headers, changeable))
        if self._times is not None and self.are_believed:
            self._times.add(packets)
        if self.are_believed and self._sets is not None:
            self.are_believed = not any(map(_is_shown_too_early, packets))
        return list(packets) if self._mpeg4 is None else self._one_picture_each(self._mpeg4, packets)

    def _has_other_headers(self, packet: av.Packet) -> bool:
        if not packet.has_sidedata("new_extradata"):
            return False
        return bytes(packet.get_sidedata("new_extradata")) != self._container.codec.extradata

    def _one_picture_each(self, order: Mpeg4Order, packets: list[av.Packet]) -> list[av.Packet | None]:
        fed: list[av.Packet | None] = []
        try:
            for packet in packets:
                data = bytes(packet)
                needed = order.add(data)
                if needed is data:
                    fed.append(packet)
                    continue
                self.are_changed = True
                fed.append(_like(packet, needed) if needed else None)
        except NotUnderstood:
            self._mpeg4, self.are_believed = None, False
            return [*fed, *packets[len(fed) :]]
        return fed

    def order(self) -> DisplayOrder | None:
        """Return the order that the packets state, or that their codec has; None: only timestamps tell one."""
        self.are_believed &= self._times is None or self._times.take()
        self.are_believed &= self._sets is None or self._sets.are_known
        if self._mpeg4 is not None:
            try:
                return self._mpeg4.finish()
            except NotUnderstood:
                self.are_believed = False
                return None
        codec = self._container.codec
        # libav has decoded the first frames of an AVI file, and knows whether it holds any back.
        is_in_file_order = codec.name in _IN_FILE_ORDER or (codec.name in _MAY_REORDER and not codec.has_b_frames)
        if self._container.format == "avi" and is_in_file_order:
            return DisplayOrder(range(self._num_packets), self._keyframes)
        return None

    def _new_mpeg4_order(self) -> Mpeg4Order | None:
        try:
            return Mpeg4Order(self._container.codec.extradata or b"")
        except NotUnderstood:
            return None


def _is_shown_too_early(packet: av.Packet) -> bool:
    """Tell whether a frame is to be shown before it can be decoded: its timestamp is false."""
    return packet.pts is not None and packet.dts is not None and packet.pts < packet.dts


def _like(packet: av.Packet, data: bytes) -> av.Packet:
    """Return a packet of the same times with other data."""
    copy = av.Packet(len(data))  # of bytes it would lack the zeros at its end that decoders read
    copy.update(data)
    copy.dts, copy.pts, copy.time_base, copy.is_keyframe = packet.dts, packet.pts, packet.time_base, packet.is_keyframe
    return copy

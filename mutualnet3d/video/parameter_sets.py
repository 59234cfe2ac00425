"""Data that a decoder of H.264 and HEVC must have seen before a keyframe: parameter sets within the stream, and the
note of the encoder in the first packet."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import av

# High 4:4:4 Predictive, whose lossless blocks x264 wrote otherwise in old versions.
_HIGH_444 = 244
_FIXED_IN_BUILD = 151
_NOTE = re.compile(rb"x264 - core (\d+)")
_NOTE_BYTES = 1024
_START_CODE = re.compile(re.escape(b"\0\0\1"))

# Kinds of NAL units by codec: bits before the kind's in the first byte, its mask, parameter sets, parts of pictures.
_KINDS = {
    "h264": (0, 0x1F, frozenset([7, 8]), frozenset([1, 5])),
    "hevc": (1, 0x3F, frozenset([32, 33, 34]), range(32)),
}
_MOST_UNITS = 256  # before a picture; no encoder writes so many


def is_of_old_x264(codec: av.VideoCodecContext, first_packet: av.Packet) -> bool:
    """Tell whether libav decodes a video by the bugs of the x264 that made it, which only the first packet names."""
    if not codec_may_be_444(codec):
        return False
    note = _NOTE.search(bytes(memoryview(first_packet)[:_NOTE_BYTES]))
    return note is not None and int(note[1]) < _FIXED_IN_BUILD


def codec_may_be_444(codec: av.VideoCodecContext) -> bool:
    """Tell whether the profile of a video of H.264 is, or may be, that of lossless and 4:4:4 pictures."""
    if codec.name != "h264":
        return False
    extradata = codec.extradata or b""
    if extradata[:1] == b"\1" and len(extradata) > 1:  # avcC: the profile is its second byte
        return extradata[1] == _HIGH_444
    return True


class ParameterSets:
    """Parameter sets that stand in keyframes' packets, which must be those that a decoder knows that begins there.

    Args:
        codec: decoder of the video.
    """

    def __init__(self, codec: av.VideoCodecContext):
        self._codec, self._extradata = codec, codec.extradata or b""
        self._is_found = self._is_missing = False

    def add(self, keyframe: av.Packet) -> bool:
        """Read the packet of a keyframe; return True if it has sets that the container does not have."""
        has_sets = any(True for _ in self._in(keyframe))
        self._is_found |= has_sets
        self._is_missing |= not has_sets
        return has_sets

    @property
    def are_known(self) -> bool:
        """True if a decoder that begins at any of the keyframes has the sets that it would have from the start on."""
        return not (self._is_found and self._is_missing)

    def _in(self, packet: av.Packet) -> Iterator[bytes]:
        """Yield the parameter sets before the picture of a packet, without those that the container has too."""
        if self._codec.name not in _KINDS:
            return
        shift, mask, sets, pictures = _KINDS[self._codec.name]
        for unit in itertools.islice(self._units(packet), _MOST_UNITS):
            kind = unit[0] >> shift & mask
            if kind in pictures:
                return
            # A start code may have one more zero before it.
            if kind in sets and (whole := bytes(unit).rstrip(b"\0")) not in self._extradata:
                yield whole

    def _units(self, packet: av.Packet) -> Iterator[memoryview]:
        view = memoryview(packet)
        if self._extradata[:1] != b"\1":  # units with start codes
            ends = [match.start() for match in itertools.islice(_START_CODE.finditer(view), _MOST_UNITS)]
            for start, end in zip(ends, [*ends[1:], len(view)], strict=True):
                yield from [view[start + 3 : end]] if start + 3 < end else []
            return
        length_bytes = (self._extradata[4 if self._codec.name == "h264" else 21] & 3) + 1
        place = 0
        while place + length_bytes < len(view):
            start = place + length_bytes
            place = start + int.from_bytes(view[place:start])
            if start < min(place, len(view)):
                yield view[start:place]

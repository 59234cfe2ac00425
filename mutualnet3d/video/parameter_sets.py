"""Data that a decoder of H.264 and HEVC must have seen before a keyframe.

It is the parameter sets within the stream, and the note of the encoder in the first packet.
"""

from __future__ import annotations

import re

import av

from mutualnet3d.video.nal_units import KINDS, NalUnits

# High 4:4:4 Predictive, whose lossless blocks x264 wrote otherwise in old versions.
_HIGH_444 = 244
_FIXED_IN_BUILD = 151
_NOTE = re.compile(rb"x264 - core (\d+)")
_NOTE_BYTES = 1024


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
        self._extradata = codec.extradata or b""
        self._units = NalUnits(codec.name, self._extradata) if codec.name in KINDS else None
        self._is_found = self._is_missing = False

    def add(self, keyframe: av.Packet) -> bool:
        """Read the packet of a keyframe; return True if it has sets that the container does not have."""
        sets = self._units.before_picture(keyframe)[1] if self._units is not None else []
        has_sets = any(data not in self._extradata for data in sets)
        self._is_found |= has_sets
        self._is_missing |= not has_sets
        return has_sets

    @property
    def are_known(self) -> bool:
        """True if a decoder that begins at any of the keyframes has the sets that it would have from the start on."""
        return not (self._is_found and self._is_missing)

"""What a decoder of H.264 must have seen before a keyframe: the note of the encoder in the first packet."""

from __future__ import annotations

import re

import av

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

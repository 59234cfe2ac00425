"""Pictures that refer to later ones, told by their headers: where there are some, frames are not shown in the order in
which they are decoded, and timestamps that say so are wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import av

_SLICES = (1, 2, 5)  # kinds of NAL units that begin with a slice's header
_BASELINE = 66  # the profile that has no B-pictures
_MOST_UNITS = 256  # before a picture; no encoder writes so many
_MPEG2_PICTURE, _MPEG2_B = b"\0\0\1\0", 3


def b_picture_check(codec: av.VideoCodecContext) -> Callable[[av.Packet], bool] | None:
    """Return the function that tells whether a packet has a B-picture; of codecs that are not read here, but may have
    some, whether it may have one. None: the video has none."""
    if codec.name in ("mpeg1video", "mpeg2video"):
        return _is_mpeg2_b
    if codec.name != "h264":
        return (lambda packet: True) if codec.has_b_frames else None
    extradata = codec.extradata or b""
    if extradata[:1] != b"\1" or len(extradata) < 5:
        return _is_h264_b
    if extradata[1] == _BASELINE:
        return None
    return partial(_is_h264_b_with_lengths, (extradata[4] & 3) + 1)


def _is_mpeg2_b(packet: av.Packet) -> bool:
    data = bytes(packet)
    place = data.find(_MPEG2_PICTURE)
    return 0 <= place < len(data) - 5 and data[place + 5] >> 3 & 7 == _MPEG2_B


def _is_h264_b(packet: av.Packet) -> bool:
    """Read the kind of a picture's first slice (ITU-T H.264, 7.3.3), units being told apart by start codes."""
    data = bytes(packet)
    place = data.find(b"\0\0\1")
    for _ in range(_MOST_UNITS):
        if not 0 <= place < len(data) - 4:
            break
        if data[place + 3] & 0x1F in _SLICES:
            return _starts_b_slice(data[place + 4])
        place = data.find(b"\0\0\1", place + 3)
    return False


def _is_h264_b_with_lengths(length_bytes: int, packet: av.Packet) -> bool:
    """Read the same where units have their lengths before them."""
    view, place = memoryview(packet), 0
    for _ in range(_MOST_UNITS):
        start = place + length_bytes
        if start + 1 >= len(view):
            break
        if view[start] & 0x1F in _SLICES:
            return _starts_b_slice(view[start + 1])
        place = start + int.from_bytes(view[place:start])
    return False


def _starts_b_slice(first: int) -> bool:
    """Read the first byte of a picture's first slice, in Exp-Golomb code: macroblock 0 is "1", kinds 1 and 6 are B."""
    return first >> 4 == 0b1_010 or first >> 2 == 0b1_00111

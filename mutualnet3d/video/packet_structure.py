"""Packets that are broken so that a decoder gives no frame for them, as far as their outer structure shows it.

Frames are counted by their packets. Each packet that gives none moves the numbers of all frames after it.
"""

from __future__ import annotations

from collections.abc import Callable

import av

_H264_SLICES, _HEVC_SLICES = frozenset([1, 5]), frozenset(range(32))
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


def structure_check(codec: av.VideoCodecContext) -> Callable[[av.Packet], bool] | None:
    """Return the function that tells whether a packet is whole; None: packets of this codec are not looked at."""
    extradata = codec.extradata or b""
    if codec.name == "mjpeg":
        return _is_whole_jpeg
    if codec.name == "h264" and extradata[:1] == b"\1" and len(extradata) > 4:
        length_bytes = (extradata[4] & 3) + 1
        return lambda packet: _has_whole_units(packet, length_bytes, 0, 0x1F, _H264_SLICES)
    if codec.name == "hevc" and extradata[:1] == b"\1" and len(extradata) > 21:
        length_bytes = (extradata[21] & 3) + 1
        return lambda packet: _has_whole_units(packet, length_bytes, 1, 0x3F, _HEVC_SLICES)
    return None


def _has_whole_units(packet: av.Packet, length_bytes: int, shift: int, mask: int, slices: frozenset[int]) -> bool:
    """Tell whether the units of a packet fill it, and a part of a picture is among them."""
    view, place, has_slice = memoryview(packet), 0, False
    num_bytes = len(view)
    while place < num_bytes:
        start = place + length_bytes
        place = start + int.from_bytes(view[place:start])
        if place > num_bytes or start >= num_bytes:
            return False
        has_slice = has_slice or (view[start] >> shift & mask) in slices
    return has_slice


def _is_whole_jpeg(packet: av.Packet) -> bool:
    data = bytes(packet)
    return data.startswith(_JPEG_START) and data.rstrip(b"\0").endswith(_JPEG_END)

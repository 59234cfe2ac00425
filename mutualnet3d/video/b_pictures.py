"""Pictures that refer to later ones, told by their headers: where there are some, frames are not shown in the order in
which they are decoded, and timestamps that say so are wrong."""

from __future__ import annotations

import av

_PARTITIONS = (1, 2, 5)  # kinds of NAL units that begin with a slice's header
_B_SLICE, _NUM_KINDS = 1, 5
_MPEG2_PICTURE, _MPEG2_B = b"\0\0\1\0", 3


def may_be_b_picture(codec: av.VideoCodecContext, packet: av.Packet) -> bool:
    """Tell whether a packet has a B-picture; True where that is not known, of codecs that may have them."""
    if codec.name == "h264":
        return _is_h264_b(codec.extradata or b"", bytes(packet))
    if codec.name in ("mpeg1video", "mpeg2video"):
        data = bytes(packet)
        place = data.find(_MPEG2_PICTURE)
        return 0 <= place < len(data) - 5 and data[place + 5] >> 3 & 7 == _MPEG2_B
    return codec.has_b_frames


def _is_h264_b(extradata: bytes, data: bytes) -> bool:
    """Read the kind of a picture's first slice (ITU-T H.264, 7.3.3)."""
    if extradata[:1] == b"\1" and len(extradata) > 4:  # units with their lengths before them
        length_bytes = (extradata[4] & 3) + 1
        place = 0
        while place + length_bytes < len(data):
            size = int.from_bytes(data[place : place + length_bytes])
            place += length_bytes
            if data[place] & 0x1F in _PARTITIONS:
                return _slice_kind(data[place + 1 : place + 17]) == _B_SLICE
            place += size
        return False
    place = data.find(b"\0\0\1")
    while 0 <= place < len(data) - 3:
        if data[place + 3] & 0x1F in _PARTITIONS:
            return _slice_kind(data[place + 4 : place + 20]) == _B_SLICE
        place = data.find(b"\0\0\1", place + 3)
    return False


def _slice_kind(header: bytes) -> int:
    """Return the second of two numbers in Exp-Golomb code: after the place of the first macroblock."""
    bits = f"{int.from_bytes(header):0{8 * len(header)}b}"
    value = place = 0
    for _ in range(2):
        one = bits.find("1", place)
        if one < 0:
            return -1
        end = 2 * one - place + 1
        value = int(bits[one:end], 2) - 1 if end <= len(bits) else -1
        place = end
    return value % _NUM_KINDS if value >= 0 else -1

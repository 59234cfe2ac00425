"""NAL units of H.264 and HEVC (ITU-T H.264, 7.3.1; H.265, 7.3.1): parameter sets and the starts of pictures."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import av

# Bytes of a picture's first unit that are looked at: no header of a slice has its picture's number after them.
HEAD_BYTES = 32

_START_CODE = b"\0\0\1"
_ESCAPED, _ESCAPING = b"\0\0\3", b"\0\0"
_DELIMITER, _DELIMITER_BYTES = 9, 2
_MOST_UNITS = 256  # before a picture; no encoder writes so many
_AVCC_SETS, _HVCC_SETS = 5, 22  # bytes before the sets in MP4's headers


class _Kinds(NamedTuple):
    """Kinds of a codec's units.

    Args:
        shift: bits before the kind's in the first byte.
        mask: mask of the kind's bits.
        sets: kinds of parameter sets.
        pictures: kinds of parts of pictures.
    """

    shift: int
    mask: int
    sets: Collection[int]
    pictures: Collection[int]


KINDS = {
    "h264": _Kinds(0, 0x1F, frozenset([7, 8]), frozenset([1, 2, 5])),
    "hevc": _Kinds(1, 0x3F, frozenset([32, 33, 34]), range(32)),
}


class NalUnits:
    """NAL units of a video's packets.

    Args:
        codec_name: libav's name of the codec, a key of `KINDS`.
        extradata: headers that the container has; of MP4's form if units have their lengths before them.
    """

    def __init__(self, codec_name: str, extradata: bytes):
        self._kinds, self._extradata, self._is_h264 = KINDS[codec_name], extradata, codec_name == "h264"
        length_place = 4 if self._is_h264 else 21
        has_lengths = extradata[:1] == b"\1" and len(extradata) > length_place
        self._length_bytes = (extradata[length_place] & 3) + 1 if has_lengths else 0

    def sets_of_container(self) -> list[bytes]:
        """Return the parameter sets in the container's headers."""
        data = self._extradata
        if not self._length_bytes:
            return self._by_start_codes(data)[1]
        sets: list[bytes] = []
        place = _AVCC_SETS if self._is_h264 else _HVCC_SETS + 1
        for number in range(2 if self._is_h264 else data[_HVCC_SETS] if len(data) > _HVCC_SETS else 0):
            if self._is_h264:
                count, place = data[place : place + 1], place + 1
            else:
                count, place = data[place + 1 : place + 3], place + 3
            for _ in range(int.from_bytes(count) & (0x1F if self._is_h264 and not number else 0xFFFF)):
                start = place + 2
                place = start + int.from_bytes(data[place:start])
                if start < len(data):
                    sets.append(data[start:place])
        return sets

    def usual_head(self, packet: av.Packet, kind: int) -> bytes:
        """Return the first bytes of a packet that begins with a unit of a kind of H.264; empty: any other packet.

        Nothing but a delimiter may stand before the unit, and there are no start codes. Most packets are of that form.
        """
        length_bytes = self._length_bytes
        if not length_bytes:
            return b""
        data, start = memoryview(packet), length_bytes
        if len(data) < 2 * length_bytes + 4:
            return b""
        if data[start] == _DELIMITER and data[start - 1] == _DELIMITER_BYTES:
            start += _DELIMITER_BYTES + length_bytes
        return bytes(data[start : start + HEAD_BYTES]) if data[start] & 0x1F == kind else b""

    def before_picture(self, packet: av.Packet) -> tuple[bytes, list[bytes]]:
        """Return the first bytes of the first unit of a packet's picture, and the parameter sets before it.

        The bytes are empty if the packet has no picture.
        """
        if not self._length_bytes:
            return self._by_start_codes(bytes(packet))
        data, length_bytes, place = memoryview(packet), self._length_bytes, 0
        shift, mask, set_kinds, pictures = self._kinds
        sets: list[bytes] = []
        for _ in range(_MOST_UNITS):
            start = place + length_bytes
            if start >= len(data):
                break
            place = start + int.from_bytes(data[place:start])
            if place == start:
                continue
            kind = data[start] >> shift & mask
            if kind in pictures:
                return bytes(data[start : start + HEAD_BYTES]), sets
            if kind in set_kinds:  # zeros may follow, as a longer start code's
                sets.append(bytes(data[start:place]).rstrip(b"\0"))
        return b"", sets

    def _by_start_codes(self, data: bytes) -> tuple[bytes, list[bytes]]:
        shift, mask, set_kinds, pictures = self._kinds
        sets: list[bytes] = []
        place = data.find(_START_CODE)
        for _ in range(_MOST_UNITS):
            start = place + len(_START_CODE)
            if place < 0 or start >= len(data):
                break
            kind = data[start] >> shift & mask
            if kind in pictures:
                return data[start : start + HEAD_BYTES], sets
            place = data.find(_START_CODE, start)
            if kind in set_kinds:
                # A start code may have one more zero before it.
                sets.append(data[start : place if place >= 0 else len(data)].rstrip(b"\0"))
        return b"", sets


def unescaped(unit: bytes) -> bytes:
    """Return a unit without the bytes that keep start codes out of it (H.264, 7.4.1)."""
    return unit.replace(_ESCAPED, _ESCAPING) if _ESCAPED in unit else unit

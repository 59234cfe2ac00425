"""Pictures of MJPEG (ITU-T T.81, annex B), of which those with broken headers give no frame.

All later frames then have another number than their packet.
"""

from __future__ import annotations

import av

_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of a frame's header
_CODES, _TABLES, _SCAN = 0xC4, 0xDB, 0xDA
_LEAST_MARKER = 0xC0
_MOST_SEGMENTS = 256  # before a picture; no encoder writes so many
_MOST_TABLES, _LONGEST_CODE = 4, 16


class JpegCheck:
    """Check of the pictures of one video. Headers that came before are not read again."""

    def __init__(self) -> None:
        self._valid: set[bytes] = set()
        self._size = b""
        self._header, self._num_header_bytes = b"?", 0  # of the last picture

    def is_whole(self, packet: av.Packet) -> bool:
        """Tell whether a picture has its start, its end, headers that a decoder takes, and the first one's size.

        Broken ones give no frame, or, as it depends on the decoder's memory, parts of an earlier one.
        """
        data = bytes(packet)
        if not data.startswith(_START) or not (data.endswith(_END) or data.rstrip(b"\0").endswith(_END)):
            return False
        if data[: self._num_header_bytes] == self._header:  # those of the picture before
            return True
        place = 2
        for _ in range(_MOST_SEGMENTS):
            segment = data[place + 1 : place + 2 + int.from_bytes(data[place + 2 : place + 4])]
            if data[place] != 0xFF or len(segment) < 3 or place + 1 + len(segment) >= len(data):
                return False
            if segment not in self._valid:
                if not self._is_valid(segment[0], segment[3:]):
                    return False
                if len(self._valid) < _MOST_SEGMENTS:
                    self._valid.add(segment)
            place += 1 + len(segment)
            if segment[0] == _SCAN:
                self._header, self._num_header_bytes = data[:place], place
                return True
        return False

    def _is_valid(self, marker: int, body: bytes) -> bool:
        if marker in _FRAMES:
            self._size = self._size or body[:5]
            components = body[6:]
            factors, tables = components[1::3], components[2::3]
            has_factors = all(1 <= factor >> 4 <= 4 and 1 <= factor & 15 <= 4 for factor in factors)
            return (
                body[:5] == self._size
                and 1 <= len(tables) <= 4
                and len(components) == 3 * body[5]
                and has_factors
                and max(tables) < _MOST_TABLES
            )
        if marker == _CODES:
            return _are_codes(body)
        if marker == _TABLES:
            return _are_tables(body)
        if marker == _SCAN:
            numbers = body[2:-3:2]  # of the tables of each component
            return len(body) == 4 + 2 * body[0] and all(number >> 4 < 4 and number & 15 < 4 for number in numbers)
        return marker >= _LEAST_MARKER


def _are_codes(body: bytes) -> bool:
    """Tell whether Huffman tables are some (B.2.4.2): the codes of each fit into their bits."""
    while body:
        counts = body[1 : 1 + _LONGEST_CODE]
        size = 1 + _LONGEST_CODE + sum(counts)
        if body[0] >> 4 > 1 or body[0] & 15 >= _MOST_TABLES or len(body) < size:
            return False
        num_free = 1
        for count in counts:
            num_free = 2 * num_free - count
            if num_free < 0:
                return False
        body = body[size:]
    return True


def _are_tables(body: bytes) -> bool:
    """Tell whether quantisation tables are some (B.2.4.1)."""
    while body:
        size = 1 + 64 * (1 + (body[0] >> 4))
        if body[0] >> 4 > 1 or body[0] & 15 >= _MOST_TABLES or len(body) < size:
            return False
        body = body[size:]
    return True

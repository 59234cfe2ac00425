"""Order in which the pictures of MPEG-4 Part 2 are shown, by the headers in their packets.

AVI knows no times of being shown, copies of AVI in other containers have wrong ones, and keyframes are marked where
there are none: Xvid and DivX put two pictures into one packet and an empty one into the next, or packets of a byte in
the place of dropped frames. So the headers of the pictures (ISO/IEC 14496-2, 6.2.5) are read as libav's decoder reads
them, with its ways of passing over pictures, and say which packet brings which picture, and when.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mutualnet3d.video.bits import Bits, NotUnderstood

_PREFIX = b"\0\0\1"
_VISUAL_SEQUENCE, _USER_DATA, _GROUP, _PICTURE = 0xB0, 0xB2, 0xB3, 0xB6
_LAYERS = range(0x20, 0x30)
_PICTURE_CODE = _PREFIX + bytes([_PICTURE])
_INTRA, _BIDIRECTIONAL = 0, 2
_PREDICTED = 0x40  # bit of a picture's kind; libav keeps no second picture that has it
_SIMPLE, _ADVANCED_SIMPLE = 1, 17
_MOST_STARTS = 256  # before a picture; no encoder writes so many
_EXTENDED_ASPECT = 15
_RECTANGULAR = 0

# DivX's mark of a stream in which packets have two pictures.
_PACKED = re.compile(rb"DivX\d+(?:Build|b)\d+p")

# Bytes of a packet after a picture in which libav looks for no second one.
_LEAST_SECOND = 7


@dataclass(frozen=True)
class DisplayOrder:
    """Order of a video's pictures.

    Args:
        places: place of each packet's picture among all, in the order of being shown; negative: it has none.
        keyframes: positions of the packets at which decoding can begin, ascending.
        hidden: positions of the packets that bring no picture.
    """

    places: Sequence[int]
    keyframes: Sequence[int]
    hidden: Collection[int] = ()


@dataclass(frozen=True)
class _Picture:
    """Header of a picture.

    Args:
        kind: number of its coding: 0 by itself, 1 from the one before, 2 from both sides, 3 as 1 with motion of the
            whole.
        seconds: seconds since the last one that are not part of `ticks`.
        ticks: its time within the second.
        is_coded: False if it stands for the one before it.
    """

    kind: int
    seconds: int
    ticks: int
    is_coded: bool


class Mpeg4Order:
    """Reader of a video's packets, which come in the order of the file.

    Args:
        extradata: headers that the container has; empty if there are none.
    """

    def __init__(self, extradata: bytes):
        self._resolution = 0  # ticks of a second; 0: not told yet
        self._object_type = 0
        self._shows_as_decoded = self._is_told = False
        self._is_packed = False
        self._extradata = extradata
        self._headers: set[bytes] = set()
        self._num_bare_keyframes = 0  # keyframes without headers before them
        self._waiting = b""  # second picture of a packet, which the next packet brings out
        self._base = self._last_base = self._time = self._span = 0  # seconds, seconds, ticks, ticks
        self._num_references = 0
        self._uncoded: int | None = None  # position of a picture that is not coded, if the last one is of that kind
        self._kinds: list[int | None] = []
        self._keyframes: list[int] = []
        self._read_headers(extradata, _start_codes(extradata))

    def add(self, packet: bytes) -> bytes:
        """Read the next packet.

        Args:
            packet: bytes of the next packet, in the order of the file.

        Returns:
            The packet as a decoder needs it that may begin at any keyframe: with one picture that it can see. Empty:
            there is none.

        Raises:
            NotUnderstood: its headers are of a kind that is not read here.
        """
        starts = _start_codes(packet)
        if self._waiting and starts and packet[starts[0] + 3] == _VISUAL_SEQUENCE:
            self._waiting = b""
        waiting, self._waiting = self._waiting, b""
        place = next((start for start in starts if packet[start + 3] == _PICTURE), -1)
        if waiting:
            header, picture, rest = b"", self._picture_at(waiting, 0), 0
        elif place >= 0:
            header = self._read_headers(packet[:place], starts)
            picture, rest = self._picture_at(packet, place), place + 4
        elif starts:
            raise NotUnderstood("headers without a picture")
        else:
            self._kinds.append(None)
            return b""
        is_shown = self._follow(picture)
        if is_shown and picture.kind == _INTRA and not waiting:
            self._keyframes.append(len(self._kinds))
            self._num_bare_keyframes += not header
        self._headers |= {header} if header else set()
        self._kinds.append(picture.kind if is_shown else None)
        second = -1
        if is_shown and self._is_packed and len(packet) - rest > _LEAST_SECOND:
            second = packet.find(_PICTURE_CODE, rest)
            if 0 <= second < len(packet) - 4 and not packet[second + 4] & _PREDICTED:
                self._waiting = packet[second:]
        if waiting:
            return _without_second(waiting, waiting.find(_PICTURE_CODE, 4))
        return _without_second(packet, second) if self._waiting else packet

    def finish(self) -> DisplayOrder:
        """Return the order of all packets.

        Raises:
            NotUnderstood: a decoder that begins at a keyframe may not know all that it would from the start on.
        """
        if self._headers - {self._extradata} and (len(self._headers) > 1 or self._num_bare_keyframes):
            raise NotUnderstood("headers differ")
        places: list[int] = []
        last_reference: int | None = None
        next_place = 0
        for position, kind in enumerate(self._kinds):
            places.append(-1 - position)
            if kind is None:
                continue
            if kind == _BIDIRECTIONAL or self._shows_at_once:
                places[position] = next_place
                next_place += 1
                continue
            # A picture to which others refer is shown when the next one of them has come.
            if last_reference is not None:
                places[last_reference] = next_place
                next_place += 1
            last_reference = position
        if last_reference is not None:
            places[last_reference] = next_place
            next_place += 1
        if self._uncoded is not None and self._shows_at_once and next_place:
            places[self._uncoded] = next_place  # the decoder ends with its last picture once more
        elif self._uncoded is not None and last_reference is not None:
            # The last picture comes at the end, and with the times of the last packet.
            places[self._uncoded], places[last_reference] = places[last_reference], -1 - last_reference
        hidden = {position for position, place in enumerate(places) if place < 0}
        return DisplayOrder(places, [position for position in self._keyframes if position not in hidden], hidden)

    @property
    def _shows_at_once(self) -> bool:
        """True if libav's decoder holds no picture back, as long as it meets no B-picture."""
        return self._shows_as_decoded if self._is_told else self._object_type in (_SIMPLE, _ADVANCED_SIMPLE)

    # ---- headers -----------------------------------------------------------------------------------------------------

    def _read_headers(self, data: bytes, starts: Sequence[int]) -> bytes:
        """Read what stands before a picture; return it, without the time of day."""
        end = len(data)
        for start in starts:
            code = data[start + 3] if start + 3 < len(data) else 0
            if code in _LAYERS:
                self._read_layer(data[start + 4 :])
            elif code == _USER_DATA and _PACKED.match(data[start + 4 : start + 64]):
                self._is_packed = True
            elif code == _GROUP:
                end = min(end, start)
                bits = Bits(data[start + 4 : start + 8])
                hours, minutes, _, seconds = (bits.take(count) for count in (5, 6, 1, 6))
                self._base = seconds + 60 * (minutes + 60 * hours)
        return data[:end]

    def _read_layer(self, data: bytes) -> None:
        bits = Bits(data[:40])
        bits.take(1)
        self._object_type = bits.take(8)
        if bits.take(1):
            bits.take(7)
        if bits.take(4) == _EXTENDED_ASPECT:
            bits.take(16)
        self._is_told = bool(bits.take(1))
        if self._is_told:
            bits.take(2)
            self._shows_as_decoded = bool(bits.take(1))
            if bits.take(1):
                bits.take(79)
        if bits.take(2) != _RECTANGULAR:
            raise NotUnderstood("objects of other shapes than the picture's")
        bits.take(1)
        self._resolution = bits.take(16)

    def _picture_at(self, packet: bytes, place: int) -> _Picture:
        if not self._resolution:
            raise NotUnderstood("no header comes before the first picture")
        bits = Bits(packet[place + 4 : place + 24])
        kind, seconds = bits.take(2), 0
        while bits.take(1):
            seconds += 1
        marks = bits.take(1)
        ticks = bits.take(max(1, (self._resolution - 1).bit_length()))
        if not marks or not bits.take(1):
            raise NotUnderstood("the time is written otherwise")
        return _Picture(kind, seconds, ticks, bool(bits.take(1)))

    def _follow(self, picture: _Picture) -> bool:
        """Go on to the next picture; return False if libav's decoder passes over it."""
        if picture.kind == _BIDIRECTIONAL:
            if self._shows_at_once and not self._is_told:
                # The decoder shows pictures as they are decoded until it meets this one, and one of them twice.
                raise NotUnderstood("B-pictures in a stream that does not announce them")
            time = (self._last_base + picture.seconds) * self._resolution + picture.ticks
            since = (self._span - (self._time - time)) & 0xFFFF
            if self._span <= since or since == 0:
                return False
        else:
            self._last_base = self._base
            self._base += picture.seconds
            time = self._base * self._resolution + picture.ticks
            self._span, self._time = (time - self._time) & 0xFFFF, time
        self._uncoded = None if picture.is_coded else len(self._kinds)
        if not picture.is_coded:
            return False
        if picture.kind == _BIDIRECTIONAL:
            return self._num_references > 1
        self._num_references += 1
        return True


def _without_second(packet: bytes, second: int) -> bytes:
    """Return a packet in whose picture at `second`, if there is one, the decoder sees none to be kept for later.

    All else stays, since the number of bits after the first picture has its effects.
    """
    if not 0 <= second < len(packet) - 4:
        return packet
    return packet[: second + 4] + bytes([packet[second + 4] | _PREDICTED]) + packet[second + 5 :]


def _start_codes(data: bytes) -> list[int]:
    """Return the places of all start codes before the first picture's, and of that.

    Raises:
        NotUnderstood: there are too many.
    """
    places = []
    place = data.find(_PREFIX)
    while 0 <= place < len(data) - 3:
        places.append(place)
        if data[place + 3] == _PICTURE:
            break
        if len(places) == _MOST_STARTS:
            raise NotUnderstood("too many headers before a picture")
        place = data.find(_PREFIX, place + 3)
    return places

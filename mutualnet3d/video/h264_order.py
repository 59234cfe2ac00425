"""Order in which the pictures of H.264 are shown, by the numbers in their slices (ITU-T H.264, 7.3.2, 7.3.3, 8.2.1)."""

from __future__ import annotations

from dataclasses import dataclass

import av

from mutualnet3d.video.bits import Bits, NotUnderstood
from mutualnet3d.video.nal_units import HEAD_BYTES, NalUnits, unescaped

_SEQUENCE_SET, _PICTURE_SET = 7, 8  # kinds of units
_OTHER, _INSTANT_REFRESH = 1, 5
_KIND, _REFERENCE = 0x1F, 0x60  # bits of a unit's first byte
_WITH_CHROMA_FORMAT = frozenset([44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 144, 244])  # profiles
_444 = 3  # chroma format
_COUNTED, _AS_DECODED = 0, 2  # ways of numbering

# Numbers between two coded video sequences: no picture's number within one is as large.
_SEQUENCE_STEP = 1 << 33

_MOST_SET_BYTES = 512

# Bits of a slice's header that have first macroblock, type and parameter set of most slices.
_PREFIX_BITS = 8


@dataclass(frozen=True)
class _Sequence:
    """Sequence parameter set.

    Args:
        number_bits: bits of the picture's number in a slice; 0: pictures are shown as they are decoded.
        frame_bits: bits of the frames' counter in a slice.
        has_fields: True if a slice says whether it is of a field.
        has_planes: True if a slice says which plane it is of.
    """

    number_bits: int
    frame_bits: int
    has_fields: bool
    has_planes: bool


class H264Order:
    """Numbers of pictures, which ascend in the order of being shown.

    Args:
        codec: decoder of the video.

    Raises:
        NotUnderstood: the container's parameter sets cannot be read.
    """

    def __init__(self, codec: av.VideoCodecContext):
        self._units = NalUnits("h264", codec.extradata or b"")
        self._sequences: dict[int, _Sequence] = {}
        self._sequence_ids: dict[int, int] = {}  # by the number of the picture parameter set
        self._sets: dict[int, bytes] = {}  # the last one of each kind
        self._places: dict[int, tuple[int, int]] = {}  # see `_place_of_number`; by the prefix of the slice
        self._base = self._highest = self._reference = 0
        self._is_as_decoded = False  # all pictures are shown so
        self._read_sets(self._units.sets_of_container())

    def add(self, packet: av.Packet) -> int:
        """Read the next packet; return the number of its picture.

        Args:
            packet: packet of the file, in the order of the file.

        Raises:
            NotUnderstood: it has no picture, or one whose number is written in a way that is not read here.
        """
        head = self._units.usual_head(packet, _OTHER)
        if head:
            if self._is_as_decoded:
                self._highest += 1
                return self._highest
        else:
            head, sets = self._units.before_picture(packet)
            if sets:
                self._read_sets(sets)
            if not head:
                raise NotUnderstood("a packet without a picture")
        unit = unescaped(head)
        value = int.from_bytes(unit) << 8 * (HEAD_BYTES - len(unit))
        kind = unit[0] & _KIND
        place = self._places.get(value >> 8 * (HEAD_BYTES - 2) & 0xFF) if kind == _OTHER else None
        shift, mask = place or self._place_of_number(unit, kind)
        if not mask:
            self._highest += 1
            return self._highest
        if kind == _INSTANT_REFRESH:
            self._base, self._reference = self._highest + _SEQUENCE_STEP, 0
        reference, half = self._reference, mask >> 1
        number = reference + (((value >> shift) - reference + half) & mask) - half
        if unit[0] & _REFERENCE:
            self._reference = number
        number += self._base
        self._highest = max(self._highest, number)
        return number

    def _place_of_number(self, unit: bytes, kind: int) -> tuple[int, int]:
        """Return the place of the picture's number in its packet, and the number's mask.

        The place is the bits from the number's last one to the end of `HEAD_BYTES`. A mask of 0 says that pictures are
        shown as they are decoded.
        """
        bits = Bits(unit[1:])
        bits.take_code()  # first macroblock
        bits.take_code()  # type
        sequence = self._sequences.get(self._sequence_ids.get(bits.take_code(), -1))
        if sequence is None:
            raise NotUnderstood("a picture's parameter sets are not there")
        is_usual = kind == _OTHER and bits.num_taken <= _PREFIX_BITS and not sequence.has_fields
        bits.take(2 if sequence.has_planes else 0)
        bits.take(sequence.frame_bits)
        if sequence.has_fields and bits.take(1):
            bits.take(1)
        if kind == _INSTANT_REFRESH:
            bits.take_code()
        bits.take(sequence.number_bits)
        place = 8 * (HEAD_BYTES - 1) - bits.num_taken, (1 << sequence.number_bits) - 1
        if is_usual:
            self._places[unit[1]] = place
        return place

    def _read_sets(self, sets: list[bytes]) -> None:
        for data in sets:
            kind = data[0] & _KIND
            if self._sets.get(kind) == data:
                continue
            self._sets[kind] = data
            self._places.clear()
            bits = Bits(unescaped(data[:_MOST_SET_BYTES])[1:])
            if kind == _SEQUENCE_SET:
                number, sequence = _sequence(bits)
                self._sequences[number] = sequence
                self._is_as_decoded = all(not other.number_bits for other in self._sequences.values())
            elif kind == _PICTURE_SET:
                number = bits.take_code()
                self._sequence_ids[number] = bits.take_code()


def _sequence(bits: Bits) -> tuple[int, _Sequence]:
    """Return the number of a sequence parameter set, and the set."""
    profile = bits.take(8)
    bits.take(16)
    number, chroma_format, has_planes = bits.take_code(), 1, False
    if profile in _WITH_CHROMA_FORMAT:
        chroma_format = bits.take_code()
        has_planes = chroma_format == _444 and bool(bits.take(1))
        bits.take_code()  # bits of a pixel's parts
        bits.take_code()
        bits.take(1)
        if bits.take(1):
            for size in [16] * 6 + [64] * (6 if chroma_format == _444 else 2):
                _pass_over_scaling(bits, size)
    frame_bits = bits.take_code() + 4
    way = bits.take_code()
    if way not in (_COUNTED, _AS_DECODED):
        raise NotUnderstood(f"pictures are numbered in way {way}")
    number_bits = bits.take_code() + 4 if way == _COUNTED else 0
    bits.take_code()  # frames to be kept
    bits.take(1)
    bits.take_code()  # width, height
    bits.take_code()
    return number, _Sequence(number_bits, frame_bits, has_fields=not bits.take(1), has_planes=has_planes)


def _pass_over_scaling(bits: Bits, size: int) -> None:
    """Pass over a list of scaling factors (7.3.2.1.1.1)."""
    last = following = 8
    if not bits.take(1):
        return
    for _ in range(size):
        if following:
            following = (last + bits.take_signed_code()) % 256
        last = following or last

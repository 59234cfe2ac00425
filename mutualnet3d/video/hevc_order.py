"""Order in which the pictures of HEVC are shown, by the numbers in their slices (ITU-T H.265, 7.3.2, 7.3.6, 8.3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import av

from mutualnet3d.video.bits import Bits, NotUnderstood
from mutualnet3d.video.nal_units import NalUnits, unescaped

_SEQUENCE_SET, _PICTURE_SET = 33, 34  # kinds of units
_RANDOM_ACCESS = range(16, 24)
_BROKEN_LINK = range(16, 19)
_INSTANT_REFRESH = (19, 20)
_CLEAN_ACCESS = 21
_LEADING = range(6, 10)
_SKIPPED_LEADING = (8, 9)
_SUB_LAYER_ONLY = range(0, 16, 2)  # pictures to which no other of their layer refers
_444 = 3  # chroma format
_PROFILE_BITS, _LEVEL_BITS, _MOST_SUB_LAYERS = 88, 8, 8
_MOST_SET_BYTES = 512

# Numbers between two coded video sequences: no picture's number within one is as large.
_SEQUENCE_STEP = 1 << 33


@dataclass(frozen=True)
class _Sequence:
    """Sequence parameter set.

    Args:
        number_bits: bits of a picture's number in a slice.
        has_planes: True if a slice names its plane.
    """

    number_bits: int
    has_planes: bool


@dataclass(frozen=True)
class _Picture:
    """Picture parameter set.

    Args:
        sequence: number of its sequence's parameter set.
        may_hide: True if a slice may say that its picture is not shown.
        extra_bits: bits of a slice's header before its type.
    """

    sequence: int
    may_hide: bool
    extra_bits: int


class HevcOrder:
    """Numbers of pictures, which ascend in the order of being shown.

    Args:
        codec: decoder of the video.

    Raises:
        NotUnderstood: the container's parameter sets cannot be read.
    """

    def __init__(self, codec: av.VideoCodecContext):
        self._units = NalUnits("hevc", codec.extradata or b"")
        self._sequences: dict[int, _Sequence] = {}
        self._pictures: dict[int, _Picture] = {}
        self._sets: dict[int, bytes] = {}  # the last one of each kind
        self._base = self._highest = self._reference = 0
        self._is_first, self._leading_are_skipped = True, False
        self._read_sets(self._units.sets_of_container())

    def add(self, packet: av.Packet) -> int:
        """Read the next packet; return the number of its picture.

        Args:
            packet: packet of the file, in the order of the file.

        Raises:
            NotUnderstood: it has no picture, or one that is not shown, or whose parameter sets are not there.
        """
        head, sets = self._units.before_picture(packet)
        if sets:
            self._read_sets(sets)
        if len(head) < 2:
            raise NotUnderstood("a packet without a picture")
        kind, layer = head[0] >> 1 & 0x3F, (head[0] & 1) << 5 | head[1] >> 3
        bits = Bits(unescaped(head)[2:])
        if layer or not bits.take(1):
            raise NotUnderstood("a packet without its picture's start")
        if kind in _RANDOM_ACCESS:
            bits.take(1)
        picture = self._pictures.get(bits.take_code())
        sequence = self._sequences.get(picture.sequence) if picture is not None else None
        if picture is None or sequence is None:
            raise NotUnderstood("a picture's parameter sets are not there")
        bits.take(picture.extra_bits)
        bits.take_code()  # type
        if picture.may_hide and not bits.take(1):
            raise NotUnderstood("a picture is not shown")
        if sequence.has_planes:
            bits.take(2)
        is_start = kind in _INSTANT_REFRESH or kind in _BROKEN_LINK or (kind == _CLEAN_ACCESS and self._is_first)
        self._is_first = False
        if kind in _RANDOM_ACCESS:
            self._leading_are_skipped = is_start
        elif kind in _SKIPPED_LEADING and self._leading_are_skipped:
            raise NotUnderstood("a picture is not shown")
        last_bits = 0 if kind in _INSTANT_REFRESH else bits.take(sequence.number_bits)
        if is_start:
            self._base, self._reference = self._highest + _SEQUENCE_STEP, 0
            number = last_bits
        else:
            half = (1 << sequence.number_bits - 1) - 1
            number = self._reference + ((last_bits - self._reference + half) & 2 * half + 1) - half
        if not (head[1] & 7) - 1 and kind not in _LEADING and kind not in _SUB_LAYER_ONLY:
            self._reference = number
        number += self._base
        self._highest = max(self._highest, number)
        return number

    def _read_sets(self, sets: list[bytes]) -> None:
        for data in sets:
            kind, layer = data[0] >> 1 & 0x3F, (data[0] & 1) << 5 | data[1] >> 3 if len(data) > 1 else 0
            if layer or self._sets.get(kind) == data:
                continue
            self._sets[kind] = data
            bits = Bits(unescaped(data[:_MOST_SET_BYTES])[2:])
            if kind == _SEQUENCE_SET:
                number, sequence = _sequence(bits)
                self._sequences[number] = sequence
            elif kind == _PICTURE_SET:
                number, of_sequence = bits.take_code(), bits.take_code()
                bits.take(1)
                self._pictures[number] = _Picture(of_sequence, bool(bits.take(1)), bits.take(3))


def _sequence(bits: Bits) -> tuple[int, _Sequence]:
    """Return the number of a sequence parameter set, and the set."""
    bits.take(4)
    num_sub_layers = bits.take(3)  # beside the first
    bits.take(1 + _PROFILE_BITS + _LEVEL_BITS)
    if num_sub_layers:
        marks = [(bits.take(1), bits.take(1)) for _ in range(_MOST_SUB_LAYERS)]
        for has_profile, has_level in marks[:num_sub_layers]:
            bits.take(_PROFILE_BITS * has_profile + _LEVEL_BITS * has_level)
    number = bits.take_code()
    has_planes = bits.take_code() == _444 and bool(bits.take(1))
    bits.take_code()  # width, height
    bits.take_code()
    if bits.take(1):  # borders that are cut away
        for _ in range(4):
            bits.take_code()
    bits.take_code()  # bits of a pixel's parts
    bits.take_code()
    return number, _Sequence(bits.take_code() + 4, has_planes)

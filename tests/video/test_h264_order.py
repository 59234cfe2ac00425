from __future__ import annotations

import av
import pytest

from mutualnet3d.video.bits import NotUnderstood
from mutualnet3d.video.h264_order import H264Order
from tests.video.encoded import encode, x264


class Codec:
    """Decoder of units with start codes, as far as the order needs it."""

    def __init__(self, extradata):
        self.extradata = extradata


def code(number: int) -> str:
    digits = f"{number + 1:b}"
    return "0" * (len(digits) - 1) + digits


def unit(first: int, text: str) -> bytes:
    text = text.replace(" ", "") + "1"
    data = int(text + "0" * (-len(text) % 8), 2).to_bytes((len(text) + 7) // 8)
    return b"\0\0\1" + bytes([first]) + data


def sets(way: int = 0, number_bits: int = 4, frames_only: int = 1) -> bytes:
    """A sequence of the Main profile, numbers of frames in 4 bits, and a picture's set."""
    counted = code(number_bits - 4) if not way else ""
    sequence = f"{77:08b} {0:08b} {30:08b} {code(0)} {code(0)} {code(way)} {counted} {code(1)} 0 {code(3)} {code(2)}"
    return unit(0x67, sequence + f"{frames_only}" + "0" * 8) + unit(0x68, code(0) + code(0) + "00" + "0" * 8)


def picture(kind: str, number: int, number_bits: int = 4, is_reference: bool = True, fields: str = "") -> av.Packet:
    """A slice; kinds: "R" begins a sequence, "P", "B"."""
    refresh = code(0) if kind == "R" else ""
    first = (0x65 if kind == "R" else 0x41) if is_reference else 0x01
    text = f"{code(0)} {code({'R': 7, 'P': 0, 'B': 1}[kind])} {code(0)} 0011 {fields} {refresh}"
    return av.Packet(unit(first, text + f"{number:0{number_bits}b}" + "1" * 40))


def order_of(*pictures: av.Packet, **settings: int) -> list[int]:
    order = H264Order(Codec(sets(**settings)))
    numbers = [order.add(packet) for packet in pictures]
    return [sorted(numbers).index(number) for number in numbers]


def test_pictures_are_ordered_by_their_numbers():
    coded = (
        picture("R", 0),
        picture("P", 6),
        picture("B", 2, is_reference=False),
        picture("B", 4, is_reference=False),
    )
    assert order_of(*coded) == [0, 3, 1, 2]
    assert order_of(*coded, *coded) == [0, 3, 1, 2, 4, 7, 5, 6]  # each refresh begins anew


def test_numbers_go_on_when_their_bits_are_used_up():
    numbers = [0, 4, 2, 8, 6, 12, 10, 0, 14, 4, 2, 8]
    kinds = "RPBPBPBPBPBP"
    pictures = [picture(kind, number, is_reference=kind != "B") for kind, number in zip(kinds, numbers, strict=True)]
    assert order_of(*pictures) == [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 11]
    # The number of a picture that no other refers to is nobody's base.
    far = [picture("R", 0), picture("P", 7), picture("B", 15, is_reference=False), picture("P", 8)]
    assert order_of(*far) == [0, 1, 3, 2]


def test_fields_have_their_numbers_after_what_says_so():
    frame, field = {"fields": "0"}, {"fields": "11"}
    pictures = [picture("R", 0, **frame), picture("P", 6, **field), picture("B", 2, **frame)]
    assert order_of(*pictures, frames_only=0) == [0, 2, 1]


def test_a_sequence_may_be_shown_as_it_is_decoded():
    assert order_of(picture("R", 0), picture("P", 0), picture("P", 0), way=2) == [0, 1, 2]


def test_parameter_sets_may_change():
    order = H264Order(Codec(sets(number_bits=4)))
    numbers = [order.add(packet) for packet in (picture("R", 0), picture("P", 4))]
    for packet in (picture("R", 0, number_bits=8), picture("P", 200, 8), picture("B", 100, 8, is_reference=False)):
        numbers.append(order.add(av.Packet(sets(number_bits=8) + bytes(packet))))
    # 200 of 256 after 0 is -56, and 100 is nearer to that than to the next 256's.
    assert [number - numbers[2] for number in numbers] == [-4 - (1 << 33), -(1 << 33), 0, -56, -156]


@pytest.mark.parametrize(
    ("extradata", "packet", "reason"),
    [
        (sets(), av.Packet(unit(6, "0")), "a packet without a picture"),
        (sets(), av.Packet(b"\0\0\1\x41\x80"), "a header ends early"),
        (b"", picture("R", 0), "a picture's parameter sets are not there"),
        (sets(way=1), picture("R", 0), "pictures are numbered in way 1"),
    ],
)
def test_what_is_not_read_here_is_said(extradata, packet, reason):
    with pytest.raises(NotUnderstood, match=reason):
        H264Order(Codec(extradata)).add(packet)


@pytest.mark.parametrize(
    "options",
    [
        {"profile": "baseline", "preset": "veryfast", "g": "20"},
        x264("bframes=3:keyint=250:b-pyramid=strict:weightp=2"),
        x264("bframes=2:keyint=12:cqm=jvt"),  # with lists of scaling factors
        x264("bframes=3:keyint=12:slices=4"),
    ],
    ids=["baseline", "long", "scaling", "slices"],
)
def test_the_decoder_shows_frames_in_that_order(tmp_path, options):
    path = tmp_path / "video.mp4"
    encode(path, options=options)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        packets = [packet for packet in container.demux(stream) if packet.size]
        order = H264Order(stream.codec_context)
        number_of = {packet.pts: order.add(packet) for packet in packets}
        shown = [frame.pts for packet in [*packets, None] for frame in stream.codec_context.decode(packet)]
    assert len(shown) == 60
    numbers = [number_of[pts] for pts in shown]
    assert numbers == sorted(numbers)

from __future__ import annotations

import av
import pytest

from mutualnet3d.video.mpeg4_order import DisplayOrder, Mpeg4Order, NotUnderstood
from tests.video.odd_files import DROPPED, NOT_CODED, Part, mpeg4_file, packed, parts_of, with_dropped


def bits(text: str) -> bytes:
    text = text.replace(" ", "")
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8)


def layer(low_delay: str = "0", kind: int = 1, resolution: int = 24) -> bytes:
    """A header of a layer: no verid, square pixels, no buffer sizes, rectangular."""
    controls = f"1 01 {low_delay} 0" if low_delay else "0"
    return b"\0\0\1\x20" + bits(f"0 {kind:08b} 0 0001 {controls} 00 1 {resolution:016b} 1 0")


def picture(kind: str, ticks: int, is_coded: bool = True, seconds: int = 0) -> bytes:
    code = "IPBS".index(kind)
    return b"\0\0\1\xb6" + bits(f"{code:02b} {'1' * seconds}0 1 {ticks:05b} 1 {is_coded:d}") + bytes(20)


def order_of(*packets: bytes, extradata: bytes = b"") -> DisplayOrder:
    order = Mpeg4Order(extradata or layer())
    for packet in packets:
        order.add(packet)
    return order.finish()


I0, P3, B1, B2 = picture("I", 0), picture("P", 3), picture("B", 1), picture("B", 2)


@pytest.mark.parametrize(
    ("packets", "places", "keyframes", "hidden"),
    [
        ([I0, P3, B1, B2], [0, 3, 1, 2], [0], set()),
        ([I0, picture("P", 1), picture("I", 2)], [0, 1, 2], [0, 2], set()),
        # An open group: B-pictures that follow a keyframe in the file and are shown before it.
        ([I0, P3, picture("I", 6), picture("B", 4), picture("P", 7)], [0, 1, 3, 2, 4], [0, 2], set()),
        ([I0, picture("P", 1, is_coded=False), picture("P", 2)], [0, -2, 1], [0], {1}),
        ([I0, DROPPED, picture("P", 2)], [0, -2, 1], [0], {1}),
        ([I0, B1, P3], [0, -2, 1], [0], {1}),  # nothing comes after it that it could refer to
        ([I0, P3, picture("B", 3)], [0, 1, -3], [0], {2}),  # its time is not between the others'
        ([I0, picture("P", 1), picture("P", 2, is_coded=False)], [0, -2, 1], [0], {1}),  # takes the last one's time
        ([I0, picture("P", 5, seconds=2), picture("B", 1, seconds=1)], [0, 2, 1], [0], set()),
        ([picture("P", 0), picture("I", 1)], [0, 1], [1], set()),
    ],
)
def test_order(packets, places, keyframes, hidden):
    assert order_of(*packets) == DisplayOrder(places, keyframes, hidden)


def test_a_stream_that_says_so_is_shown_as_it_is_decoded():
    assert order_of(I0, P3, B1, extradata=layer("1")).places == [0, 1, 2]
    # The decoder of such a stream ends with its last picture once more.
    assert order_of(I0, P3, picture("P", 4, is_coded=False), extradata=layer("1")).places == [0, 1, 2]


PACKED = layer() + b"\0\0\1\xb2DivX503b1393p"


def test_packets_of_two_pictures_are_taken_apart():
    order = Mpeg4Order(PACKED)
    fed = [order.add(packet) for packet in (I0, P3 + B1, B2, NOT_CODED, picture("P", 4))]
    # The second picture of a packet is still there, but of a kind that the decoder does not keep for later.
    assert fed == [I0, P3 + B1[:4] + bytes([B1[4] | 0x40]) + B1[5:], B1, B2, picture("P", 4)]
    assert order.finish() == DisplayOrder([0, 3, 1, 2, 4], [0], set())


@pytest.mark.parametrize(
    ("packets", "reason"),
    [
        ([layer() + I0, layer(resolution=25) + picture("I", 1)], "headers differ"),
        ([I0, layer(resolution=25) + picture("I", 1)], "headers differ"),
        ([I0[:5]], "a header ends early"),
        ([b"\0\0\1\xb6" + bits("00 0 0 00000 1 1") + bytes(9)], "the time is written otherwise"),
        ([layer()], "headers without a picture"),
        ([b"\0\0\1\xb5" * 300 + I0], "too many headers before a picture"),
        ([layer("", kind=17) + I0, P3, B1], "B-pictures in a stream that does not announce them"),
    ],
)
def test_what_is_not_understood_is_said(packets, reason):
    with pytest.raises(NotUnderstood, match=reason):
        order_of(*packets)


def test_without_a_header_nothing_is_understood():
    with pytest.raises(NotUnderstood, match="no header comes before the first picture"):
        Mpeg4Order(b"").add(I0)


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (iter, {"bf": "2"}),
        (iter, {"bf": "1", "flags": "+qpel"}),
        (iter, {"bf": "3", "flags": "+cgop", "sc_threshold": "1000000000"}),
        (packed, {"bf": "2"}),
        (packed, {"bf": "1"}),
        (with_dropped, {"bf": "0"}),
        (lambda parts: [*parts, Part(NOT_CODED, False)], {"bf": "2"}),
    ],
    ids=["b", "qpel", "closed", "packed", "packed pairs", "dropped", "uncoded end"],
)
def test_the_order_is_the_decoders(tmp_path, change, options):
    path = mpeg4_file(tmp_path, "made.avi", change, **options)
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        order = Mpeg4Order(codec.extradata or b"")
        for part in parts_of(path):
            order.add(part.data)
        result = order.finish()
        shown, keyframes = [], []
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for place, packet in zip(result.places, packets, strict=True):
            packet.pts = place
        for packet in [*packets, None]:
            try:
                frames = codec.decode(packet)
            except av.FFmpegError:
                continue
            shown += [frame.pts for frame in frames]
            keyframes += [frame.pts for frame in frames if frame.key_frame]
    assert shown == sorted(place for place in result.places if place >= 0)
    assert shown == list(range(len(shown)))
    assert len(shown) >= 60
    assert [result.places[position] for position in result.keyframes] == keyframes[: len(result.keyframes)]
    assert len(keyframes) - len(result.keyframes) <= 1  # the last one, if it has the time of an empty packet

from __future__ import annotations

import av
import pytest
from av.video.frame import PictureType

from mutualnet3d.video.bits import NotUnderstood
from mutualnet3d.video.mpeg2_order import Mpeg2Order


def picture(kind: str) -> av.Packet:
    return av.Packet(b"\0\0\1\0\0" + bytes([" IPB".index(kind) << 3]) + bytes(8))


@pytest.mark.parametrize(
    ("kinds", "places"),
    [("IPBBPBB", [0, 3, 1, 2, 6, 4, 5]), ("IPPIP", [0, 1, 2, 3, 4]), ("IBBPBB", [2, 0, 1, 5, 3, 4])],
)
def test_pictures_from_both_sides_are_shown_before_the_last_one(kinds, places):
    order = Mpeg2Order()
    numbers = [order.add(picture(kind)) for kind in kinds]
    assert [sorted(numbers).index(number) for number in numbers] == places


@pytest.mark.parametrize("name", ["mpeg2.ts", "mpeg2.mpg"])
def test_they_are_those_of_the_decoder(video_named, name):
    with av.open(str(video_named(name)[0])) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        order = Mpeg2Order()
        shown, numbers = [], []
        for packet in container.demux(stream):
            if packet.size:
                numbers.append(order.add(packet))
            shown += [PictureType(frame.pict_type).name for frame in packet.decode()]
    kinds = ["B" if number & 0xFFFFFFFF else "other" for number in sorted(numbers)]
    assert kinds == ["B" if kind == "B" else "other" for kind in shown]
    assert kinds.count("B") == 39


@pytest.mark.parametrize("data", [b"\0", bytes(40), b"\0\0\1\0", b"\0\0\1\0\0"])
def test_a_packet_without_a_picture_is_said(data):
    with pytest.raises(NotUnderstood, match="a packet without a picture"):
        Mpeg2Order().add(av.Packet(data))

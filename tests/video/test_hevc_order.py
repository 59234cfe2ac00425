from __future__ import annotations

import av
import pytest

from mutualnet3d.video.bits import NotUnderstood
from mutualnet3d.video.hevc_order import HevcOrder
from tests.video.encoded import encode, x265

PARAMETERS = [
    "keyint=12:min-keyint=12:bframes=4:b-adapt=0:scenecut=0:open-gop=0",
    "keyint=12:min-keyint=12:bframes=4:b-adapt=0:scenecut=0",  # with leading pictures
    "keyint=250:bframes=3:b-pyramid=1:log2-max-poc-lsb=4",  # numbers in few bits
    "keyint=20:bframes=0",
    "keyint=20:bframes=3:temporal-layers=3",
    "keyint=20:bframes=3:slices=2",
]


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize("ending", ["mp4", "ts"])
def test_the_decoder_shows_frames_in_that_order(tmp_path, parameters, ending):
    path = tmp_path / f"video.{ending}"
    encode(path, codec="libx265", options=x265(parameters))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        packets = [packet for packet in container.demux(stream) if packet.size]
        order = HevcOrder(stream.codec_context)
        number_of = {packet.pts: order.add(packet) for packet in packets}
        shown = [frame.pts for packet in [*packets, None] for frame in stream.codec_context.decode(packet)]
    assert len(shown) == 60
    numbers = [number_of[pts] for pts in shown]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 60


def test_pictures_that_are_not_shown_are_told(video_named):
    """The leading pictures of the file's first picture refer to ones that are not there."""
    with av.open(str(video_named("hevc_open.mp4")[0])) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        starts = [place for place, packet in enumerate(packets) if packet.is_keyframe]
        order = HevcOrder(stream.codec_context)
        order.add(packets[starts[1]])
        with pytest.raises(NotUnderstood, match="a picture is not shown"):
            order.add(packets[starts[1] + 1])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(40), "a packet without a picture"),
        (b"\0\0\0\x02\x02\x01", "a header ends early"),
        (b"\0\0\0\x04\x02\x09\xff\xff", "a packet without its picture's start"),  # of another layer
        (b"\0\0\0\x04\x02\x01\x1f\xff", "a packet without its picture's start"),
        (b"\0\0\0\x04\x02\x01\x8f\xff", "parameter sets are not there"),
    ],
)
def test_what_is_not_read_here_is_said(video_named, data, reason):
    with av.open(str(video_named("hevc.mp4")[0])) as container, pytest.raises(NotUnderstood, match=reason):
        HevcOrder(container.streams.video[0].codec_context).add(av.Packet(data))

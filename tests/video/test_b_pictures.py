from __future__ import annotations

import av
import pytest

from mutualnet3d.video.b_pictures import b_picture_check

KIND_B = av.video.frame.PictureType.B


@pytest.mark.parametrize("name", ["closed.mp4", "open.ts", "baseline.mp4", "intra.mp4", "mpeg2.ts"])
def test_b_pictures_are_those_of_the_decoder(video_named, name):
    with av.open(str(video_named(name)[0])) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        codec.thread_count = 1
        packets = [packet for packet in container.demux(stream) if packet.size]
        is_b = b_picture_check(codec)
        assert (is_b is None) == (name == "baseline.mp4")
        claimed = {packet.pts for packet in packets if is_b is not None and is_b(packet)}
        decoded = {
            frame.pts for packet in [*packets, None] for frame in codec.decode(packet) if frame.pict_type == KIND_B
        }
    assert claimed == decoded
    assert bool(claimed) == (name in ("closed.mp4", "open.ts", "mpeg2.ts"))


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\0\1", b"\0\0\0\2\x41", b"\0\0\0\2\x41\0", bytes(40), bytes(40_000), b"\0\0\xff\xff\x06\1"]
)
def test_a_broken_packet_has_none(video_named, data):
    with av.open(str(video_named("closed.mp4")[0])) as container:
        packet = av.Packet(data)
        assert not b_picture_check(container.streams.video[0].codec_context)(packet)


def test_of_other_codecs_the_decoder_says_whether_there_may_be_some(video_named):
    for name, expected in (("hevc.mp4", True), ("mjpeg.mov", False)):
        with av.open(str(video_named(name)[0])) as container:
            is_b = b_picture_check(container.streams.video[0].codec_context)
            assert (is_b is not None and is_b(av.Packet(b"x"))) is expected

from __future__ import annotations

from types import SimpleNamespace

import av
import pytest

from mutualnet3d.video.packet_structure import structure_check
from mutualnet3d.video.verify import compare_random_access
from tests.video.encoded import without_packet

H264 = SimpleNamespace(name="h264", extradata=b"\1\x64\0\x0a\xff" + bytes(30))
H264_SHORT = SimpleNamespace(name="h264", extradata=b"\1\x64\0\x0a\xfd" + bytes(30))
HEVC = SimpleNamespace(name="hevc", extradata=b"\1" + bytes(20) + b"\xff" + bytes(30))
JPEG = SimpleNamespace(name="mjpeg", extradata=b"")


@pytest.mark.parametrize(
    ("codec", "data", "is_whole"),
    [
        (H264, b"\0\0\0\2\x65\1", True),
        (H264, b"\0\0\0\2\x06\1\0\0\0\1\x41", True),
        (H264, b"\0\0\0\2\x06\1", False),  # a note without a picture
        (H264, b"\0\0\0\3\x65\1", False),
        (H264, b"\0\0\0\1\x65\1", False),
        (H264, b"\0\0\0\0", False),
        (H264, bytes(50), False),
        (H264_SHORT, b"\0\2\x65\1", True),
        (HEVC, b"\0\0\0\3\x26\1\7", True),
        (HEVC, b"\0\0\0\3\x42\1\7", False),
        (JPEG, b"\xff\xd8\xff\xe0\xff\xd9", True),
        (JPEG, b"\xff\xd8\xff\xe0\xff\xd9\0\0", True),
        (JPEG, b"\xff\xd8\xff\xe0", False),
        (JPEG, bytes(9), False),
    ],
)
def test_broken_packets_are_told(codec, data, is_whole):
    assert structure_check(codec)(av.Packet(data)) is is_whole


def test_packets_of_other_kinds_are_not_looked_at():
    assert structure_check(SimpleNamespace(name="h264", extradata=b"\0\0\0\1\x67")) is None  # units by start codes
    assert structure_check(SimpleNamespace(name="vp9", extradata=b"")) is None


@pytest.mark.parametrize("name", ["closed.mp4", "hevc.mp4", "mjpeg.avi", "10bit.mp4", "interlaced.ts"])
def test_packets_of_good_files_are_whole(video_named, name):
    with av.open(str(video_named(name)[0])) as container:
        check = structure_check(container.streams.video[0].codec_context)
        assert check is None or all(check(packet) for packet in container.demux(video=0) if packet.size)


@pytest.mark.parametrize("name", ["closed.flv", "mjpeg.avi"])
def test_frames_behind_a_broken_packet_have_the_numbers_of_decoding_from_the_start(video_named, tmp_path, name):
    path = without_packet(video_named(name)[0], tmp_path / name, 8)
    result = compare_random_access(str(path), count=None)
    assert result.num_frames < 60
    assert result.wrong == ()

from __future__ import annotations

import av
import numpy as np
import pytest

from mutualnet3d.video.jpeg import JpegCheck
from mutualnet3d.video.reader import VideoReader
from mutualnet3d.video.verify import compare_random_access


@pytest.fixture(scope="module")
def packets(video_named):
    with av.open(str(video_named("mjpeg.avi")[0])) as container:
        yield [packet for packet in container.demux(video=0) if packet.size]


def changed(packet: av.Packet, marker: int, offset: int, value: int) -> av.Packet:
    """Return the packet with another byte, `offset` bytes after the start of the marker's segment."""
    data = bytearray(packet)
    data[data.index(bytes([0xFF, marker])) + offset] = value
    return av.Packet(bytes(data))


def test_whole_pictures_are_told(packets):
    check = JpegCheck()
    assert all(map(check.is_whole, packets))
    assert check.is_whole(av.Packet(bytes(packets[0]) + b"\0\0"))


@pytest.mark.parametrize(
    ("marker", "offset", "value"),
    [
        (0xD8, 1, 0),  # no start
        (0xDB, 1, 0),  # no marker's number
        (0xDB, 2, 0xFF),  # a segment longer than the picture
        (0xDB, 4, 0x04),  # quantisation table 4
        (0xDB, 4, 0x21),
        (0xC4, 4, 0x20),  # neither kind of Huffman tables
        (0xC4, 5, 3),  # three codes of a bit
        (0xC4, 20, 200),  # more codes than there are bytes
        (0xC0, 4, 12),  # another depth than the first's
        (0xC0, 6, 49),  # another height
        (0xC0, 9, 2),  # components
        (0xC0, 11, 0x02),  # no columns
        (0xC0, 12, 4),  # quantisation table 4
        (0xDA, 4, 2),
        (0xDA, 6, 0x40),
    ],
)
def test_broken_headers_are_told(packets, marker, offset, value):
    check = JpegCheck()
    assert check.is_whole(packets[0])
    assert not check.is_whole(changed(packets[1], marker, offset, value))


@pytest.mark.parametrize("data", [b"\0", bytes(9), b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0\2\xff\xd9"])
def test_what_is_no_picture_is_told(packets, data):
    assert not JpegCheck().is_whole(av.Packet(data))
    assert not JpegCheck().is_whole(av.Packet(bytes(packets[0])[:-2]))


def test_a_picture_of_which_a_part_is_lost_is_counted(video_named, tmp_path):
    """The decoder fills the rest with what its memory has, and says nothing."""
    source = video_named("mjpeg.avi")[0]
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][20]
    data[packet.pos + packet.size - 200 : packet.pos + packet.size - 2] = b"\xaa" * 198
    path = tmp_path / "damaged.avi"
    path.write_bytes(data)
    result = compare_random_access(str(path), count=None)
    assert (result.num_frames, result.num_damaged, result.wrong) == (60, 1, ())
    for index, num_damaged in ((19, 0), (20, 1), (21, 0)):
        with VideoReader(str(path)) as video:
            (frame,) = video.read([index])
            assert video.num_damaged_frames == num_damaged
        assert np.array_equal(frame, video_named("mjpeg.avi")[1][index]) is not bool(num_damaged)

from __future__ import annotations

import random
import struct

import av
import pytest

from mutualnet3d.video.file_facts import FileState, facts_of
from mutualnet3d.video.picture_order import TimesCheck
from mutualnet3d.video.verify import compare_random_access
from tests.video.encoded import B_FRAMES, VIDEOS, encode, x264, x265


def packets_of(path):
    """Return the decoder of a file's video and its packets, which only live as long as the file is open."""
    container = av.open(str(path))
    stream = container.streams.video[0]
    return container, stream.codec_context, [packet for packet in container.demux(stream) if packet.size]


@pytest.mark.parametrize("name", [name for name in VIDEOS if not name.endswith(".avi")])
def test_good_timestamps_are_in_order(video_named, name):
    container, codec, packets = packets_of(video_named(name)[0])
    with container:
        if codec.name == "mpeg4":
            pytest.skip("read by its own times")
        check = TimesCheck(codec)
        check.add(packets)
        assert check.take()
        assert check.take()  # nothing was added


@pytest.mark.parametrize("name", ["closed.mp4", "interlaced.ts", "444.mp4", "10bit.mp4", "hevc.mp4", "mpeg2.ts"])
def test_swapped_timestamps_are_not(video_named, name):
    container, codec, packets = packets_of(video_named(name)[0])
    with container:
        for first, second in ((5, 6), (13, 20), (30, 59)):
            packets[first].pts, packets[second].pts = packets[second].pts, packets[first].pts
            check = TimesCheck(codec)
            check.add(packets)
            assert not check.take()
            packets[first].pts, packets[second].pts = packets[second].pts, packets[first].pts
        check = TimesCheck(codec)
        check.add(packets)
        assert check.take()


def test_packets_without_a_picture_or_a_time_are_not_in_order(video_named):
    for name in ("closed.mp4", "hevc.mp4", "mpeg2.ts"):
        container, codec, packets = packets_of(video_named(name)[0])
        with container:
            check = TimesCheck(codec)
            check.add([packets[0], av.Packet(bytes(40))])
            assert not check.take()
            check = TimesCheck(codec)
            packets[3].pts = None
            check.add(packets[:6])
            assert not check.take()


OFFSETS = (-1, -300, -600, -1100, -2000, 512, 1024, 2048, 3000, 0)
LIARS = {
    "x264": {"options": x264(B_FRAMES)},
    "open": {"options": x264(B_FRAMES + ":open-gop=1")},
    "interlaced": {"options": x264("bframes=3:keyint=12:interlaced=1"), "height": 64},
    "hevc": {"codec": "libx265", "options": x265("keyint=12:min-keyint=12:bframes=4:b-adapt=0:scenecut=0:open-gop=0")},
    "mpeg2": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}},
}


def with_offset(data, back, offset):
    """Return the bytes of an MP4 file whose ctts entry, `back` from the end, says another offset."""
    data = bytearray(data)
    place = data.index(b"ctts")
    (size,) = struct.unpack_from(">I", data, place - 4)
    struct.pack_into(">i", data, place + size - 8 * back, offset)
    return data


@pytest.mark.parametrize("offset", [-600, -2000])
def test_frames_whose_times_are_after_those_of_decoding_but_not_in_order(tmp_path, offset):
    path = tmp_path / "video.mp4"
    encode(path, options=x264(B_FRAMES))
    assert not facts_of(FileState.of(str(path))).from_start
    path.write_bytes(with_offset(path.read_bytes(), 3, offset))
    container, _, packets = packets_of(path)
    with container:
        assert all(packet.pts >= packet.dts for packet in packets)
    result = compare_random_access(str(path), count=None)
    assert (result.num_frames, result.wrong) == (60, ())
    assert facts_of(FileState.of(str(path))).from_start


@pytest.mark.slow
@pytest.mark.parametrize("name", LIARS)
def test_any_lies_about_the_times_of_being_shown_give_the_frames_of_decoding_from_the_start(tmp_path, name):
    source = tmp_path / "video.mp4"
    encode(source, **LIARS[name])
    whole, rng = source.read_bytes(), random.Random(name)
    count = struct.unpack_from(">I", whole, whole.index(b"ctts") + 8)[0]
    for number in range(12):
        data = whole
        for _ in range(rng.choice([1, 1, 2])):
            data = with_offset(data, rng.randint(1, count), rng.choice(OFFSETS))
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(data)
        assert compare_random_access(str(path), count=None).wrong == ()

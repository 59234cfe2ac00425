from __future__ import annotations

import av
import pytest

from mutualnet3d.video import packet_list
from mutualnet3d.video.container import open_file
from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.reader import VideoReader
from tests.video.encoded import NUM_FRAMES, assert_same_frames, one_after_the_other, refused, some_sets


@pytest.mark.parametrize("name", ["open.mp4", "open.mkv", "open.ts", "hevc_open.mp4", "hevc_open.ts", "mpeg2.ts"])
def test_these_videos_do_have_leading_pictures(video_named, name):
    """Frames that follow a keyframe in the file, are shown before it, and refer to what came before it."""
    path = str(video_named(name)[0])
    with open_file(path) as container:
        index = packet_list.read_packets(container, Deadline(path)).index
    pts = index.keys
    assert any(pts[position] < pts[key] for key in index.keyframes for position in range(key + 1, len(pts)))


@pytest.mark.parametrize("name", ["open.mp4", "hevc_open.ts", "mpeg4.avi", "vp8.webm"])
def test_frames_are_the_same_when_packets_are_too_many_to_keep(video_named, name, monkeypatch):
    monkeypatch.setattr(packet_list, "_MAX_KEPT_BYTES", 1000)
    path, frames = video_named(name)
    with VideoReader(str(path)) as video:
        assert video._source.mp4_index is not None or video._source.packets._packets is None
        for indices in some_sets(NUM_FRAMES, count=4):
            assert_same_frames(list(video.read(indices)), frames, indices)


def test_vp8_frames_that_are_only_referred_to_are_not_counted(video_named, tmp_path):
    """Encoders that look ahead put such frames into packets of their own, and nothing but the frame says so."""
    source, _ = video_named("vp8.webm")
    path = tmp_path / "hidden.webm"
    with av.open(str(source)) as whole, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(whole.streams.video[0])
        for position, packet in enumerate(whole.demux(video=0)):
            if packet.size:
                data = bytearray(bytes(packet))
                data[0] &= 0xEF if position % 9 == 4 else 0xFF
                copy = av.Packet(bytes(data))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                copy.is_keyframe, copy.stream = packet.is_keyframe, stream
                container.mux(copy)
    frames = one_after_the_other(path)
    assert len(frames) == NUM_FRAMES - 7
    with VideoReader(str(path)) as video:
        assert video.info.num_frames == NUM_FRAMES - 7
        for indices in some_sets(NUM_FRAMES - 7):
            assert_same_frames(list(video.read(indices)), frames, indices)


def test_a_video_without_frames_is_named(video_named, tmp_path):
    data = video_named("fragments.mp4")[0].read_bytes()
    path = tmp_path / "header.mp4"
    path.write_bytes(data[: data.index(b"moof") - 4])
    refused(path, "the video has no frame")


def test_too_many_packets_are_refused(video_named, monkeypatch):
    path = video_named("open.mkv")[0]
    monkeypatch.setattr(packet_list, "MAX_PACKETS", NUM_FRAMES - 1)
    refused(path, f"the video has more than {NUM_FRAMES - 1} packets; cut it")


@pytest.mark.parametrize("name", ["tiny.mkv", "tiny.avi", "tiny.mp4"])
def test_packets_that_are_too_small_for_frames_are_refused(video_named, tmp_path, monkeypatch, name):
    monkeypatch.setattr(packet_list, "_MANY_PACKETS", 100)
    path = tmp_path / name
    with av.open(str(video_named("mpeg4.avi")[0])) as whole, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(whole.streams.video[0])
        for time in range(300):
            packet = av.Packet(b"x")
            packet.pts = packet.dts = time
            packet.time_base, packet.stream, packet.is_keyframe = whole.streams.video[0].time_base, stream, True
            container.mux(packet)
    with pytest.raises(VideoDecodeError, match=r"the first \d+ packets have \d+ bytes, too few for frames"):
        VideoReader(str(path)).read([0]).__next__()

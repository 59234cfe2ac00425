from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from mutualnet3d.video import container as container_module
from mutualnet3d.video.container import MATROSKA, MP4, VideoContainer, open_file
from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.decoder import Decoder
from mutualnet3d.video.errors import VideoDecodeError
from tests.conftest import write_video
from tests.video.encoded import FPS, NUM_FRAMES, assert_same_frames, read, refused


class Stumbling:
    """Stands for a container that raises an error after some packets."""

    def __init__(self, packets: list[av.Packet], error: Exception):
        self.packets, self.error = packets, error

    def demux(self, stream):
        yield from self.packets
        raise self.error

    def close(self): ...


@pytest.mark.parametrize("num_packets", [1, 31, 32, 33, 50])
@pytest.mark.parametrize("error", [av.InvalidDataError(-1094995529, "broken"), IndexError("list index out of range")])
def test_packets_before_an_error_are_not_lost(video_named, num_packets, error):
    """IndexError is what PyAV raises at the end of a file in which streams have appeared since it was opened."""
    with open_file(str(video_named("closed.mp4")[0])) as container:
        packets = list(container.packets())
        container._input.close()
        container._input = Stumbling(packets[:num_packets], error)
        assert len(list(container.packets())) == num_packets


def test_an_error_before_all_packets_is_one(video_named):
    with open_file(str(video_named("closed.mp4")[0])) as container:
        container._input.close()
        container._input = Stumbling([], av.InvalidDataError(-1094995529, "broken"))
        with pytest.raises(av.InvalidDataError, match="broken"):
            list(container.packets())


@pytest.mark.parametrize(
    ("name", "probe", "is_probed", "form", "has_times"),
    [
        ("closed.mp4", False, False, MP4, True),
        ("closed.mp4", True, True, MP4, True),
        ("open.mkv", False, False, MATROSKA, True),
        ("open.ts", False, True, "mpegts", True),  # its header does not state enough
        ("closed.avi", False, True, "avi", False),
    ],
)
def test_the_stream_that_is_opened(video_named, name, probe, is_probed, form, has_times):
    path = video_named(name)[0]
    with open_file(str(path), probe) as container:
        assert (container.is_probed, container.format, container.has_times) == (is_probed, form, has_times)
        assert (container.codec.name, container.codec.thread_count) == ("h264", 1)
        assert container.num_bytes == path.stat().st_size
        assert container.header_rates[0] == pytest.approx(FPS)
        assert len(list(container.packets())) == NUM_FRAMES
        container.open(probe=True)
        assert container.is_probed
        assert len(list(Decoder(container).all_frames(container.packets()))) == NUM_FRAMES


def test_a_cover_is_no_video(tmp_path):
    """The picture of an audio file is a "video" stream to libav, and a film may have one before its own."""
    film = write_video(tmp_path / "film.mp4", np.zeros((3, 48, 64, 3), np.uint8))
    for name in ("cover.mp4", "film_with_cover.mp4"):
        with av.open(str(film)) as source, av.open(str(tmp_path / name), "w") as target:
            cover = target.add_stream("mjpeg", rate=1)
            cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic
            video = None if name == "cover.mp4" else target.add_stream_from_template(source.streams.video[0])
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            target.mux([*cover.encode(picture), *cover.encode(None)])
            for packet in source.demux(video=0) if video else ():
                if packet.size:
                    packet.stream = video
                    target.mux(packet)
    with pytest.raises(VideoDecodeError, match=r"cover\.mp4: the file has no video stream"):
        open_file(str(tmp_path / "cover.mp4"))
    with open_file(str(tmp_path / "film_with_cover.mp4")) as container:
        assert len(container._input.streams.video) == 2
        assert (container.codec.width, container.codec.height) == (64, 48)


def test_nothing_stays_open_when_opening_fails(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    files = len(os.listdir("/proc/self/fd"))
    for name, error in (("text.mp4", av.InvalidDataError), ("none.mp4", FileNotFoundError)):
        with pytest.raises(error):
            open_file(str(tmp_path / name))
    assert len(os.listdir("/proc/self/fd")) == files


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    refused(tmp_path / "pipe.mp4", "is a folder, pipe or device, not a file")


def test_a_file_without_video_is_named(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        for index in range(8):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 8000, 1024 * index
            container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    refused(path, "the file has no video stream")


def test_a_video_of_an_unknown_codec_is_named(video_named, tmp_path):
    path = tmp_path / "unknown.mp4"
    path.write_bytes(video_named("closed.mp4")[0].read_bytes().replace(b"avc1", b"zzzz"))
    refused(path, "(the video stream is of a codec that this libav does not know|cannot be decoded: .*)")


def test_absurd_pictures_are_refused(video_named, monkeypatch):
    monkeypatch.setattr(container_module, "MAX_PIXELS", 1000)
    refused(video_named("closed.mp4")[0], "cannot be decoded: .*")


ODD_NAMES = [
    "12:30.mp4",
    "pipe:0",
    "concat:a.mp4",
    "a %d %s ?#&'\"\n.mp4",
    "ö 火.mp4",
    "-y",
    os.fsdecode(b"\xff\xe9.mp4"),
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_odd_names_are_names(video_named, tmp_path, monkeypatch, name):
    source, frames = video_named("closed.mp4")
    shutil.copy(source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (name, str(tmp_path / name)):
        assert_same_frames(read(path, [0, 30]), frames, [0, 30])


def test_titles_in_another_encoding_do_no_harm(video_named, tmp_path):
    source, frames = video_named("closed.mp4")
    path = tmp_path / "titled.mkv"
    with av.open(str(source)) as whole, av.open(str(path), "w") as container:
        container.metadata["title"] = "TITLETITLE"
        stream = container.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    path.write_bytes(path.read_bytes().replace(b"TITLETITLE", b"\xff\xfe\xe9\xe8\xc0\xc1\xf5\xf8\x80\x81"))
    assert_same_frames(read(path, [0, 59]), frames, [0, 59])


# ---- files that name others ------------------------------------------------------------------------------------------


@contextmanager
def opened_files(path: Path) -> Iterator[list[bool]]:
    """Give a list that becomes [True] if anybody opens the file in the block: Linux tells."""
    libc = ctypes.CDLL(None)
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    assert descriptor >= 0
    assert libc.inotify_add_watch(descriptor, os.fsencode(path), 0x20) >= 0
    is_opened: list[bool] = []
    try:
        yield is_opened
        with contextlib.suppress(BlockingIOError):
            is_opened.append(bool(os.read(descriptor, 4096)))
    finally:
        os.close(descriptor)


PLAYLISTS = {
    "a.mp4": "ffconcat version 1.0\nfile other.mp4\nfile other.mp4\n",
    "b.ts": "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nother.mp4\n#EXT-X-ENDLIST\n",
    "c.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nother.mp4\n#EXT-X-ENDLIST\n",
    "d.mp4": '<?xml version="1.0"?><MPD type="static" mediaPresentationDuration="PT4S"><Period><AdaptationSet>'
    '<Representation id="1" mimeType="video/mp4"><BaseURL>other.mp4</BaseURL></Representation></AdaptationSet>'
    "</Period></MPD>",
    "e.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "f.avi": "1\n00:00:01,000 --> 00:00:02,000\nother.mp4\n",
    "g.mkv": "# VobSub index file, v7\nid: en, index: 0\ntimestamp: 00:00:00:000, filepos: 0\n",
    "h.flv": ";FFMETADATA1\ntitle=other.mp4\n",
    "%d.png": "no picture",
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")
@pytest.mark.parametrize("name", PLAYLISTS)
def test_playlists_are_refused_and_open_no_other_file(tmp_path, numbered_video, name):
    other = Path(shutil.copy(numbered_video, tmp_path / "other.mp4"))
    shutil.copy(numbered_video, tmp_path / "1.png")
    (tmp_path / name).write_text(PLAYLISTS[name])
    for probe in (False, True):
        with opened_files(other) as is_opened, pytest.raises(av.InvalidDataError) as caught:
            open_file(str(tmp_path / name), probe)
        assert is_opened in ([], [False])
        if "of no container format" in str(caught.value):
            assert "allowed: mov,mp4,m4a,3gp,3g2,mj2, matroska,webm, avi" in str(caught.value)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")
def test_the_watch_notices_who_opens_a_file(numbered_video):
    with opened_files(numbered_video) as is_opened:
        open_file(str(numbered_video)).close()
    assert is_opened == [True]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")
@pytest.mark.parametrize("kind", [b"url ", b"alis"])
def test_data_of_another_file_is_not_opened(tmp_path, numbered_video, kind):
    """MP4's `dref` may name another file that has the frames."""
    other = Path(shutil.copy(numbered_video, tmp_path / "other.mp4"))
    data = bytearray(numbered_video.read_bytes())
    place = data.index(b"dref") + 12
    assert data[place + 4 : place + 12] == b"url " + bytes([0, 0, 0, 1])
    location = os.fsencode(other) + b"\0"
    entry = struct.pack(">I4sI", 12 + len(location), kind, 0) + location
    grown = len(entry) - 12
    data[place : place + 12] = entry
    for parent in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        start = data.index(parent) - 4
        struct.pack_into(">I", data, start, struct.unpack_from(">I", data, start)[0] + grown)
    (tmp_path / "a.mp4").write_bytes(data)
    with opened_files(other) as is_opened, open_file(str(tmp_path / "a.mp4")) as container:
        list(container.packets())
    assert is_opened in ([], [False])


@pytest.mark.parametrize("name", ["concat:other.mp4", "subfile,,start,0,end,0,,:other.mp4", "data:video/mp4,A"])
def test_names_of_protocols_are_files(tmp_path, monkeypatch, numbered_video, name):
    shutil.copy(numbered_video, tmp_path / "other.mp4")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_file(name)


def test_libav_may_use_no_protocol_but_files(numbered_video):
    with pytest.raises((av.InvalidDataError, FileNotFoundError)):
        VideoContainer("a", f"concat:{numbered_video}")


def test_the_time_that_is_over_ends_the_opening(numbered_video):
    with pytest.raises(VideoDecodeError, match="not decoded within 0 s"):
        open_file(str(numbered_video), deadline=Deadline(str(numbered_video), 0.0))


def test_the_clock_is_looked_at_for_every_large_packet(video_named, monkeypatch):
    """A compressed packet is unfolded when it is read, which takes time."""
    path, _ = video_named("intra.mp4")
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr(container_module, "_LARGE_PACKET", 0)
    with open_file(str(path), deadline=Deadline("a.mp4", 10.0)) as container:
        packets = container.packets()
        next(packets)
        clock[0] = 11.0
        with pytest.raises(VideoDecodeError, match="not decoded within 10 s"):
            next(packets)

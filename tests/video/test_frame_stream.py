"""Pictures of files are those that the decoder of the data sets gives; cameras are files in disguise."""

from __future__ import annotations

import itertools
import os
import re
import struct
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from mutualnet3d.video import frame_stream as frame_stream_module
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.frame_stream import CameraStream, FileStream, PictureStream, open_frame_stream
from mutualnet3d.video.reader import VideoReader
from tests.conftest import numbered_frames, write_video
from tests.damages import with_damaged_packets
from tests.video.encoded import FAULTS, needs_faults, write_numbered_at


def read(source) -> tuple[list[float], list[np.ndarray]]:
    times, pictures = [], []
    for seconds, picture in source:
        times.append(seconds)
        pictures.append(picture)
    return times, pictures


def encode(path: Path, frames_THWC: np.ndarray, times_ms: list[int], **options: str) -> Path:
    """A video whose frames have these times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=24, options=options or {"qp": "0", "preset": "ultrafast"})
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt, stream.codec_context.time_base = "rgb24", Fraction(1, 1000)
        for frame_HWC, time_ms in zip(frames_THWC, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"bf": "3", "g": "12"}),
        ("a.avi", "libx264", {"bf": "3", "g": "12"}),
        ("a.mkv", "libx264rgb", {"qp": "0"}),
    ],
)
def test_frames_and_times_of_a_file(tmp_path, name, codec, options):
    path = write_video(tmp_path / name, numbered_frames(30), codec=codec, **options)
    source = open_frame_stream(path)
    assert (source.name, source.fps, source.is_live, source.is_paced) == (str(path), 24.0, False, False)
    times, pictures = read(source)
    with VideoReader(str(path)) as video:
        expected = list(video.read(range(30)))
    np.testing.assert_array_equal(np.stack(pictures), np.stack(expected))
    np.testing.assert_allclose(times, np.arange(30) / 24, atol=1e-3)
    assert times[0] == 0


def test_a_file_that_is_played_live_is_to_be_paced(numbered_video):
    source = open_frame_stream(str(numbered_video), live=True)
    assert (source.is_live, source.is_paced) == (True, True)
    source.close()


def test_times_are_those_that_the_file_says(tmp_path):
    times_ms = [500, 540, 700, 701, 1500]
    path = encode(tmp_path / "a.mkv", numbered_frames(5), times_ms)
    times, pictures = read(FileStream(str(path)))
    np.testing.assert_allclose(times, [0, 0.04, 0.2, 0.201, 1.0], atol=1e-6)
    assert [picture[0, 0, 0] for picture in pictures] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("codec", "options"), [("mpeg4", {"bf": "2"}), ("libx264", {"bf": "3", "preset": "medium"}), ("mpeg4", {"bf": "0"})]
)
def test_times_of_an_avi_are_those_of_decoding(tmp_path, codec, options):
    """Its pauses are packets that are left out."""
    places = [*range(10), *range(35, 45)]
    times, pictures = read(FileStream(str(write_numbered_at(tmp_path / "a.avi", places, 25, codec, **options))))
    assert len(pictures) == 20
    assert times == pytest.approx([place / 25 for place in places])


@needs_faults
def test_an_avi_that_was_copied_from_finer_units_has_its_rate():
    stream = FileStream(str(FAULTS / "copy_x264.avi"))
    assert stream.fps == 30.0
    times, _ = read(stream)
    assert times == pytest.approx([number / 30 for number in range(90)])


def test_where_times_begin_anew_they_go_on(tmp_path):
    """Two recordings in one transport stream, the second of which has earlier times, or much later ones."""
    for start_ms in (0, 10_000_000):
        parts = [
            encode(tmp_path / f"{name}.ts", numbered_frames(5), [start + 40 * index for index in range(5)])
            for name, start in (("a", 2000), ("b", start_ms))
        ]
        joined = tmp_path / "joined.ts"
        joined.write_bytes(b"".join(part.read_bytes() for part in parts))
        times, _ = read(FileStream(str(joined)))
        assert len(times) == 10
        assert min(np.diff(times)) > 0
        assert max(np.diff(times)) < 0.1


@pytest.mark.parametrize(("turn", "matrix"), [(1, (0, -1, 1, 0)), (2, (-1, 0, 0, -1)), (3, (0, 1, -1, 0))])
def test_frames_are_upright(tmp_path, turn, matrix):
    rng = np.random.default_rng(0)
    path = write_video(tmp_path / "a.mp4", rng.integers(0, 255, (2, 16, 24, 3), np.uint8))
    content = path.read_bytes()
    # Bytes of the track's matrix: a, b, u, c, d, v, x, y, w in 16.16, the last column in 2.30.
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (value << 16 for value in matrix)
    track = content.index(identity, content.index(b"tkhd"))
    path.write_bytes(content[:track] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + content[track + 36 :])
    with VideoReader(str(path)) as video:
        expected = list(video.read(range(2)))
    _, pictures = read(FileStream(str(path)))
    assert pictures[0].shape == ((24, 16, 3) if turn != 2 else (16, 24, 3))
    np.testing.assert_array_equal(pictures, expected)
    torch.from_numpy(pictures[0])  # takes no memory that is read backwards


@pytest.mark.parametrize(("limit", "size"), [(None, (48, 64)), (48, (48, 64)), (24, (24, 32)), (20, (20, 27))])
def test_large_pictures_are_shrunk(numbered_video, limit, size):
    _, from_file = read(open_frame_stream(str(numbered_video), max_short_side=limit))
    _, in_memory = read(open_frame_stream(numbered_frames(100), max_short_side=limit))
    for pictures in (from_file, in_memory):
        assert {picture.shape for picture in pictures} == {(*size, 3)}
        assert [int(picture[3, 3, 0]) for picture in pictures] == list(range(0, 200, 2))


def test_a_cut_off_file_gives_what_is_there(tmp_path):
    rng = np.random.default_rng(0)
    path = write_video(tmp_path / "a.mkv", rng.integers(0, 255, (20, 48, 64, 3), np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _, pictures = read(FileStream(str(path)))
    assert 5 < len(pictures) < 15


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "a.mp4: cannot be decoded: FileNotFoundError"),
        (b"", "a.mp4: cannot be decoded: InvalidDataError"),
        (b"no video" * 100, "a.mp4: cannot be decoded: InvalidDataError"),
    ],
)
def test_what_is_no_video_is_named(tmp_path, content, message):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoDecodeError, match=message):
        open_frame_stream(str(path))


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(VideoDecodeError, match="the folder has no picture; looked for"):
        open_frame_stream(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(VideoDecodeError, match="pipe: is a folder, pipe or device, not a file"):
        open_frame_stream(str(tmp_path / "pipe"))


def test_a_file_without_video_is_named(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoDecodeError, match=r"a\.mkv: the file has no video stream"):
        open_frame_stream(str(tmp_path / "a.mkv"))


def test_a_video_of_broken_frames_alone_is_named(tmp_path):
    path = write_video(tmp_path / "a.mkv", numbered_frames(5))
    content = bytearray(path.read_bytes())
    start = content.index(b"\x1f\x43\xb6\x75") + 40  # in the first cluster
    content[start:-200] = bytes(len(content) - 200 - start)
    path.write_bytes(content)
    with pytest.raises(VideoDecodeError, match=re.escape(str(path))):
        read(open_frame_stream(str(path)))


def test_packets_without_frames_are_not_read_for_ever(tmp_path, monkeypatch):
    whole = write_video(tmp_path / "whole.mp4", numbered_frames(4))
    path = with_damaged_packets(whole, tmp_path / "a.mp4", range(4))
    monkeypatch.setattr(frame_stream_module, "LONGEST_WAIT", 0.2)
    source = FileStream(str(path))
    packets = list(source._container.packets())
    monkeypatch.setattr(source._container, "packets", lambda: itertools.cycle(packets))
    with pytest.raises(VideoDecodeError, match=r"^\S*a\.mp4: no frame came within 0\.2 s$"):
        read(source)


def test_who_takes_the_frames_may_take_any_time(numbered_video, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    num_frames = 0
    for _ in FileStream(str(numbered_video)):
        clock[0] += 1000.0
        num_frames += 1
    assert num_frames == 100


def test_a_folder_of_pictures(tmp_path):
    for number, frame in enumerate(numbered_frames(12, 8, 10)):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    stream = open_frame_stream(str(tmp_path), usual_fps=10.0)
    assert (stream.name, stream.fps, stream.is_live, stream.is_paced) == (str(tmp_path), 10.0, False, False)
    times, pictures = read(stream)
    np.testing.assert_allclose(times, np.arange(12) / 10)
    assert [int(picture[0, 0, 0]) // 2 for picture in pictures] == list(range(12))
    live = open_frame_stream(tmp_path, fps=20, live=True, max_short_side=4)
    assert (live.fps, live.is_live, live.is_paced) == (20.0, True, True)
    assert next(iter(live))[1].shape == (4, 5, 3)
    live.close()
    (tmp_path / "5.png").write_bytes(b"no picture")
    with pytest.raises(VideoDecodeError, match=r"5\.png: cannot be read"):
        read(open_frame_stream(str(tmp_path)))


# ---- cameras ---------------------------------------------------------------------------------------------------------


def test_a_camera_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(frame_stream_module.glob, "glob", lambda pattern: [])
    with pytest.raises(ValueError, match=r"there is no camera 77 \(/dev/video77\); there are: none"):
        open_frame_stream(77)
    monkeypatch.setattr(frame_stream_module.glob, "glob", lambda pattern: ["/dev/video2", "/dev/video0"])
    with pytest.raises(ValueError, match=r"there is no camera -1 .*; there are: /dev/video0, /dev/video2"):
        open_frame_stream(-1)


@pytest.fixture
def camera(monkeypatch, numbered_video):
    """/dev/video3 gives the numbered video; what it was asked for."""
    asked = {}

    def opening(path, **settings):
        asked.update(settings, path=path)
        return opened(str(numbered_video))

    opened = av.open
    monkeypatch.setattr(av, "open", opening)
    monkeypatch.setattr(frame_stream_module.os.path, "exists", lambda path: path == "/dev/video3")
    return asked


def test_a_camera(camera):
    source = open_frame_stream(3, fps=12.5)
    assert isinstance(source, CameraStream)
    assert camera == {
        "path": "/dev/video3",
        "mode": "r",
        "format": "v4l2",
        "options": {"framerate": "25/2"},
        "container_options": {},
        "metadata_errors": "replace",
        "timeout": pytest.approx(60.0, abs=5.0),
    }
    assert (source.fps, source.is_live, source.is_paced) == (24.0, True, False)
    times, pictures = read(source)
    assert len(times) == len(pictures) == 100


def test_a_camera_that_goes_away_is_named(camera, monkeypatch):
    source = open_frame_stream(3)
    packets = list(source._container.packets())[:5]
    plugged = source._container._input  # closed at the end: its streams decode the packets

    class Unplugged:
        format = plugged.format

        def demux(self, stream):
            yield from packets
            raise av.error.OSError(19, "No such device")

        def close(self):
            plugged.close()

    source._container._input = Unplugged()
    shown = []
    with pytest.raises(VideoDecodeError, match=r"camera 3 \(/dev/video3\): cannot be decoded: .*No such device"):
        shown.extend(iter(source))
    assert camera["options"] == {}


# ---- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [list, np.asarray, torch.from_numpy])
def test_pictures_that_are_there(kind):
    frames_THWC = numbered_frames(6, 4, 5)
    source = open_frame_stream(kind(frames_THWC), usual_fps=10.0)
    assert (source.fps, source.is_live, source.is_paced) == (10.0, False, False)
    times, pictures = read(source)
    np.testing.assert_allclose(times, np.arange(6) / 10)
    np.testing.assert_array_equal(np.stack(pictures), frames_THWC)
    assert open_frame_stream(list(frames_THWC), fps=25).fps == 25
    live = open_frame_stream(kind(frames_THWC), live=True, usual_fps=10.0)
    assert (live.fps, live.is_live, live.is_paced) == (10.0, True, True)


def test_pictures_that_come_have_their_time_by_coming():
    clock = iter([100.0, 100.5, 102.0]).__next__
    source = PictureStream(iter(numbered_frames(3)), is_live=True, clock=clock)
    assert read(source)[0] == [0.0, 0.5, 2.0]
    source = open_frame_stream(iter(numbered_frames(3)), usual_fps=10.0)
    assert (source.fps, source.is_live, source.is_paced) == (None, True, False)
    assert open_frame_stream(iter(numbered_frames(3)), fps=20, usual_fps=10.0).fps == 20
    stored = open_frame_stream(iter(numbered_frames(3)), live=False, usual_fps=10.0)
    assert (stored.fps, stored.is_live) == (10.0, False)


def test_the_last_frames_of_a_file_have_their_times_too(tmp_path):
    """The decoder gives them when there is no packet any more."""
    path = write_video(tmp_path / "a.mkv", numbered_frames(9), codec="libx264", bf="3", preset="medium")
    times, _ = read(FileStream(str(path)))
    np.testing.assert_allclose(times, np.arange(9) / 24, atol=1e-3)


def test_pictures_in_the_same_memory_are_kept_apart():
    def camera():
        picture = np.zeros((2, 2, 3), np.uint8)
        for level in range(3):
            picture[:] = level
            yield picture

    assert [int(picture[0, 0, 0]) for picture in read(open_frame_stream(camera()))[1]] == [0, 1, 2]


def test_a_generators_own_cleaning_up_runs():
    closed = []

    def camera():
        try:
            yield from numbered_frames(100)
        finally:
            closed.append(True)

    source = open_frame_stream(camera())
    next(iter(source))
    source.close()
    source.close()
    assert closed == [True]


FRAMES = numbered_frames(2, 4, 5)


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        (1.5, {}, "a stream's source is a path, a camera's number or pictures; got 1.5"),
        (True, {}, "a path, a camera's number or pictures; got True"),
        (None, {}, "got None"),
        (FRAMES, {"fps": 0}, "fps is 0; it must be a number above 0, frames per second"),
        (FRAMES, {"fps": float("nan")}, "fps is nan; it must be"),
        (FRAMES, {"fps": True}, "fps is True; it must be"),
        ("a.mp4", {"fps": 24}, "fps is of frames and of folders of pictures; a file tells its own"),
        ([], {}, "there is no picture to stream"),
        ([FRAMES[0], None], {}, r"picture 1 is None; it must be an array, uint8 \(H, W, 3\), RGB"),
        (FRAMES[0], {}, r"picture 0 is uint8 \(5, 3\); it must be uint8 \(H, W, 3\), RGB"),
        (FRAMES.astype(np.float32), {}, r"picture 0 is float32 \(4, 5, 3\); it must be uint8"),
        ([np.zeros((0, 4, 3), np.uint8)], {}, r"picture 0 is uint8 \(0, 4, 3\); it must be"),
        ([FRAMES[0], FRAMES[0, :3]], {}, r"picture 1 is \(3, 5, 3\), those before it are \(4, 5, 3\)"),
        (["a.mp4"], {}, "picture 0 is 'a.mp4'; it must be an array"),
    ],
)
def test_what_cannot_be_streamed_is_named(source, settings, message):
    with pytest.raises(ValueError, match=message):
        read(open_frame_stream(source, **settings))

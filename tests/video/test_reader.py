from __future__ import annotations

import csv
import gc
import os
import pickle
import re
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from benchmarks import broken_videos
from mutualnet3d.video import reader as decode
from mutualnet3d.video.reader import FrameCountCorrected, VideoDecodeError, VideoInfo, VideoReader
from tests.conftest import SHARED, numbered_frames, write_video

NUM_FRAMES, FPS, HEIGHT, WIDTH = 60, 24, 48, 64


def moving_noise(height: int, width: int) -> np.ndarray:
    """Blurred noise that runs diagonally and jumps now and then, so that encoders use all kinds of frames."""
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (height + 60, width + 90, 3)).astype(np.uint16)
    wide = (2 * wide + np.roll(wide, 1, 0) + np.roll(wide, 1, 1)) // 4
    starts = [(2 * (index % 26), 3 * (index % 29)) for index in range(NUM_FRAMES)]
    frames = np.stack([wide[top : top + height, left : left + width] for top, left in starts]).astype(np.uint8)
    frames[:, :8, :8] = (37 * np.arange(NUM_FRAMES) % 256)[:, None, None, None]  # no two frames are alike
    return frames


def x264(parameters: str) -> dict[str, str]:
    return {"preset": "veryfast", "x264-params": parameters}


def x265(parameters: str) -> dict[str, str]:
    return {"preset": "ultrafast", "x265-params": "log-level=none:" + parameters}


B_FRAMES = "bframes=3:b-adapt=0:b-pyramid=normal:ref=4:keyint=12"
VPX = {"deadline": "realtime", "cpu-used": "8"}
WITH_GAPS_MS = [40 * index + 350 * (index // 7) for index in range(NUM_FRAMES)]
EARLY_MS = [40 * index - 200 for index in range(NUM_FRAMES)]

VIDEOS: dict[str, dict] = {  # name: what `encode` takes
    "closed.mp4": {"options": x264(B_FRAMES)},
    "open.mp4": {"options": x264(B_FRAMES + ":open-gop=1")},
    "open.mkv": {"options": x264(B_FRAMES + ":open-gop=1")},
    "open.ts": {"options": x264(B_FRAMES + ":open-gop=1")},
    "strict.mp4": {"options": x264("bframes=5:b-adapt=0:b-pyramid=strict:ref=6:keyint=250:scenecut=0")},
    "closed.flv": {"options": x264(B_FRAMES)},
    "closed.avi": {"options": x264(B_FRAMES)},
    "closed.mov": {"options": x264(B_FRAMES)},
    "fragments.mp4": {"options": x264(B_FRAMES), "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "baseline.mp4": {"options": {"profile": "baseline", "preset": "veryfast", "g": "20"}},
    "intra.mp4": {"options": {"preset": "veryfast", "g": "1"}},
    "interlaced.ts": {"options": x264("bframes=3:keyint=12:interlaced=1"), "height": 64},
    "refresh.mp4": {"options": x264("bframes=0:ref=1:keyint=12:intra-refresh=1")},
    "refresh.mkv": {"options": x264("bframes=2:keyint=12:intra-refresh=1")},
    "444.mp4": {"options": x264(B_FRAMES), "pixels": "yuv444p"},
    "10bit.mp4": {"options": x264(B_FRAMES), "pixels": "yuv420p10le"},
    "gray.mp4": {"options": x264(B_FRAMES), "pixels": "gray"},
    "rgb_odd.mp4": {"codec": "libx264rgb", "options": x264(B_FRAMES), "pixels": "rgb24", "height": 37, "width": 51},
    "16x16.mp4": {"options": x264(B_FRAMES), "height": 16, "width": 16},
    "hevc.mp4": {"codec": "libx265", "options": x265("keyint=20:open-gop=0")},
    "hevc_open.mp4": {"codec": "libx265", "options": x265("keyint=12:min-keyint=12:bframes=4:b-adapt=0:scenecut=0")},
    "hevc_open.ts": {"codec": "libx265", "options": x265("keyint=12:min-keyint=12:bframes=4:b-adapt=0:scenecut=0")},
    "hevc10.mkv": {"codec": "libx265", "options": x265("keyint=12:bframes=4"), "pixels": "yuv420p10le"},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {**VPX, "g": "15"}},
    "vp9.mp4": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "g": "20", "auto-alt-ref": "6"}},
    "vp8.webm": {"codec": "libvpx", "options": {**VPX, "g": "15"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "keyint=16"}},
    "av1.mkv": {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "keyint=16"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "mjpeg.mov": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "ffv1.mkv": {"codec": "ffv1"},
    "gaps.mp4": {"options": x264(B_FRAMES), "times_ms": WITH_GAPS_MS},
    "gaps.mkv": {"options": x264(B_FRAMES), "times_ms": WITH_GAPS_MS},
    "early.mkv": {"options": x264(B_FRAMES), "times_ms": EARLY_MS},
    "early.mp4": {"options": x264(B_FRAMES), "times_ms": EARLY_MS},  # an edit list cuts the first frames away
}
# What differs from 60 frames at 24 a second.
COUNTS = {"early.mp4": 55}
RATES = {
    "gaps.mp4": 59 / (WITH_GAPS_MS[-1] / 1000),
    "gaps.mkv": 59 / (WITH_GAPS_MS[-1] / 1000),
    "early.mkv": 25.0,
    "early.mp4": 25.0,
}


def encode(
    path: Path,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    height: int = HEIGHT,
    width: int = WIDTH,
    times_ms: Sequence[int] | None = None,
    container_options: dict[str, str] | None = None,
) -> None:
    clock = Fraction(1, FPS) if times_ms is None else Fraction(1, 1000)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=Fraction(FPS), options=options or {})
        stream.height, stream.width, stream.pix_fmt = height, width, pixels
        stream.codec_context.time_base = clock
        for index, frame_HWC in enumerate(moving_noise(height, width)):
            frame = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")
            frame.pts, frame.time_base = times_ms[index] if times_ms else index, clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def one_after_the_other(path: Path) -> list[np.ndarray]:
    """All frames, upright, as PyAV gives them to whom reads a video from start to end; damaged packets give none."""
    frames = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    frames.append(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4))
            except av.FFmpegError:
                continue
    return frames


@pytest.fixture(scope="session")
def video_named(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, list[np.ndarray]]]:
    """The path of one of VIDEOS and all its frames; encoded when it is first asked for."""
    folder = tmp_path_factory.mktemp("encoded")
    made: dict[str, tuple[Path, list[np.ndarray]]] = {}

    def make(name: str) -> tuple[Path, list[np.ndarray]]:
        if name not in made:
            codec = VIDEOS[name].get("codec", "libx264")
            if codec not in av.codecs_available:
                pytest.skip(f"this libav cannot encode with {codec}")
            encode(folder / name, **VIDEOS[name])
            made[name] = folder / name, one_after_the_other(folder / name)
        return made[name]

    return make


def read(path: Path, indices: Sequence[int], **settings: float) -> list[np.ndarray]:
    with VideoReader(str(path), **settings) as video:
        return list(video.frames(indices))


def some_sets(num_frames: int, count: int = 8) -> list[list[int]]:
    """All, the first, the last, even spreads, and random ones."""
    rng = np.random.default_rng(num_frames)
    spreads = [np.linspace(start, start + 29, 8).astype(int).tolist() for start in (0, 11, num_frames - 30)]
    random = [rng.choice(num_frames, rng.integers(1, 10), replace=False) for _ in range(count)]
    return [list(range(num_frames)), [0], [num_frames - 1], *spreads, *(sorted(some.tolist()) for some in random)]


def assert_same_frames(got: Sequence[np.ndarray], frames: Sequence[np.ndarray], indices: Sequence[int]) -> None:
    assert len(got) == len(indices)
    wrong = [index for index, frame in zip(indices, got, strict=True) if not np.array_equal(frame, frames[index])]
    assert not wrong


# ---- the right frames ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VIDEOS)
def test_frames_are_those_of_reading_from_start_to_end(video_named, name):
    path, frames = video_named(name)
    num_frames = COUNTS.get(name, NUM_FRAMES)
    assert len(frames) == num_frames
    assert len({frame.tobytes() for frame in frames}) == num_frames, "frames that are alike would hide mistakes"
    with VideoReader(str(path)) as video:
        assert video.info.num_frames == num_frames
        assert video.info.fps == pytest.approx(RATES.get(name, FPS), rel=0.01)
        for indices in some_sets(num_frames):
            assert_same_frames(list(video.frames(indices)), frames, indices)
    for indices in some_sets(num_frames, count=2):  # a fresh decoder each
        assert_same_frames(read(path, indices), frames, indices)


@pytest.mark.parametrize("name", ["open.mp4", "open.mkv", "open.ts", "hevc_open.mp4", "hevc_open.ts", "mpeg2.ts"])
def test_these_videos_do_have_leading_pictures(video_named, name):
    """Frames that follow a keyframe in the file, are shown before it, and refer to what came before it."""
    with VideoReader(str(video_named(name)[0])) as video:
        if video._index_times is not None:
            video._read_packets()
        pts, keyframes = video._index.pts, video._index.keyframes
        assert any(pts[position] < pts[key] for key in keyframes for position in range(key + 1, len(pts)))


@pytest.mark.parametrize("name", ["open.mp4", "hevc_open.ts", "mpeg4.avi", "vp8.webm"])
def test_frames_are_the_same_when_packets_are_too_many_to_keep(video_named, name, monkeypatch):
    monkeypatch.setattr(decode, "_MAX_KEPT_BYTES", 1000)
    path, frames = video_named(name)
    with VideoReader(str(path)) as video:
        assert video._packets is None
        for indices in some_sets(NUM_FRAMES, count=4):
            assert_same_frames(list(video.frames(indices)), frames, indices)


@pytest.mark.parametrize("indices", [[0], [99], [0, 1, 2, 97, 98, 99], list(range(100)), [41, 67], []])
def test_exactly_the_frames_that_were_asked_for(numbered_video, indices):
    frames = read(numbered_video, indices)
    assert [np.unique(frame).tolist() for frame in frames] == [[2 * index] for index in indices]
    assert all(frame.shape == (48, 64, 3) and frame.dtype == np.uint8 for frame in frames)


def test_info_is_counted_and_not_believed(numbered_video):
    with VideoReader(str(numbered_video)) as video:
        assert (video.info.num_frames, video.info.fps) == (100, 24.0)


def test_frames_outlive_the_next_and_the_video(numbered_video):
    with VideoReader(str(numbered_video)) as video:
        frames = list(video.frames([3, 50, 99]))
    assert [int(frame.min()) for frame in frames] == [int(frame.max()) for frame in frames] == [6, 100, 198]


def test_a_video_can_be_asked_again_and_left_early(video_named):
    path, frames = video_named("open.mp4")
    with VideoReader(str(path)) as video:
        started = video.frames([7, 40])
        assert np.array_equal(next(started), frames[7])
        started.close()
        assert_same_frames(list(video.frames([2, 30])), frames, [2, 30])


def turned(source: Path, target: Path, matrix: Sequence[int]) -> Path:
    """A copy of an mp4 whose track header says that it is to be shown turned."""
    data = bytearray(source.read_bytes())
    start = data.index(b"tkhd") + 44
    data[start : start + 36] = struct.pack(">9i", *matrix)
    target.write_bytes(data)
    return target


ONE = 1 << 16


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30), lambda frame: frame[::-1].transpose(1, 0, 2)),  # clockwise
        ((-ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30), lambda frame: frame[::-1, ::-1]),
        ((0, -ONE, 0, ONE, 0, 0, 0, 0, 1 << 30), lambda frame: frame.transpose(1, 0, 2)[::-1]),
    ],
)
def test_frames_are_upright(video_named, tmp_path, matrix, turn):
    path, frames = video_named("closed.mp4")
    turned_path = turned(path, tmp_path / "turned.mp4", matrix)
    assert_same_frames(one_after_the_other(turned_path), [turn(frame) for frame in frames], range(NUM_FRAMES))
    for indices in some_sets(NUM_FRAMES, count=2):
        assert_same_frames(read(turned_path, indices), [turn(frame) for frame in frames], indices)


def test_frames_of_another_size_are_scaled_to_the_first(video_named, tmp_path):
    """Streams for broadcast may change their size; two of them in a row do."""
    small, large = tmp_path / "small.ts", tmp_path / "large.ts"
    encode(small, options=x264(B_FRAMES), times_ms=[40 * index for index in range(NUM_FRAMES)])
    later_ms = [40 * index + 4000 for index in range(NUM_FRAMES)]
    encode(large, options=x264(B_FRAMES), times_ms=later_ms, height=96, width=128)
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with VideoReader(str(both)) as video:
        assert video.info.num_frames == 2 * NUM_FRAMES
        shapes = [frame.shape for frame in video.frames([0, 59, 60, 119])]
        assert shapes == [(48, 64, 3)] * 4
        assert [frame.shape for frame in video.frames([60, 119])] == [(96, 128, 3)] * 2


@pytest.mark.parametrize("start_ms", [2000, 2350, 4000])
def test_recordings_that_are_joined_come_one_after_the_other(tmp_path, start_ms):
    """The second has earlier timestamps: sorting all by time would mix them."""
    first, second, joined = tmp_path / "first.ts", tmp_path / "second.ts", tmp_path / "joined.ts"
    for path, start in ((first, 4000), (second, start_ms)):
        encode(path, options=x264(B_FRAMES), times_ms=[40 * index + start for index in range(NUM_FRAMES)])
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    frames = one_after_the_other(joined)
    assert len(frames) == 2 * NUM_FRAMES
    for indices in some_sets(len(frames), count=4):
        assert_same_frames(read(joined, indices), frames, indices)


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
            assert_same_frames(list(video.frames(indices)), frames, indices)


# ---- no more work than it takes --------------------------------------------------------------------------------------


def work(path: Path, indices: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """How many packets go into the decoder for these frames, and how many frames come out."""
    counts = Counter()
    original = VideoReader._decode

    def counting(self: VideoReader, packet: av.Packet | None) -> list[av.VideoFrame]:
        frames = original(self, packet)
        counts["packets"] += packet is not None
        counts["frames"] += len(frames)
        return frames

    with monkeypatch.context() as patch:
        patch.setattr(VideoReader, "_decode", counting)
        read(path, indices)
    return counts["packets"], counts["frames"]


@pytest.mark.parametrize(
    ("name", "indices", "most_packets", "most_frames"),
    [
        ("closed.mp4", [59], 12, 9),
        ("closed.mp4", [0, 59], 13, 10),
        ("closed.mp4", [0, 15, 30, 45, 59], 40, 30),
        ("open.mp4", [0, 15, 30, 45, 59], 45, 35),
        ("closed.flv", [0, 15, 30, 45, 59], 40, 30),
        ("intra.mp4", [0, 15, 30, 45, 59], 5, 5),
        ("vp9.webm", [59], 15, 15),
        ("hevc.mp4", [0, 59], 25, 25),
        ("mpeg2.ts", [0, 30, 59], 40, 40),
    ],
)
def test_only_what_is_needed_is_decoded(video_named, monkeypatch, name, indices, most_packets, most_frames):
    packets, frames = work(video_named(name)[0], indices, monkeypatch)
    assert len(indices) <= frames <= most_frames
    assert len(indices) <= packets <= most_packets


def test_h264_frames_that_none_refers_to_are_skipped(video_named, monkeypatch):
    """In one group of pictures of 60, so that nothing but the skipping saves work."""
    packets, frames = work(video_named("strict.mp4")[0], [0, 30, 59], monkeypatch)
    assert packets <= NUM_FRAMES
    assert frames <= 25


# ---- fewer frames than promised --------------------------------------------------------------------------------------


def without_packet(source: Path, target: Path, number: int) -> Path:
    """A copy in which the bytes of a packet are zero."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    target.write_bytes(data)
    return target


@pytest.mark.parametrize("name", ["intra.mp4", "mjpeg.mov"])
def test_a_count_that_was_wrong_is_corrected_and_frames_are_then_counted(video_named, tmp_path, name):
    path = without_packet(video_named(name)[0], tmp_path / name, 20)
    frames = one_after_the_other(path)
    assert len(frames) == NUM_FRAMES - 1
    with VideoReader(str(path)) as video:
        assert video.info.num_frames == NUM_FRAMES
        with pytest.raises(FrameCountCorrected) as caught:
            list(video.frames(range(NUM_FRAMES)))
        assert str(caught.value) == f"{path}: 60 frames were promised, 59 can be decoded"
        assert video.info.num_frames == NUM_FRAMES - 1
        assert video.info.fps == FPS
        for indices in some_sets(NUM_FRAMES - 1, count=3):
            assert_same_frames(list(video.frames(indices)), frames, indices)


def test_damage_elsewhere_costs_nothing(video_named, tmp_path):
    source, frames = video_named("intra.mp4")
    path = without_packet(source, tmp_path / "damaged.mp4", 20)
    assert_same_frames(read(path, [0, 19, 21, 59]), frames, [0, 19, 21, 59])


def test_a_cut_off_file_gives_what_is_there(video_named, tmp_path):
    for name in ("closed.flv", "open.ts", "open.mkv", "vp8.webm"):
        source, frames = video_named(name)
        path = tmp_path / name
        path.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
        with VideoReader(str(path)) as video:
            assert 15 < video.info.num_frames < 50
            # The last packets may be damaged or refer to lost ones.
            assert_same_frames(list(video.frames(range(12))), frames, range(12))


def test_a_decoder_that_drops_reordered_frames_is_told_more(video_named, monkeypatch):
    path, frames = video_named("closed.mp4")
    original = VideoReader._decode

    def dropping(self: VideoReader, packet: av.Packet | None) -> list[av.VideoFrame]:
        return [frame for frame in original(self, packet) if self._probed or frame.pts != self._shown[7]]

    monkeypatch.setattr(VideoReader, "_decode", dropping)
    with VideoReader(str(path)) as video:
        assert not video._probed
        assert_same_frames(list(video.frames([2, 7, 8, 40])), frames, [2, 7, 8, 40])
        assert video._probed

    # The file may look otherwise when it is read again, shorter for one.
    reading = VideoReader._read_packets

    def fewer(self: VideoReader) -> None:
        reading(self)
        if self._probed:
            self._shown = self._shown[:5]

    monkeypatch.setattr(VideoReader, "_read_packets", fewer)
    with VideoReader(str(path)) as video:
        with pytest.raises(FrameCountCorrected):
            list(video.frames([7]))
        assert_same_frames(list(video.frames([7])), frames, [7])


class Stumbling:
    """Stands for a container that raises an error after some packets."""

    def __init__(self, packets: list[av.Packet], error: Exception):
        self.packets, self.error = packets, error

    def demux(self, stream):
        yield from self.packets
        raise self.error

    def close(self): ...


def packets_read(path, indices, monkeypatch):
    """How many packets are read for the frames at `indices`, those at the opening included, and the frames."""
    counts = []

    class Counting:
        def __init__(self, container):
            self.container = container

        def __getattr__(self, name):
            return getattr(self.container, name)

        def demux(self, stream):
            for packet in self.container.demux(stream):
                counts.append(packet.size > 0)
                yield packet

    opening = av.open
    with monkeypatch.context() as patch:
        patch.setattr(decode.av, "open", lambda *args, **options: Counting(opening(*args, **options)))
        with VideoReader(str(path)) as video:
            frames = list(video.frames(indices))
    return sum(counts), frames


@pytest.fixture(scope="module")
def groups_of_12(tmp_path_factory):
    """100 numbered frames, B-frames among them, a keyframe every 12; the index stands at the file's start."""
    path = tmp_path_factory.mktemp("groups") / "groups.mp4"
    options = {"qp": "0", "preset": "medium", "x264-params": "keyint=12:min-keyint=12:scenecut=0:open-gop=0:bframes=3"}
    made = write_video(path.with_name("index_last.mp4"), numbered_frames(100), **options)
    with av.open(str(made)) as source, av.open(str(path), "w", options={"movflags": "+faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return path


def test_of_an_mp4_file_only_the_groups_of_the_wanted_frames_are_read(groups_of_12, monkeypatch):
    for indices, groups in (([0], 1), ([50], 1), ([23, 24], 2), ([3, 40, 99], 3), ([47, 48, 59, 60], 3)):
        count, frames = packets_read(groups_of_12, indices, monkeypatch)
        assert [int(frame[0, 0, 0]) // 2 for frame in frames] == indices
        assert count <= 12 * groups
    with VideoReader(str(groups_of_12)) as video:
        assert (video.info.num_frames, video.info.fps) == (100, 24.0)
        for indices in ([70], [3, 90], [50, 51]):  # forwards and back again
            assert [int(frame[0, 0, 0]) // 2 for frame in video.frames(indices)] == indices


def test_an_index_that_does_not_agree_with_the_packets_is_not_used(video_named, monkeypatch):
    """With leading pictures the first frames of a group need the group before it."""
    path, expected = video_named("open.mp4")
    counts = []
    for index in range(0, NUM_FRAMES, 3):
        count, frames = packets_read(path, [index], monkeypatch)
        assert_same_frames(frames, expected, [index])
        counts.append(count)
    assert max(counts) > NUM_FRAMES


def test_an_index_of_another_number_of_frames_is_corrected(groups_of_12, monkeypatch):
    with VideoReader(str(groups_of_12)) as video:
        monkeypatch.setattr(VideoReader, "_read_groups", lambda self, indices: False)
        video.info = VideoInfo(103, 24.0)
        with pytest.raises(
            FrameCountCorrected, match=r"groups\.mp4: the file's index has 103 frames, its packets .* 100"
        ):
            list(video.frames([50]))
        assert [int(frame[0, 0, 0]) // 2 for frame in video.frames([50])] == [50]


def test_an_index_whose_end_is_cut_off_is_not_believed(groups_of_12, tmp_path):
    whole = groups_of_12.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    with VideoReader(str(cut)) as video:
        assert 40 < video.info.num_frames < 90
        assert [int(frame[0, 0, 0]) // 2 for frame in video.frames([5, 30])] == [5, 30]


@pytest.mark.parametrize("num_packets", [1, 31, 32, 33, 50])
@pytest.mark.parametrize("error", [av.InvalidDataError(-1094995529, "broken"), IndexError("list index out of range")])
def test_packets_before_an_error_are_not_lost(video_named, num_packets, error):
    """IndexError is what PyAV raises at the end of a file in which streams have appeared since it was opened."""
    with VideoReader(str(video_named("closed.mp4")[0])) as video:
        video._read_packets()
        packets = video._packets
        video._container.close()
        video._container = Stumbling(packets[:num_packets], error)
        assert sum(len(some) for some in video._demux()) == num_packets


def test_an_error_before_all_packets_is_one(video_named):
    with VideoReader(str(video_named("closed.mp4")[0])) as video:
        video._container.close()
        video._container = Stumbling([], av.InvalidDataError(-1094995529, "broken"))
        with pytest.raises(av.InvalidDataError, match="broken"):
            list(video._demux())


# ---- what cannot be decoded ------------------------------------------------------------------------------------------


def refused(path: object, reason: str, **settings: float) -> None:
    with pytest.raises(VideoDecodeError) as caught:
        read(path, [0], **settings)
    assert re.fullmatch(re.escape(f"{path}: ") + reason, str(caught.value), flags=re.DOTALL), str(caught.value)


def test_past_the_end_is_an_error_with_path_and_count(numbered_video):
    with VideoReader(str(numbered_video)) as video, pytest.raises(VideoDecodeError) as caught:
        list(video.frames([5, 100]))
    assert str(caught.value) == f"{numbered_video}: has 100 frames; frame 100 was asked for"


def test_missing_and_unreadable_videos_are_named(tmp_path, numbered_video):
    refused(tmp_path / "none.mp4", r"cannot be decoded: FileNotFoundError: .*none\.mp4'")
    refused(f"{numbered_video}/frame", "cannot be decoded: NotADirectoryError: .*")
    refused(tmp_path, "is a folder, pipe or device, not a file")
    refused("/dev/zero", "is a folder, pipe or device, not a file")
    refused("a\0b.mp4", "cannot be decoded: ValueError: embedded null byte")
    bad = tmp_path / "bad.mp4"
    for content in (b"", b"not a video at all\n" * 100, bytes(5000), numbered_video.read_bytes()[:300]):
        bad.write_bytes(content)
        refused(bad, r"cannot be decoded: InvalidDataError: .*bad\.mp4'")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path, numbered_video):
    path = Path(shutil.copy(numbered_video, tmp_path))
    path.chmod(0)
    refused(path, "cannot be decoded: PermissionError: .*")


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


def test_a_video_without_frames_is_named(video_named, tmp_path):
    data = video_named("fragments.mp4")[0].read_bytes()
    path = tmp_path / "header.mp4"
    path.write_bytes(data[: data.index(b"moof") - 4])
    refused(path, "the video has no frame")


def test_a_video_of_an_unknown_codec_is_named(video_named, tmp_path):
    path = tmp_path / "unknown.mp4"
    path.write_bytes(video_named("closed.mp4")[0].read_bytes().replace(b"avc1", b"zzzz"))
    refused(path, "(the video stream is of a codec that this libav does not know|cannot be decoded: .*)")


def test_a_video_of_broken_frames_alone_is_named(video_named, tmp_path):
    source, _ = video_named("mjpeg.mov")
    data = bytearray(source.read_bytes())
    start, stop = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:stop] = bytes(stop - start)
    path = tmp_path / "zeros.mov"
    path.write_bytes(data)
    refused(path, "cannot be decoded: InvalidDataError: .*")


def test_absurd_pictures_are_refused(video_named, monkeypatch):
    monkeypatch.setattr(decode, "MAX_PIXELS", 1000)
    refused(video_named("closed.mp4")[0], "cannot be decoded: .*")


def test_no_packet_that_can_be_decoded_is_named(video_named, monkeypatch):
    monkeypatch.setattr(VideoReader, "_decode", lambda self, packet: [])
    refused(video_named("closed.mp4")[0], "the video has no frame that can be decoded")


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


def test_errors_survive_the_border_of_a_worker():
    for kind in (VideoDecodeError, FrameCountCorrected):
        error = pickle.loads(pickle.dumps(kind("a.mp4: broken")))
        assert type(error) is kind
        assert str(error) == "a.mp4: broken"


# ---- time, memory, files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["closed.mp4", "open.ts", "mpeg4.avi"])
def test_no_time_at_all_is_too_short(video_named, name):
    refused(video_named(name)[0], "not decoded within 0 s", timeout=0)


def test_time_that_runs_out_while_decoding_is_noticed(video_named, monkeypatch):
    path, frames = video_named("closed.mp4")
    with VideoReader(str(path), timeout=30) as video:
        coming = video.frames(range(NUM_FRAMES))
        assert np.array_equal(next(coming), frames[0])
        now = decode.time.monotonic()
        monkeypatch.setattr(decode.time, "monotonic", lambda: now + 31)
        with pytest.raises(VideoDecodeError) as caught:
            list(coming)
    assert str(caught.value) == f"{path}: not decoded within 30 s"


def test_enough_time_changes_nothing(video_named):
    path, frames = video_named("closed.mp4")
    assert_same_frames(read(path, [0, 59], timeout=60), frames, [0, 59])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell a process its memory")
def test_nothing_is_left_behind(video_named, tmp_path):
    """Neither memory nor open files, by videos that are read in part, whole, or broken."""
    path, _ = video_named("closed.mp4")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[:2000])
    damaged = without_packet(video_named("intra.mp4")[0], tmp_path / "damaged.mp4", 20)

    def megabytes() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def use(number: int) -> None:
        with VideoReader(str(path)) as video:
            frames = video.frames([3, 20, 40])
            next(frames)
            if number % 2:
                list(frames)
        with pytest.raises(VideoDecodeError):
            VideoReader(str(cut))
        if number % 10 == 0:
            with pytest.raises(FrameCountCorrected):
                read(damaged, [19, 20])
            VideoReader(str(path))  # not even closed

    for number in range(50):
        use(number)
    gc.collect()
    memory, files = megabytes(), len(os.listdir("/proc/self/fd"))
    for number in range(300):
        use(number)
    gc.collect()
    assert megabytes() - memory < 20
    assert len(os.listdir("/proc/self/fd")) <= files


# ---- damage ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def videos_to_damage(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return broken_videos.make_videos(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("way", broken_videos.WAYS)
def test_damaged_videos_give_frames_or_an_error_of_ours(videos_to_damage, way, monkeypatch):
    monkeypatch.setattr(broken_videos, "WAYS", [way])
    others = videos_to_damage[3:] + videos_to_damage[:3]
    pairs = zip(videos_to_damage, others, strict=True)
    damages = [broken_videos.Damage(*pair, seed) for seed, pair in enumerate(pairs)]
    verdicts = [broken_videos.judge(damage, limit_memory=False) for damage in damages]
    assert {verdict.outcome for verdict in verdicts} <= {broken_videos.DECODED, broken_videos.REFUSED}, verdicts
    assert max(verdict.seconds for verdict in verdicts) < 5


def test_the_benchmark_sees_other_exceptions(videos_to_damage, monkeypatch):
    monkeypatch.setattr(VideoReader, "_open", lambda self, probe: {}["no such key"])
    verdict = broken_videos.judge(broken_videos.Damage(videos_to_damage[0], videos_to_damage[1], 0), limit_memory=False)
    assert (verdict.outcome, verdict.message) == (broken_videos.OTHER, "KeyError: 'no such key'")


# ---- real videos -----------------------------------------------------------------------------------------------------

DIVERSE = SHARED / "videos" / "diverse"
real_videos = pytest.mark.skipif(not DIVERSE.exists(), reason=f"the real videos are not at {DIVERSE.parent}")


def diverse() -> list[dict[str, str]]:
    """What is known of each of the real videos; none where they are not."""
    table = DIVERSE.with_suffix(".csv")
    return list(csv.DictReader(table.read_text().splitlines())) if table.exists() else [{"file": "none"}]


def compare_real(row: dict[str, str], indices_of: Callable[[int], list[int]]) -> None:
    path = DIVERSE / row["file"]
    column = row["frames_decoded"]
    num_frames = int(column) if column.isdigit() else 0
    if not num_frames:
        refused(path, "(cannot be decoded: InvalidDataError: .*|the file has no video stream|the video has no frame)")
        return
    wanted = indices_of(num_frames)
    with VideoReader(str(path)) as video:
        assert video.info.num_frames == num_frames
        got = list(video.frames(wanted))
    assert len(got) == len(wanted)
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        position = -1
        for position, frame in enumerate(container.decode(video=0)):
            if position in wanted:
                upright = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
                assert np.array_equal(got.pop(0), upright), f"frame {position}"
    assert position == num_frames - 1


@real_videos
@pytest.mark.parametrize("row", diverse(), ids=lambda row: row["file"])
def test_real_videos(row):
    compare_real(row, lambda num_frames: np.unique(np.linspace(0, num_frames - 1, 4).astype(int)).tolist())


@pytest.mark.slow
@real_videos
@pytest.mark.parametrize("row", diverse(), ids=lambda row: row["file"])
def test_real_videos_whole(row):
    compare_real(row, lambda num_frames: list(range(num_frames)))


@real_videos
def test_real_clips():
    paths = sorted((DIVERSE.parent / "surv_fight" / "fight").glob("*.mp4"))[:50:10]
    assert len(paths) == 5
    for path in paths:
        frames = one_after_the_other(path)
        wanted = np.unique(np.linspace(0, len(frames) - 1, 8).astype(int)).tolist()
        with VideoReader(str(path)) as video:
            assert video.info.num_frames == len(frames)
            assert_same_frames(list(video.frames(wanted)), frames, wanted)


def test_frames_with_reordering_come_in_order(tmp_path):
    """B-frames leave the file in another order than they are shown in."""
    path = write_video(tmp_path / "b.mp4", numbered_frames(40), qp="0", bf="3", preset="medium")
    assert [int(frame[0, 0, 0]) for frame in read(path, [0, 5, 6, 7, 39])] == [0, 10, 12, 14, 78]


def test_pixels_of_a_picture_that_is_turned_upright():
    stream, square = SimpleNamespace(sample_aspect_ratio=Fraction(4, 3)), SimpleNamespace(sample_aspect_ratio=None)
    for rotation, wanted in ((0, Fraction(4, 3)), (90, Fraction(3, 4)), (180, Fraction(4, 3)), (-90, Fraction(3, 4))):
        frame = SimpleNamespace(rotation=rotation)
        assert decode.upright_pixel_aspect(stream, frame) == wanted
        assert decode.upright_pixel_aspect(square, frame) is None

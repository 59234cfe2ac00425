"""Small videos of every codec and container, and plain PyAV's reading of them to compare with."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.reader import VideoReader
from tests.conftest import SHARED, numbered_frames

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
    "gaps.mp4": 25.0,  # of most frames
    "gaps.mkv": 25.0,
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
        if codec == "libvpx":
            stream.codec_context.thread_count = 1  # threads of VP8 wait for one another in busy loops
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


def read(path: Path, indices: Sequence[int], **settings: float) -> list[np.ndarray]:
    with VideoReader(str(path), **settings) as video:
        return list(video.read(indices))


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


def without_packet(source: Path, target: Path, number: int) -> Path:
    """A copy in which the bytes of a packet are zero."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    target.write_bytes(data)
    return target


def refused(path: object, reason: str, **settings: float) -> None:
    with pytest.raises(VideoDecodeError) as caught:
        read(path, [0], **settings)
    assert re.fullmatch(re.escape(f"{path}: ") + reason, str(caught.value), flags=re.DOTALL), str(caught.value)


def with_index_first(source: Path, target: Path) -> Path:
    """A copy as an mp4 file whose index stands at the start."""
    with av.open(str(source)) as whole, av.open(str(target), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    return target


FAULTS = SHARED / "videos" / "faults"
needs_faults = pytest.mark.skipif(not FAULTS.exists(), reason=f"the files on which readers fail are not at {FAULTS}")


def with_matrix(source: Path, target: Path, matrix: Sequence[int]) -> Path:
    """A copy of an mp4 whose track is to be shown turned or mirrored, by the matrix's numbers a, b, c, d."""
    data = bytearray(source.read_bytes())
    start = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    target.write_bytes(data)
    return target


def write_numbered_at(path: Path, places: Sequence[int], fps: int, codec: str = "mpeg4", **options: str) -> Path:
    """Numbered frames, of which frame i is shown at `places[i]` / `fps` seconds; MPEG-4 with B-frames by default."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options or {"bf": "2", "g": "12"})
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "rgb24" if codec == "libx264rgb" else "yuv420p"
        for place, frame_HWC in zip(places, numbered_frames(len(places)), strict=True):
            frame = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path

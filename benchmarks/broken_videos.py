#!/usr/bin/env python3
"""Damages videos at random and decodes what is left of them: whatever is in a file, training must not stop for it.

    python benchmarks/broken_videos.py --count 1000 --edits 1000 --seed 0
    python benchmarks/broken_videos.py --videos FOLDER --keep FOLDER_FOR_CULPRITS

Of `--count` files bytes are damaged; of `--edits` files the container's tables are edited (`container_edits`), and the
video's data stay. Each file must give its frames, those asked for alone equal to those of decoding it from its start to
its end, or raise VideoDecodeError. Counted are those that do, wrong frames, other exceptions, crashes of libav and
files that never end. Of the last three there must be none, and no wrong frames after edits, or the exit status is 1:
damage that no decoder reports is told by decoding the whole file alone. Processes may take
4 GiB of memory, so that absurd picture sizes are noticed. The same seed damages the same videos in the same way.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from container_edits import edits_of
from program_options import add

from mutualnet3d.process_pool import LostItem, map_in_processes
from mutualnet3d.video.errors import FrameCountCorrected, VideoDecodeError
from mutualnet3d.video.reader import VideoReader
from mutualnet3d.video.verify import compare_random_access

DECODED, REFUSED, WRONG = "decoded", "VideoDecodeError", "wrong frames"
OTHER, CRASH, HANG = "other exception", "crash", "hang"
MEMORY_BYTES = 4 << 30
TIMEOUT_SECONDS = 20.0
NUM_FRAMES = 16
EDGE_BYTES = 2048  # where most containers keep their headers

CONTAINERS = {  # name: encoder, its options, the container's options
    "moov_last.mp4": ("libx264", {"preset": "veryfast", "bf": "3", "g": "12"}, {}),
    "moov_first.mp4": ("libx264", {"preset": "veryfast", "bf": "3", "g": "12"}, {"movflags": "faststart"}),
    "fragments.mp4": ("libx264", {"preset": "veryfast", "g": "12"}, {"movflags": "frag_keyframe+empty_moov"}),
    "hevc.mp4": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:keyint=12"}, {}),
    "h264.mkv": ("libx264", {"preset": "veryfast", "bf": "3", "g": "12"}, {}),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "12"}, {}),
    "vp8.webm": ("libvpx", {"deadline": "realtime", "cpu-used": "8", "g": "12"}, {}),
    "h264.ts": ("libx264", {"preset": "veryfast", "bf": "3", "g": "12"}, {}),
    "mpeg2.ts": ("mpeg2video", {"bf": "2", "g": "12"}, {}),
    "mpeg4.avi": ("mpeg4", {"bf": "2", "g": "12"}, {}),
    "mpeg4.mp4": ("mpeg4", {"bf": "2", "g": "12"}, {}),
    "mpeg4.mkv": ("mpeg4", {"bf": "2", "g": "12"}, {}),
    "mjpeg.avi": ("mjpeg", {}, {}),
    "h264.mov": ("libx264", {"preset": "veryfast", "g": "12"}, {}),
    "h264.flv": ("libx264", {"preset": "veryfast", "bf": "3", "g": "12"}, {}),
}


@dataclass(frozen=True)
class Damage:
    """Damage to be done to `video`, perhaps with parts of `other`; `seed` fixes its kind and its places.

    Args:
        video, other: paths of videos.
        seed: seed of the random numbers.
        edit: name of the edit of the container's tables; "": bytes are damaged.
    """

    video: str
    other: str
    seed: int
    edit: str = ""

    @property
    def name(self) -> str:
        """Name of a file that has the damage, ending included."""
        return f"{self.seed}_{self.edit and self.edit + '_'}{Path(self.video).name}"


@dataclass(frozen=True)
class Verdict:
    """Result of reading one damaged video."""

    outcome: str
    message: str
    seconds: float


def make_videos(folder: Path, num_frames: int = 48) -> list[str]:
    """Write one short video per container and codec, 64 x 48, with moving content; return the paths."""
    rng = np.random.default_rng(0)
    picture_HWC = rng.integers(0, 256, (48 + num_frames, 64 + num_frames, 3), dtype=np.uint8)
    for name, (codec, options, container_options) in CONTAINERS.items():
        with av.open(str(folder / name), "w", options=container_options) as container:
            stream = container.add_stream(codec, rate=Fraction(24), options=options)
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if codec == "libvpx":
                stream.codec_context.thread_count = 1  # threads of VP8 wait for one another in busy loops
            for index in range(num_frames):
                part_HWC = np.ascontiguousarray(picture_HWC[index : index + 48, index : index + 64])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(part_HWC, format="rgb24")))
            container.mux(stream.encode(None))
    return sorted(str(folder / name) for name in CONTAINERS)


# ---- damage ----------------------------------------------------------------------------------------------------------


def damaged(damage: Damage) -> bytes:
    """Return the bytes of the damaged video."""
    rng = np.random.default_rng(damage.seed)
    if damage.edit:
        return bytes(edits_of(damage.video)[damage.edit](bytearray(Path(damage.video).read_bytes()), rng))
    data, other = (np.fromfile(path, np.uint8) for path in (damage.video, damage.other))
    kind = WAYS[rng.integers(len(WAYS))]
    return kind(data, other, rng).tobytes()


def _flip_bits(data: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _flip_between(data, rng, 0, len(data), 2000)


def _flip_in_head(data: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _flip_between(data, rng, 0, EDGE_BYTES, 100)


def _flip_in_tail(data: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _flip_between(data, rng, len(data) - EDGE_BYTES, len(data), 100)


def _flip_between(data: np.ndarray, rng: np.random.Generator, start: int, stop: int, most: int) -> np.ndarray:
    """Flip 1 to `most` bits; the logarithm of their number is uniform."""
    count = int(np.exp(rng.uniform(0, np.log(most))))
    places = rng.integers(max(start, 0), min(stop, len(data)), count)
    np.bitwise_xor.at(data, places, (1 << rng.integers(0, 8, count)).astype(np.uint8))
    return data


def _cut_off(data: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return data[: rng.integers(len(data))]


def _zero(data: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    start, stop = _stretch(data, rng)
    data[start:stop] = 0
    return data


def _extremes(data: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Numbers of 4 bytes in the headers become the largest or smallest there are: sizes, counts, offsets, rates."""
    for _ in range(rng.integers(1, 5)):
        start = rng.integers(EDGE_BYTES)
        start = start if rng.integers(2) else max(len(data) - EDGE_BYTES, 0) + start
        data[start : start + 4] = (0x00, 0x7F, 0x80, 0xFF)[rng.integers(4)]
    return data


def _splice(data: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([data[: rng.integers(len(data))], other[rng.integers(len(other)) :]])


def _overlay(data: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    start, stop = _stretch(data, rng)
    stop = min(stop, len(data), len(other))
    data[start:stop] = other[start:stop]
    return data


def _repeat(data: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    start, stop = _stretch(data, rng)
    return np.concatenate([data[:stop], data[start:]])


def _remove(data: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    start, stop = _stretch(data, rng)
    return np.concatenate([data[:start], data[stop:]])


def _stretch(data: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    start = int(rng.integers(len(data)))
    return start, start + int(np.exp(rng.uniform(0, np.log(len(data)))))


WAYS: list[Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]] = [
    _flip_bits,
    _flip_in_head,
    _flip_in_tail,
    _cut_off,
    _zero,
    _extremes,
    _splice,
    _overlay,
    _repeat,
    _remove,
]


# ---- decoding --------------------------------------------------------------------------------------------------------


def judge(damage: Damage, limit_memory: bool = True) -> Verdict:
    """Damage a video, decode frames spread over it, compare them with decoding it whole, and say what came of it."""
    if limit_memory:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with tempfile.NamedTemporaryFile(suffix=Path(damage.video).suffix) as file:
        file.write(damaged(damage))
        file.flush()
        started = time.monotonic()
        try:
            outcome, message = _compare(file.name)
        except VideoDecodeError as error:
            outcome, message = REFUSED, str(error).removeprefix(f"{file.name}: ").replace(file.name, "FILE")
        except Exception as error:  # noqa: BLE001 - which they are is what is asked
            outcome, message = OTHER, f"{type(error).__name__}: {error}"
        return Verdict(outcome, message, time.monotonic() - started)


def _compare(path: str) -> tuple[str, str]:
    """Return DECODED or WRONG, and the reason.

    Raises:
        VideoDecodeError: the file is refused.
    """
    with VideoReader(path, timeout=TIMEOUT_SECONDS) as video:
        try:
            num_frames = _decode_spread(video)
        except FrameCountCorrected:
            num_frames = _decode_spread(video)
    access = compare_random_access(path, TIMEOUT_SECONDS, NUM_FRAMES)
    if access.wrong:
        return WRONG, f"frames {access.wrong} of {access.num_frames}"
    return DECODED, f"{num_frames} frames"


def _decode_spread(video: VideoReader) -> int:
    indices = np.unique(np.linspace(0, video.info.num_frames - 1, NUM_FRAMES).round().astype(int)).tolist()
    num_frames = 0
    for frame_HWC in video.read(indices):
        frame_HWC.max()  # reads every pixel: memory that is not there would crash here
        num_frames += 1
    if num_frames != len(indices):
        raise RuntimeError(f"{num_frames} frames came for {len(indices)}")
    return num_frames


def draw_damages(videos: list[str], count: int, num_edits: int, seed: int) -> list[Damage]:
    """Return `count` damages of bytes, and `num_edits` of containers' tables, of each kind as many."""
    rng = np.random.default_rng(seed)
    damages = [
        Damage(*(videos[place] for place in rng.integers(len(videos), size=2)), seed=int(rng.integers(1 << 31)))
        for _ in range(count)
    ]
    editable = [(video, name) for video in videos for name in edits_of(video)]
    for number in range(num_edits):
        video, name = editable[number % len(editable)]
        damages.append(Damage(video, video, int(rng.integers(1 << 31)), name))
    return damages


def run(damages: list[Damage], workers: int, keep: str) -> bool:
    """Return True if each video was decoded or refused (or damaged, with wrong frames); print the counts."""
    verdicts: list[tuple[Damage, Verdict]] = []
    for index, verdict in map_in_processes(judge, damages, workers=workers, timeout=3 * TIMEOUT_SECONDS):
        if isinstance(verdict, LostItem):
            outcome = HANG if verdict.reason.startswith("took longer") else CRASH
            verdict = Verdict(outcome, verdict.reason, 3 * TIMEOUT_SECONDS if outcome == HANG else 0.0)
        verdicts.append((damages[index], verdict))

    counts = Counter(verdict.outcome for _, verdict in verdicts)
    for outcome in (DECODED, REFUSED, WRONG, OTHER, CRASH, HANG):
        print(f"{outcome:20} {counts[outcome]:6}")
    slow, slowest = max(verdicts, key=lambda pair: pair[1].seconds)
    print(f"slowest: {slowest.seconds:.1f} s, {Path(slow.video).name}, seed {slow.seed}: {slowest.message}")
    causes = Counter(verdict.message.split(":")[1].strip() for _, verdict in verdicts if ":" in verdict.message)
    print("causes: " + ", ".join(f"{cause} {number}" for cause, number in causes.most_common()))

    culprits = [(damage, verdict) for damage, verdict in verdicts if verdict.outcome not in (DECODED, REFUSED)]
    for damage, verdict in culprits:
        print(f"{verdict.outcome}: {damage.name}: {verdict.message}")
        if keep:
            os.makedirs(keep, exist_ok=True)
            Path(keep, damage.name).write_bytes(damaged(damage))
    return not [damage for damage, verdict in culprits if damage.edit or verdict.outcome != WRONG]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add(parser, "--count", 1000, "N", "number of videos whose bytes are damaged")
    add(parser, "--edits", 1000, "N", "number of videos whose container's tables are edited")
    add(parser, "--seed", 0, "N", "seed of the damages")
    parser.add_argument(
        "--videos", default="", metavar="FOLDER", help="folder of more videos to damage; default: those made here alone"
    )
    add(parser, "--workers", 1, "N", "number of processes")
    parser.add_argument(
        "--keep", default="", metavar="FOLDER", help="folder for the damaged videos that misbehave; default: none"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        videos = make_videos(Path(folder))
        if args.videos:
            videos += sorted(str(path) for path in Path(args.videos).iterdir() if path.is_file())
        damages = draw_damages(videos, args.count, args.edits, args.seed)
        sys.exit(0 if run(damages, args.workers, args.keep) else 1)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Reads videos that were made to cost much: seconds and memory of each, and the outcome.

    python benchmarks/hostile_videos.py
    python benchmarks/hostile_videos.py --scale 0.001 --folder FOLDER

Files are made by this program: claimed counts, tiny packets, playlists, giant pictures, endless containers, deep boxes,
compressed headers. Each is read in a process of its own, as a clip is for training: 16 frames spread over the video,
within `--timeout` seconds. Memory is the process's peak less its peak before. The exit status is 1 if a file costs over
10 s (and the time of one picture: 1 s) or 1 GB, or ends otherwise than with frames or a VideoDecodeError.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from struct import pack, pack_into

import av
import numpy as np
from PIL import Image

from mutualnet3d.video.errors import FrameCountCorrected, VideoDecodeError
from mutualnet3d.video.reader import VideoReader

MOST_SECONDS, MOST_MEGABYTES = 11.0, 1000.0
NUM_FRAMES = 16
MEMORY_BYTES = 8 << 30  # of a reading process: the machine is spared what this program is to find
KILL_SECONDS = 60.0


# ---- files -----------------------------------------------------------------------------------------------------------


def box(kind: bytes, *contents: bytes) -> bytes:
    """Return an MP4 box."""
    content = b"".join(contents)
    return pack(">I4s", 8 + len(content), kind) + content


def ordinary(path: Path, codec: str = "mpeg4", size: tuple[int, int] = (64, 48), count: int = 48) -> bytes:
    """Write a video of grey pictures; return its bytes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(24))
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        if codec == "libx264":
            stream.options = {"preset": "ultrafast", "x264-params": "ref=16:keyint=1000"}
        picture = np.full((size[1] * 3 // 2, size[0]), 128, np.uint8)
        for _ in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        container.mux(stream.encode(None))
    return path.read_bytes()


def claims(path: Path, count: int) -> None:
    """Write an MP4 file whose index claims `count` samples of a byte each."""
    data = bytearray(ordinary(path))
    pack_into(">II", data, data.index(b"stsz") + 8, 1, count)
    pack_into(">II", data, data.index(b"stts") + 8, 1, count)
    pack_into(">I", data, data.index(b"stsc") + 16, count)
    path.write_bytes(data)


def fragment_claims(path: Path, count: int) -> None:
    """Write an MP4 file with a fragment of `count` samples of which nothing is said."""
    fragment = box(b"moof", box(b"traf", box(b"tfhd", pack(">II", 0x20000, 1)), box(b"trun", pack(">II", 0, count))))
    path.write_bytes(ordinary(path) + fragment)


def small_packets(path: Path, count: int, num_bytes: int) -> None:
    """Write a video of `count` packets of `num_bytes` each."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(24))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.open()
        for number in range(count):
            packet = av.Packet(bytes(num_bytes))
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 24), stream, True
            container.mux(packet)


def png_pictures(path: Path, side: int, count: int) -> None:
    """Write a video of `count` PNG pictures of one colour."""
    Image.MAX_IMAGE_PIXELS = None
    file = io.BytesIO()
    Image.new("L", (side, side)).save(file, "png")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=Fraction(24))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"  # the pictures say otherwise
        for number in range(count):
            packet = av.Packet(file.getvalue())
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 24), stream, True
            container.mux(packet)


def with_hole(path: Path, num_bytes: int) -> None:
    """Write a video, and a hole of zeros after its first half."""
    data = ordinary(path, "flv" if path.suffix == ".flv" else "mpeg4")
    with path.open("wb") as file:
        file.write(data[: len(data) // 2])
        file.truncate(num_bytes)


def null_packets(path: Path, num_bytes: int) -> None:
    """Write a transport stream of a video and then of null packets."""
    data = ordinary(path)
    null = (b"\x47\x1f\xff\x10" + bytes(184)) * 10_000
    with path.open("wb") as file:
        file.write(data)
        for _ in range(max(1, num_bytes // len(null))):
            file.write(null)


def deep_boxes(path: Path, depth: int) -> None:
    """Write an MP4 file of boxes in boxes."""
    sizes = [8 * (depth - level) for level in range(depth)]
    path.write_bytes(box(b"ftyp", b"isom", bytes(4)) + b"".join(pack(">I4s", size, b"moov") for size in sizes))


def deep_elements(path: Path, depth: int) -> None:
    """Write a Matroska file of elements of unknown size in each other."""
    head = bytes.fromhex("1a45dfa3 8b 4282 88") + b"matroska" + bytes.fromhex("18538067 01ffffffffffffff")
    path.write_bytes(head + bytes.fromhex("1254c367 01ffffffffffffff 7373 01ffffffffffffff") * depth)


def compressed_index(path: Path, num_bytes: int) -> None:
    """Write an MP4 file whose compressed index unfolds into `num_bytes`."""
    squeezer = zlib.compressobj(9)
    zeros = bytes(1 << 20)
    squeezed = b"".join(squeezer.compress(zeros) for _ in range(max(1, num_bytes >> 20))) + squeezer.flush()
    index = box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", pack(">I", num_bytes), squeezed))
    path.write_bytes(box(b"ftyp", b"isom", bytes(4)) + box(b"moov", index) + box(b"mdat", bytes(1000)))


def playlist(path: Path, depth: int) -> None:
    """Write playlists that name each other twice, and a video at their end."""
    ordinary(path.with_name("end.mp4"))
    names = [path.name, *(f"playlist_{level}.mp4" for level in range(depth)), "end.mp4"]
    for name, following in itertools.pairwise(names):
        path.with_name(name).write_text("ffconcat version 1.0\n" + f"file {following}\n" * 2)


def hostile_files(scale: float) -> dict[str, Callable[[Path], object]]:
    """Return names of files and what writes each; `scale` 1: in the size that harms."""

    def scaled(number: float) -> int:
        return max(1, int(number * scale))

    files: dict[str, Callable[[Path], object]] = {}
    for million in (1, 20, 80):
        files[f"claims_{million}M.mp4"] = lambda path, million=million: claims(path, scaled(million * 1e6))
        files[f"fragment_{million}M.mp4"] = lambda path, million=million: fragment_claims(path, scaled(million * 1e6))
    for kind in ("mp4", "mkv", "avi", "ts"):
        files[f"bytes_1M.{kind}"] = lambda path: small_packets(path, scaled(1e6), 1)
        files[f"9_bytes_1M.{kind}"] = lambda path: small_packets(path, scaled(1e6), 9)
    side = 16384 if scale >= 1 else 256
    files["png_16k.mov"] = lambda path: png_pictures(path, side, 16)
    files["png_8k.mov"] = lambda path: png_pictures(path, side // 2, 16)
    files["h264_8k.mp4"] = lambda path: ordinary(path, "libx264", (side // 2, side // 4), 20)
    for kind in ("mkv", "avi", "ts", "mpg", "flv"):
        files[f"hole_10GB.{kind}"] = lambda path: with_hole(path, scaled(10e9))
    files["null_packets.ts"] = lambda path: null_packets(path, scaled(1e9))
    files["deep_boxes.mp4"] = lambda path: deep_boxes(path, scaled(100_000))
    files["deep_elements.mkv"] = lambda path: deep_elements(path, scaled(100_000))
    files["unfolds_2GB.mp4"] = lambda path: compressed_index(path, scaled(2e9))
    files["playlist.mp4"] = lambda path: playlist(path, 16)
    return files


# ---- reading ---------------------------------------------------------------------------------------------------------


def read_clip(path: str, timeout: float) -> str:
    """Return the outcome of reading a clip."""
    try:
        with VideoReader(path, timeout) as video:
            for _ in range(2):
                indices = np.unique(np.linspace(0, video.info.num_frames - 1, NUM_FRAMES).round().astype(int)).tolist()
                try:
                    return f"{sum(1 for _ in video.read(indices))} frames"
                except FrameCountCorrected:
                    continue
            return "VideoDecodeError: other counts again and again"
    except VideoDecodeError as error:
        return f"VideoDecodeError: {str(error).removeprefix(f'{path}: ')}"


def peak_megabytes() -> float:
    """Return the peak memory of this process."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) * 1024 / 1e6


def child(path: str, timeout: float) -> None:
    """Read a clip in this process; print what it cost."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    before, started = peak_megabytes(), time.monotonic()
    outcome = read_clip(path, timeout)
    print(json.dumps({"seconds": time.monotonic() - started, "mb": peak_megabytes() - before, "outcome": outcome}))


def measure(path: Path, timeout: float) -> tuple[float, float, str]:
    """Return seconds, megabytes and outcome of a file."""
    command = [sys.executable, __file__, "--read", str(path), "--timeout", str(timeout)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=KILL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return KILL_SECONDS, float("nan"), "killed"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return float("nan"), float("nan"), f"exit status {done.returncode}: {last[:100]}"
    result = json.loads(done.stdout.splitlines()[-1])
    return result["seconds"], result["mb"], result["outcome"]


def run(scale: float, timeout: float, folder_of_files: str, only: str = "") -> bool:
    """Return True if no file costs too much; print the table."""
    all_good = True
    print("| file | bytes | seconds | MB | outcome |\n|---|---|---|---|---|")
    for name, write in hostile_files(scale).items():
        if not re.search(only, name):
            continue
        with tempfile.TemporaryDirectory(dir=folder_of_files or None) as folder:
            path = Path(folder, name)
            write(path)
            seconds, megabytes, outcome = measure(path, timeout)
            num_bytes = os.path.getsize(path)
        good = (
            seconds <= MOST_SECONDS
            and megabytes <= MOST_MEGABYTES
            and (outcome.endswith(" frames") or outcome.startswith("VideoDecodeError"))
        )
        all_good &= good
        outcome = re.sub(r"[|\n]", " ", outcome).replace(str(path), "FILE")
        print(f"| {name} | {num_bytes:,} | {seconds:.2f} | {megabytes:.0f} | {outcome[:90]} |", flush=True)
    return all_good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="size of the files; 1: as they harm")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds that a clip may take (DECODE_TIMEOUT)")
    parser.add_argument("--folder", default="", help="place of the files, which take up to 1 GB; none: the system's")
    parser.add_argument("--only", default="", help="files whose names match this regular expression")
    parser.add_argument("--read", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        child(args.read, args.timeout)
        return
    sys.exit(0 if run(args.scale, args.timeout, args.folder, args.only) else 1)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Reading of videos that were made to cost much: seconds and memory of each, and the outcome.

    python benchmarks/hostile_videos.py
    python benchmarks/hostile_videos.py --scale 0.001 --folder FOLDER

Files are made by this program: claimed counts, tiny packets, playlists, giant pictures, endless containers, deep boxes,
compressed headers. Each is read two ways, 16 frames spread over the video:

- by `VideoReader` in a process of its own, as a clip is for training, within `--timeout` seconds;
- by `LimitedClipReader` with its own limits (9 s, 1 s later the process is killed; 1 GiB of address space), as the page
  reads uploads. Meanwhile another visitor reads a small ordinary clip by the same reader, again and again: the table
  has the longest of these reads.

Memory is a process's peak less its peak before; of the page's process it is the memory that is no file's, looked up
every 20 ms, less that of the server of which it is a copy.

The exit status is 1 if a file costs `VideoReader` over 10 s (and the time of one picture: 1 s) or 1 GB; if it costs the
page's reader over 10 s (and 1 s to start and kill the process) or 1 GiB; if the other visitor waits over 2 s; or if a
read ends otherwise than with frames or a VideoDecodeError. `VideoReader`'s memory for h264_8k.mp4 is printed and does
not count: libav keeps 16 pictures of 8192 x 4096, which nothing inside a process can bound, and the limit that holds is
the page's.
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
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from struct import pack, pack_into
from typing import NamedTuple

import av
import numpy as np
from PIL import Image
from program_options import add

from mutualnet3d.data.limited_reader import LimitedClipReader
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.shapes import ClipShape
from mutualnet3d.video.errors import FrameCountCorrected, VideoDecodeError
from mutualnet3d.video.reader import VideoReader

MOST_SECONDS, MOST_MEGABYTES = 11.0, 1000.0
MOST_PAGE_MEGABYTES = (1 << 30) / 1e6
MOST_WAIT_SECONDS = 2.0
MEMORY_NOT_BOUNDED = {"h264_8k.mp4"}  # in VideoReader's process
NUM_FRAMES = 16
PREPROCESSING = Preprocessing(
    NUM_FRAMES, 1, 24.0, scale=224, crop_size=224, mean=(0.45,) * 3, std=(0.225,) * 3, segments=True
)
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


def large_packet(path: Path, num_bytes: int) -> None:
    """Write an MP4 file whose first sample is a hole of zeros."""
    data = bytearray(ordinary(path))
    pack_into(">I", data, data.index(b"stsz") + 16, min(num_bytes, (1 << 31) - 1))
    with path.open("wb") as file:
        file.write(data + pack(">I4sQ", 1, b"free", 16 + num_bytes))
        file.truncate(len(data) + 16 + num_bytes)


def element(kind: str, content: bytes) -> bytes:
    """Return a Matroska element; `kind` in hexadecimal digits."""
    return bytes.fromhex(kind) + pack(">Q", len(content) | 1 << 56) + content


def compressed_packets(path: Path, num_bytes: int, count: int) -> None:
    """Write a Matroska file of packets that are zeros, compressed; libav refuses those that unfold into over 10 MB."""
    squeezer = zlib.compressobj(9)
    zeros = bytes(1 << 20)
    squeezed = b"".join(squeezer.compress(zeros) for _ in range(max(1, num_bytes >> 20))) + squeezer.flush()
    compression = element("6d80", element("6240", element("5034", element("4254", b"\0"))))
    size = element("e0", element("b0", b"\x40") + element("ba", b"\x30"))
    track = element("d7", b"\1") + element("73c5", b"\1") + element("83", b"\1") + element("86", b"V_MPEG4/ISO/ASP")
    tracks = element("1654ae6b", element("ae", track + size + compression))
    blocks = [element("a3", b"\x81" + pack(">hB", number, 0x80) + squeezed) for number in range(count)]
    cluster = element("1f43b675", element("e7", b"\0") + b"".join(blocks))
    head = element("1a45dfa3", element("4282", b"matroska"))
    path.write_bytes(
        head + element("18538067", element("1549a966", element("2ad7b1", b"\x0f\x42\x40")) + tracks + cluster)
    )


def hidden_frames(path: Path, size: tuple[int, int], count: int) -> None:
    """Write a VP9 video of superframes: eight keyframes in each packet, seven of which are not shown."""
    encoder = av.CodecContext.create("libvpx-vp9", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = *size, "yuv420p", Fraction(1, 24)
    encoder.options = {"deadline": "realtime", "cpu-used": "8"}
    picture = np.full((size[1] * 3 // 2, size[0]), 128, np.uint8)
    packets = [*encoder.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")), *encoder.encode(None)]
    shown = bytes(packets[0])
    hidden = bytes([shown[0] & ~2]) + shown[1:]
    marker = bytes([0xC0 | 3 << 3 | 7])
    content = hidden * 7 + shown + marker + pack("<I", len(shown)) * 8 + marker
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=Fraction(24))
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(count):
            packet = av.Packet(content)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 24), stream, True
            container.mux(packet)


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
    files["packet_2GB.mp4"] = lambda path: large_packet(path, scaled(2e9))
    files["packets_9GB.mkv"] = lambda path: compressed_packets(path, 9_000_000, scaled(1000))
    files["hidden_8k.webm"] = lambda path: hidden_frames(path, (side // 2, side // 4), 100)
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


def megabytes_of(process: int | str, name: str) -> float:
    """Return the value `name` of a process's memory: VmHWM, its peak, or RssAnon, what is no file's."""
    match = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(match[1]) * 1024 / 1e6 if match else 0.0  # none: it has just ended


def child(path: str, timeout: float) -> None:
    """Read a clip in this process; print what it cost."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    before, started = megabytes_of("self", "VmHWM"), time.monotonic()
    outcome = read_clip(path, timeout)
    cost = {"seconds": time.monotonic() - started, "mb": megabytes_of("self", "VmHWM") - before, "outcome": outcome}
    print(json.dumps(cost))


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


class PageCost(NamedTuple):
    """Cost of a file for the page.

    Args:
        seconds: time of its read.
        megabytes: memory of its process.
        outcome: frames or the error.
        wait: longest read of another visitor meanwhile, in seconds.
    """

    seconds: float
    megabytes: float
    outcome: str
    wait: float


def children_of(process: int) -> list[int]:
    """Return the processes that a process has started."""
    children = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == process:
                children.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
    return children


def page_read(reader: LimitedClipReader, path: Path) -> tuple[float, str]:
    """Return seconds and outcome of reading a clip as the page does."""
    started = time.monotonic()
    try:
        read = reader.read(str(path), [ClipShape(NUM_FRAMES, 224)])
        outcome = f"{next(iter(read.clips.values())).shape[1]} frames"
    except VideoDecodeError as error:
        outcome = f"VideoDecodeError: {str(error).removeprefix(f'{path}: ')}"
    return time.monotonic() - started, outcome


def measure_page(reader: LimitedClipReader, path: Path, ordinary_path: Path) -> PageCost:
    """Return the cost of a file that the page's reader, in use already, reads beside an ordinary one."""
    server = reader._server._process.pid
    done = threading.Event()

    def visit() -> float:
        longest = 0.0
        while True:
            seconds, outcome = page_read(reader, ordinary_path)
            if outcome != f"{NUM_FRAMES} frames":
                raise RuntimeError(f"another visitor's clip: {outcome}")
            longest = max(longest, seconds)
            if done.wait(0.2):
                return longest

    peak = before = megabytes_of(server, "RssAnon")
    with ThreadPoolExecutor(2) as threads:
        hostile = threads.submit(page_read, reader, path)
        visitor = threads.submit(visit)
        try:
            while not hostile.done():
                for number in children_of(server):
                    try:
                        peak = max(peak, megabytes_of(number, "RssAnon"))
                    except (FileNotFoundError, ProcessLookupError):
                        continue
                time.sleep(0.02)
        finally:
            done.set()
        return PageCost(hostile.result()[0], peak - before, hostile.result()[1], visitor.result())


def is_answer(outcome: str) -> bool:
    """Return True for frames and for a VideoDecodeError."""
    return outcome.endswith(" frames") or outcome.startswith("VideoDecodeError")


def run(scale: float, timeout: float, folder_of_files: str, only: str = "") -> bool:
    """Return True if no file costs too much; print the table."""
    all_good = True
    print("| file | bytes | seconds | MB | outcome | page: seconds | MB | outcome | another visitor, s |")
    print("|---|---|---|---|---|---|---|---|---|")
    with (
        closing(LimitedClipReader(PREPROCESSING)) as reader,
        tempfile.TemporaryDirectory(dir=folder_of_files or None) as folder_of_clip,
    ):
        clip = Path(folder_of_clip, "ordinary.mp4")
        ordinary(clip)
        page_read(reader, clip)  # its server has started
        for name, write in hostile_files(scale).items():
            if not re.search(only, name):
                continue
            with tempfile.TemporaryDirectory(dir=folder_of_files or None) as folder:
                path = Path(folder, name)
                write(path)
                seconds, megabytes, outcome = measure(path, timeout)
                page = measure_page(reader, path, clip)
                num_bytes = os.path.getsize(path)
            good = (
                seconds <= MOST_SECONDS
                and (megabytes <= MOST_MEGABYTES or name in MEMORY_NOT_BOUNDED)
                and is_answer(outcome)
                and page.seconds <= MOST_SECONDS
                and page.megabytes <= MOST_PAGE_MEGABYTES
                and is_answer(page.outcome)
                and page.wait <= MOST_WAIT_SECONDS
            )
            all_good &= good
            texts = [re.sub(r"[|\n]", " ", text).replace(str(path), "FILE")[:90] for text in (outcome, page.outcome)]
            print(
                f"| {name} | {num_bytes:,} | {seconds:.2f} | {megabytes:.0f} | {texts[0]} | {page.seconds:.2f} | "
                f"{page.megabytes:.0f} | {texts[1]} | {page.wait:.2f} |{'' if good else ' over'}",
                flush=True,
            )
    return all_good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add(parser, "--scale", 1.0, "FACTOR", "size of the files over the size at which they do harm")
    add(parser, "--timeout", 10.0, "SECONDS", "longest time for a clip (DECODE_TIMEOUT), seconds")
    parser.add_argument(
        "--folder", default="", metavar="FOLDER", help="folder for the files, up to 1 GB; default: a temporary one"
    )
    parser.add_argument(
        "--only", default="", metavar="PATTERN", help="regular expression of the names of files to read; default: all"
    )
    parser.add_argument("--read", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        child(args.read, args.timeout)
        return
    sys.exit(0 if run(args.scale, args.timeout, args.folder, args.only) else 1)


if __name__ == "__main__":
    main()

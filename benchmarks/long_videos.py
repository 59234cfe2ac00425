#!/usr/bin/env python3
"""Labels over the time of long videos: how many times faster than real time, in how much memory, and how far off.

    python benchmarks/long_videos.py --checkpoint output/demo/calibrated.pyth --video short.mp4 --hours 1 6
    python benchmarks/long_videos.py --checkpoint output/demo/calibrated.pyth --truth data/moving_shapes/val.csv

With --video its packets are repeated until the file has so many hours (nothing is encoded), and the file is labelled
at three budgets: the cheapest and the dearest sub-network of the table's front, and one between them, or those of
--subnets. Each runs in a process of its own, which prints the largest resident memory that it had before and after.

With --truth, a list of clips of one encoder, their packets are joined to a file of so many hours, some clips of one
class after some of another, and the borders of the segments are compared with the true ones.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from program_options import add

from mutualnet3d.data.lists import read_kinetics_list
from mutualnet3d.deploy import Predictor, SegmentRules
from mutualnet3d.results.segments import Segment

CLIPS_OF_A_BLOCK = (3, 12)  # of one class after the other, fewest and most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--checkpoint", required=True, metavar="PATH", help="calibrated.pyth of a test run, or the folder of a bundle"
    )
    parser.add_argument("--video", metavar="FILE", help="short video that is repeated; default: none")
    parser.add_argument("--truth", metavar="FILE", help="list of labelled clips that are joined; default: none")
    parser.add_argument(
        "--hours", type=float, nargs="+", default=[1.0], metavar="HOURS", help="lengths of the files, hours; default: 1"
    )
    add(parser, "--every", 1.0, "SECONDS", "time from a window to the next, seconds")
    parser.add_argument("--subnets", nargs="+", metavar="KEY", help="sub-networks to run; default: three of the front")
    add(parser, "--backend", "pytorch", "NAME", "library that runs the network")
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="number of CPU threads of the network; default: as many as the back end takes by itself",
    )
    add(parser, "--min-seconds", 0.0, "SECONDS", "least length of a segment with --truth, seconds")
    add(parser, "--smooth", 3, "N", "number of windows whose scores are averaged with --truth")
    add(parser, "--suffix", ".mp4", "TEXT", "suffix of the files, which names their container")
    parser.add_argument("--of-one", nargs=2, metavar=("VIDEO", "SUBNET"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.of_one:
        measure_one(args, *args.of_one)
        return
    if bool(args.video) == bool(args.truth):
        parser.error("give one of --video and --truth")
    predictor = Predictor.load(args.checkpoint, backend=args.backend, threads=args.threads)
    subnets = args.subnets or some_of_front(predictor)
    with tempfile.TemporaryDirectory() as folder:
        for hours in args.hours:
            path = Path(folder) / f"{hours:g}h{args.suffix}"
            if args.video:
                repeat(args.video, path, 3600 * hours)
                print(f"{hours:g} h of {describe(path)}, a window every {args.every:g} s")
                for subnet in subnets:
                    words = [sys.executable, __file__, *sys.argv[1:], "--of-one", str(path), subnet]
                    subprocess.run(words, check=True)
            else:
                blocks = join_clips(args.truth, path, 3600 * hours)
                print(f"{hours:g} h of {describe(path)}, {len(blocks)} blocks of one class")
                for subnet in subnets:
                    measure_borders(args, predictor, path, subnet, blocks)
            path.unlink()


def some_of_front(predictor: Predictor) -> list[str]:
    """Return the cheapest and the dearest sub-network of the table's front, and the middle one."""
    front = predictor.front("gflops", views=1)
    return list(dict.fromkeys(str(front[place].config) for place in (0, len(front) // 2, -1)))


def describe(path: Path) -> str:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        return f"{codec.width} x {codec.height} {codec.name}, {float(stream.average_rate or 0):g} frames a second"


def measure_one(args: argparse.Namespace, path: str, subnet: str) -> None:
    """Label a file by one sub-network, and print what it took."""
    predictor = Predictor.load(args.checkpoint, backend=args.backend, threads=args.threads)
    predictor.segments(np.zeros((8, 64, 64, 3), np.uint8), config=subnet)
    before = megabytes()
    video = predictor.segments(path, every=args.every, config=subnet)
    print(
        f"  {subnet:>18} {video.gflops:8.4f} GFLOPs a window: {video.times_real_time:7.1f} times real time; decoding "
        f"and resizing {video.decode_seconds:.1f} s, network {video.network_seconds:.1f} s, all {video.seconds:.1f} s; "
        f"largest resident memory {before:.0f} MB before, {megabytes():.0f} MB after",
        flush=True,
    )


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_borders(
    args: argparse.Namespace, predictor: Predictor, path: Path, subnet: str, blocks: Sequence[tuple[float, float, int]]
) -> None:
    """Print how far the borders of the segments are from those of the blocks."""
    rules = SegmentRules(smooth=args.smooth, min_seconds=args.min_seconds)
    video = predictor.segments(path, every=args.every, config=subnet, rules=rules)
    span = video.windows.span_seconds
    border_B = np.array([segment.start for segment in video.segments[1:]])
    errors = np.array([np.abs(border_B - start).min() for start, _, _ in blocks[1:]])
    right = sum(overlap(video.segments, block) for block in blocks) / blocks[-1][1]
    within = 100 * np.mean(errors <= span)
    print(
        f"  {subnet:>18}: {len(video.segments)} segments; a true border has one of a segment within "
        f"{np.median(errors):.2f} s in the median, {within:.1f} % within a window ({span:.2f} s), all within "
        f"{errors.max():.2f} s; {100 * right:.1f} % of the time has the right label; "
        f"{video.times_real_time:.1f} times real time",
        flush=True,
    )
    print(json.dumps({"subnet": subnet, "errors": errors.round(3).tolist(), "right": right}), file=sys.stderr)


def overlap(segments: Iterable[Segment], block: tuple[float, float, int]) -> float:
    """Return the seconds of a block that have its label."""
    start, end, label = block
    parts = (min(part.end, end) - max(part.start, start) for part in segments if part.labels[0].index == label)
    return sum(max(0.0, part) for part in parts)


class Packets:
    """Packets of a video, to be written again and again.

    Args:
        path: path of the video.
    """

    def __init__(self, path: str):
        with av.open(path) as container:
            stream = container.streams.video[0]
            packets = [packet for packet in container.demux(stream) if packet.size]
            assert stream.average_rate, f"{path}: no frame rate"
            assert stream.time_base, f"{path}: no unit of times"
            self.extradata = stream.codec_context.extradata
            self.time_base = stream.time_base
            self.ticks = round(len(packets) / stream.average_rate / stream.time_base)  # of all of it
            self.seconds = Fraction(self.ticks) * stream.time_base
            self._parts = [(bytes(packet), packet.pts, packet.dts, packet.is_keyframe) for packet in packets]

    def write(self, target: av.container.OutputContainer, stream: av.VideoStream, offset: int) -> None:
        """Write all packets, `offset` ticks later."""
        for data, pts, dts, is_keyframe in self._parts:
            packet = av.Packet(data)
            packet.pts = None if pts is None else pts + offset
            packet.dts = None if dts is None else dts + offset
            packet.time_base, packet.is_keyframe, packet.stream = self.time_base, is_keyframe, stream
            packet.duration = self.ticks // len(self._parts)
            target.mux(packet)


def repeat(video: str, path: Path, seconds: float) -> None:
    """Write the packets of a video again and again, until the file lasts so long."""
    packets = Packets(video)
    with av.open(video) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number in range(max(1, round(seconds / packets.seconds))):
            packets.write(target, stream, number * packets.ticks)


def join_clips(listed: str, path: Path, seconds: float) -> list[tuple[float, float, int]]:
    """Write clips of a list one after the other until the file lasts so long; start, end and label of each block."""
    clips_of: dict[int, list[str]] = {}
    for video in read_kinetics_list(listed, 1 << 16):
        clips_of.setdefault(video.label, []).append(video.path)
    generator = random.Random(0)
    template = clips_of[min(clips_of)][0]
    extradata = Packets(template).extradata
    blocks: list[tuple[float, float, int]] = []
    ticks, end = 0, Fraction(0)
    with av.open(template) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        while end < seconds:
            label = generator.choice(sorted(set(clips_of) - {block[2] for block in blocks[-1:]}))
            start = end
            for _ in range(generator.randint(*CLIPS_OF_A_BLOCK)):
                packets = Packets(generator.choice(clips_of[label]))
                assert packets.extradata == extradata, f"{listed}: the clips are of several encoders"
                packets.write(target, stream, ticks)
                ticks, end = ticks + packets.ticks, end + packets.seconds
            blocks.append((float(start), float(end), label))
    return blocks


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()

#!/usr/bin/env python3
"""Time to the first batch, clips per second and memory of loader workers: a fork server against forks.

    python benchmarks/loader_start.py
    python benchmarks/loader_start.py --lengths 1000 1000000 --workers 2

Each measurement is a process of its own, the two ways in turn. Cold: from the process's first loader, with the start of
its fork server; warm: its second loader. Memory of a worker is its PSS: what it has alone, and its part of what it
shares. All lines of a list but the 64 that are loaded name a video that is not there.
"""

from __future__ import annotations

import argparse
import multiprocessing
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path

import numpy as np
from program_options import add

from mutualnet3d import fork_server
from mutualnet3d.data.batch_sampler import ClipRequest
from mutualnet3d.data.clip_samplers import ClipSpan, UniformCrops, UniformSpans
from mutualnet3d.data.dataset import VideoDataset
from mutualnet3d.data.lists import read_kinetics_list
from mutualnet3d.data.workers import Workers
from mutualnet3d.demo import write_clip
from mutualnet3d.shapes import ClipShape

NUM_VIDEOS, BATCH_SIZE = 64, 4


def pss(pid: int) -> int:
    """Return a process's PSS, MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) >> 10


def measure(list_path: str, workers: int, method: str) -> None:
    """Print the numbers of one process."""
    if method == "fork":
        fork_server.context = lambda *kinds: multiprocessing.get_context("fork")
    start = time.perf_counter()
    videos = read_kinetics_list(list_path, 2)
    read_seconds = time.perf_counter() - start
    dataset = VideoDataset(videos, UniformSpans(ClipSpan(8, 2, 24.0), 1), UniformCrops(64, 64))
    first_seconds, rate, memory = [], 0.0, 0
    for _ in range(2):
        start = time.perf_counter()
        batches = [
            [ClipRequest((step * BATCH_SIZE + row) % NUM_VIDEOS, (ClipShape(8, 64),)) for row in range(BATCH_SIZE)]
            for step in range(100)
        ]
        loads = iter(Workers(workers).load(dataset, batches))
        next(loads)
        first_seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
        for _ in range(80):
            next(loads)
        rate = 80 * BATCH_SIZE / (time.perf_counter() - start)
        children = multiprocessing.active_children()
        memory = max(
            (pss(child.pid) for child in children if child.pid), default=pss(multiprocessing.current_process().pid or 0)
        )
        loads.close()
    print(f"{first_seconds[0]:.2f} {first_seconds[1]:.2f} {rate:.0f} {memory} {read_seconds:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--workers",
        nargs="+",
        type=int,
        default=[0, 1, 2, 4],
        metavar="N",
        help="numbers of loader workers; default: %(default)s",
    )
    parser.add_argument(
        "--lengths",
        nargs="+",
        type=int,
        default=[1000],
        metavar="N",
        help="lengths of the list, lines; default: %(default)s",
    )
    add(parser, "--rounds", 2, "N", "number of measurements, of which the median is printed")
    parser.add_argument("--one", nargs=3, metavar=("LIST", "WORKERS", "METHOD"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure(args.one[0], int(args.one[1]), args.one[2])
        return
    print("| lines | workers | started by | first batch, cold, s | warm, s | clips/s | PSS, MB | list read in, s |")
    print("|---:|---:|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        for number in range(NUM_VIDEOS):
            write_clip(f"{folder}/{number}.mp4", rng.integers(0, 255, (24, 80, 96, 3), dtype=np.uint8), fps=24)
        for length in args.lengths:
            path = Path(folder) / f"{length}.csv"
            absent = (f"train/class/{number:026d}.mp4" for number in range(NUM_VIDEOS, length))
            names = chain((f"{number}.mp4" for number in range(NUM_VIDEOS)), absent)
            path.write_text("".join(f"{name} {number % 2}\n" for number, name in enumerate(names)), encoding="utf-8")
            for workers in args.workers:
                methods = ["forkserver", "fork"] if workers else ["-"]
                results: dict[str, list[list[float]]] = {method: [] for method in methods}
                for _ in range(args.rounds):
                    for method in methods:
                        command = [sys.executable, __file__, "--one", str(path), str(workers), method]
                        done = subprocess.run(command, check=True, capture_output=True, text=True)
                        results[method].append([float(word) for word in done.stdout.split()])
                for method, rows in results.items():
                    cold, warm, rate, memory, read = np.median(rows, axis=0)
                    row = f"{cold:.2f} | {warm:.2f} | {rate:.0f} | {memory:.0f} | {read:.2f}"
                    print(f"| {length} | {workers} | {method} | {row} |", flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Predicts 2,000 small videos into one file of results, in a run that is killed by SIGKILL, and times it.

    python benchmarks/many_files.py
    python benchmarks/many_files.py --files 200 --kills 2 --compare 50

The videos are made here, 3 % of them broken (cut off, empty, noise); the network is the demo's with random weights. The
run is `mutualnet3d predict LIST --output results.csv`: its process is killed at evenly spaced numbers of results and
started again until it ends by itself. Then every file must be in the results once, in the list's order, with its
status; and after each kill all processes that the run had started must end.

Throughput is of `Predictor.predict_files`, by as many processes as there are cores, beside `Predictor.predict` on one
file after the other, in one thread of one process; of both the middle of three rounds, which take turns, on the same
files without broken ones. Starting the processes counts.

The exit status is 1 if the results are not what they must be.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import av
import numpy as np
import torch
from killed_runs import descendants
from program_options import add

import mutualnet3d as m3
from mutualnet3d.data.build_loaders import build_preprocessing
from mutualnet3d.deploy import Predictor
from mutualnet3d.models import ModelFile, build_model, write_model_file
from mutualnet3d.models.build import space_of
from mutualnet3d.mutual import calibrate
from mutualnet3d.process_pool import num_cores
from mutualnet3d.shapes import ClipBatch

ROOT = Path(__file__).resolve().parents[1]
NUM_DIFFERENT = 20  # videos that are encoded; the others are copies
ROUNDS = 3


def write_model(path: Path) -> None:
    """Write the demo's network with random weights, calibrated on noise for its full size."""
    cfg = m3.load_cfg("X3D_tiny_mutual.yaml")
    model = build_model(cfg)
    full = model.full
    shape = full.clip_shape
    clips = {shape: torch.randn(2, 3, shape.frames, shape.size, shape.size)}
    batch = ClipBatch(clips, torch.zeros(2), torch.zeros(2))
    calibrate(model, (full,), [batch], lambda batch, config: [batch.clips[config.clip_shape]])
    model_file = ModelFile.of(
        model,
        class_names=tuple(f"class {number}" for number in range(cfg.MODEL.NUM_CLASSES)),
        preprocessing=build_preprocessing(cfg).to_json(),
        space=space_of(cfg),
        channels_last=cfg.MODEL.CHANNELS_LAST,
        step=0,
        config=cfg.dump(),
    )
    write_model_file(str(path), model_file)


def encode(path: Path, rng: np.random.Generator, num_frames: int = 48, height: int = 96, width: int = 128) -> None:
    """Write a moving pattern as H.264 at 24 frames a second."""
    pattern = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number in range(num_frames):
            picture = np.ascontiguousarray(np.roll(pattern, 2 * number, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def write_videos(folder: Path, count: int, share_broken: float) -> dict[str, str]:
    """Write the videos; return the status that each must have, by its path."""
    rng = np.random.default_rng(0)
    contents = []
    for _ in range(min(NUM_DIFFERENT, count)):
        encode(folder / "one.mp4", rng)
        contents.append((folder / "one.mp4").read_bytes())
    (folder / "one.mp4").unlink()
    broken = set(random.Random(0).sample(range(count), round(share_broken * count)))
    expected = {}
    for number in range(count):
        content = contents[number % len(contents)]
        if number in broken:
            content = (content[: len(content) // 3], b"", rng.bytes(len(content)))[number % 3]
        path = folder / f"{number:05d}.mp4"
        path.write_bytes(content)
        expected[str(path)] = "bad" if number in broken else "ok"
    (folder / "list.txt").write_text("".join(f"{Path(path).name}\n" for path in expected))
    return expected


def start(folder: Path, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mutualnet3d", "predict", str(folder / "list.txt"), "--backend", "pytorch"]
    command += ["--checkpoint", str(folder / "calibrated.pyth"), "--workers", str(workers)]
    command += ["--output", str(folder / "results.csv")]
    with open(folder / "log.txt", "ab") as log:
        return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log)


def num_done(folder: Path) -> int:
    journal = folder / "results.csv.journal"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def kill_at(folder: Path, workers: int, number: int) -> float:
    """Run until so many results are there, then kill; return the seconds until all of its processes have ended."""
    process = start(folder, workers)
    while num_done(folder) < number:
        if process.poll() is not None:
            raise RuntimeError(f"the run ended before it was killed: {(folder / 'log.txt').read_text()[-2000:]}")
        time.sleep(0.005)
    family = descendants(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = time.monotonic()
    while any((Path("/proc") / str(pid) / "exe").exists() for pid in family):
        time.sleep(0.01)
    return time.monotonic() - killed


def mistakes_in_results(path: Path, expected: dict[str, str]) -> list[str]:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    counts = Counter(row["path"] for row in rows)
    mistakes = [f"{file} comes {counts[file]} times" for file in expected if counts[file] != 1]
    mistakes += [f"{row['path']}: {row['status']}" for row in rows if expected.get(row["path"]) != row["status"]]
    if [row["path"] for row in rows] != list(expected):
        mistakes.append("the rows are not in the list's order")
    return mistakes


def seconds_of_many(folder: Path, paths: list[str], workers: int) -> float:
    predictor = Predictor.load(folder / "calibrated.pyth", backend="pytorch")
    started = time.monotonic()
    results = dict(predictor.predict_files(paths, workers=workers))
    assert len(results) == len(paths)
    return time.monotonic() - started


def seconds_one_by_one(folder: Path, paths: list[str]) -> float:
    predictor = Predictor.load(folder / "calibrated.pyth", backend="pytorch", threads=1)
    started = time.monotonic()
    for path in paths:
        predictor.predict(path)
    return time.monotonic() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add(parser, "--files", 2000, "N", "number of videos")
    add(parser, "--broken", 0.03, "SHARE", "share of broken videos, 0 to 1")
    add(parser, "--kills", 5, "N", "number of kills of the run")
    parser.add_argument(
        "--workers",
        type=int,
        default=num_cores(),
        metavar="N",
        help="number of processes; default: that of the CPU cores",
    )
    add(parser, "--compare", 300, "N", "number of videos of the two times")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        write_model(folder / "calibrated.pyth")
        expected = write_videos(folder, args.files, args.broken)
        for kill in range(args.kills):
            number = round((kill + 1) / (args.kills + 1) * args.files)
            seconds = kill_at(folder, args.workers, number)
            print(f"killed at {number} results; {num_done(folder)} are kept; all processes ended {seconds:.2f} s later")
        process = start(folder, args.workers)
        status = process.wait()
        mistakes = mistakes_in_results(folder / "results.csv", expected)
        print(
            f"{args.files} files, {list(expected.values()).count('bad')} broken, {args.kills} kills, status {status}:"
        )
        print("\n".join(mistakes) if mistakes else "every file is in the results once, with its status")
        print((folder / "log.txt").read_text().splitlines()[-1])
        paths = [path for path, state in expected.items() if state == "ok"][: args.compare]
        rounds = [
            (seconds_of_many(folder, paths, args.workers), seconds_one_by_one(folder, paths)) for _ in range(ROUNDS)
        ]
    many, single = (len(paths) / statistics.median(times) for times in zip(*rounds, strict=True))
    print(f"{len(paths)} files: {many:.1f} a second by {args.workers} processes, {single:.1f} one after the other")
    print(f"{many / single:.2f} times as fast")
    return 1 if mistakes or status != 1 else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Memory and time of a test's scores: 64 sub-networks, 20,000 videos, 400 classes, on the disk and in memory.

    python benchmarks/score_scale.py
    python benchmarks/score_scale.py --videos 2000 --ways memory disk

Scores are made up; all else is what a test does with them: they are gathered by batches, accuracies follow, the file of
all scores, confusion matrices, and cascades. Each way is a process of its own with a time limit. Memory is the largest
RSS beyond that of the process before it had scores; of scores on the disk it has the pages that are in use.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from program_options import add

from mutualnet3d.engine.evaluate import evaluate
from mutualnet3d.engine.evaluation_state import EvaluationState
from mutualnet3d.files.hashes import sha256_of
from mutualnet3d.results.cascade_fit import fit_cascades
from mutualnet3d.results.row import Views
from mutualnet3d.results.score_store import ComputedScores
from mutualnet3d.results.view_scores import confusion_matrix, save_scores
from mutualnet3d.shapes import ClipBatch, ClipShape, SubnetConfig

BATCH_SIZE = 250


def peak_mb() -> float:
    """Return the largest RSS of this process so far, MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024


def measure(way: str, num_configs: int, num_videos: int, num_classes: int) -> dict[str, float | str]:
    """Return the numbers of one process."""
    generator = torch.Generator().manual_seed(0)
    label_V = torch.randint(num_classes, (num_videos,), generator=generator)
    noise_BK = torch.randn(BATCH_SIZE, num_classes, generator=generator)
    configs = [SubnetConfig(1.0 - 0.005 * number, 224, 16) for number in range(num_configs)]
    current_B = [torch.zeros(0, dtype=torch.int64)]

    def batches() -> Iterator[ClipBatch]:
        for video_B in torch.arange(num_videos).split(BATCH_SIZE):
            current_B[0] = video_B
            yield ClipBatch({ClipShape(1, 1): torch.zeros(len(video_B), 3, 1, 1, 1)}, label_V[video_B], video_B)

    def forward(config: SubnetConfig, clips: object) -> torch.Tensor:
        video_B = current_B[0]
        logits_BK = noise_BK[: len(video_B)].roll(int(video_B[0]) % 97, dims=1).clone()
        logits_BK[torch.arange(len(video_B)), label_V[video_B]] += 4.0 * config.width
        return logits_BK

    views = Views(1)
    with tempfile.TemporaryDirectory() as folder:
        before, start = peak_mb(), time.perf_counter()
        on_disk = way == "disk"
        path = os.path.join(folder, "unfinished.scores") if on_disk else None
        state = EvaluationState(configs, range(num_videos), num_videos, num_classes, "sum", [(0,)], path)
        result = evaluate(
            forward,
            configs,
            batches(),
            lambda batch, config: [],
            torch.device("cpu"),
            videos=range(num_videos),
            num_videos=num_videos,
            num_views=1,
            num_classes=num_classes,
            subsets={views: (0,)},
            keep_scores=True,
            score_folder=folder if on_disk else None,
            state=state,
        )
        names = {str(config): config for config in configs}
        scores = ComputedScores(names, lambda name: result.scores[names[name]])
        save_scores(os.path.join(folder, "scores.npz"), scores, label_V, [str(v) for v in range(num_videos)], "sum")
        traces = [int(confusion_matrix(score_VK, result.label_V).trace()) for score_VK in result.scores.values()]
        costs = {(config, views): config.width**2 for config in configs}
        cascades = fit_cascades(result.row_scores, costs, result.label_V)
        top1 = result.row_accuracies[configs[0], views].top1
        assert round(traces[0] * 100 / num_videos, 6) == round(top1, 6)
        return {
            "memory": peak_mb() - before,
            "seconds": time.perf_counter() - start,
            "top1": top1,
            "cascades": len(cascades),
            "sha256": sha256_of(os.path.join(folder, "scores.npz"))[:16],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add(parser, "--subnets", 64, "N", "number of sub-networks")
    add(parser, "--videos", 20_000, "N", "number of videos")
    add(parser, "--classes", 400, "N", "number of classes")
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=("disk", "memory"),
        default=["disk", "memory"],
        help="places of the scores; default: both",
    )
    add(parser, "--timeout", 300.0, "SECONDS", "time limit of a way, seconds")
    parser.add_argument("--one", choices=("disk", "memory"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.subnets, args.videos, args.classes)))
        return
    print(f"{args.subnets} sub-networks x {args.videos} videos x {args.classes} classes, float32")
    print("| scores | memory, MB | time, s | top-1 of the first, % | cascades | scores.npz, SHA-256 |")
    print("|---|---:|---:|---:|---:|---|")
    sizes = ["--subnets", str(args.subnets), "--videos", str(args.videos), "--classes", str(args.classes)]
    for way in args.ways:
        command = [sys.executable, __file__, "--one", way, *sizes]
        try:
            with tempfile.TemporaryDirectory() as folder:  # goes also where the process is killed
                place = {**os.environ, "TMPDIR": folder}
                done = subprocess.run(command, capture_output=True, text=True, timeout=args.timeout, env=place)
        except subprocess.TimeoutExpired:
            print(f"| {way} | not done after {args.timeout:g} s |", flush=True)
            continue
        if done.returncode:
            print(f"| {way} | failed: {done.stderr.strip().splitlines()[-1]} |", flush=True)
            continue
        row = json.loads(done.stdout.splitlines()[-1])
        numbers = f"{row['memory']:.0f} | {row['seconds']:.1f} | {row['top1']:.2f} | {row['cascades']}"
        print(f"| {way} | {numbers} | {row['sha256']} |", flush=True)


if __name__ == "__main__":
    main()

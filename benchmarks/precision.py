#!/usr/bin/env python3
"""Accuracy in bfloat16 and int8: the front of a checkpoint or bundle on a list of labelled videos, beside float32.

    pip install 'mutualnet3d[deploy]'
    python benchmarks/precision.py --model output/demo/calibrated.pyth --list data/moving_shapes/test.csv

The middle clip of each video, decoded once, goes through all back ends. Given are top-1; the clips whose best class is
float32's, and whose best five are, as a set; the largest difference of logits, relative to the clip's largest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from inference import CPU, markdown, read_clips
from program_options import add

from mutualnet3d.data.lists import read_kinetics_list
from mutualnet3d.deploy import BACKENDS, Bundle
from mutualnet3d.deploy.load import load_checkpoint_networks
from mutualnet3d.deploy.networks import NetworkStore
from mutualnet3d.shapes import union_of_shapes

EXACT = "openvino"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", required=True, metavar="PATH", help="calibrated.pyth of a test run, or the folder of a bundle"
    )
    parser.add_argument("--list", required=True, metavar="FILE", help="list of videos, lines `path label`")
    parser.add_argument(
        "--backends",
        nargs="+",
        default=["openvino-bf16"],
        choices=list(BACKENDS),
        metavar="NAME",
        help="back ends to compare with float32; default: %(default)s",
    )
    add(parser, "--threads", 2, "N", "number of CPU threads")
    args = parser.parse_args()
    source: NetworkStore = (
        Bundle.load(args.model) if Path(args.model).is_dir() else load_checkpoint_networks(args.model, None)
    )
    if source.table is None:
        raise SystemExit(f"{args.model}: no query table beside it, so no front to go through")
    videos = read_kinetics_list(args.list, num_classes=len(source.class_names))
    labels_N = torch.tensor([video.label for video in videos])
    configs = [row.config for row in reversed(source.table.pareto())]
    shapes = union_of_shapes(map(source.shapes, configs))
    clips = read_clips(source.preprocessing, shapes, [video.path for video in videos])

    rows = []
    for config in configs:
        logits_NK = {}
        for name in (EXACT, *args.backends):
            problem = BACKENDS[name].why_not(source, config, CPU)
            if problem is not None:
                raise SystemExit(f"{name}: {problem}")
            run = BACKENDS[name](source, CPU, args.threads).forward(config)
            logits_NK[name] = torch.cat(
                [run([of_video[shape] for shape in source.shapes(config)]) for of_video in clips]
            )
        for name in args.backends:
            rows.append([str(config), name, *compared(logits_NK[EXACT], logits_NK[name], labels_N)])
    print(f"{len(videos)} clips, {len(source.class_names)} classes")
    columns = ("sub-network", "back end", "top-1 %, float32", "top-1 %", "same best", "same five", "logits differ by")
    print(markdown(columns, rows))


def compared(exact_NK: torch.Tensor, other_NK: torch.Tensor, labels_N: torch.Tensor) -> list[str]:
    """Return a row's cells: of logits in float32 and in another precision."""

    def best(logits_NK: torch.Tensor, number: int) -> torch.Tensor:
        return logits_NK.topk(number, dim=1).indices.sort(dim=1).values  # of equal logits any: bfloat16 has some

    def top1(logits_NK: torch.Tensor) -> str:
        return f"{100 * float((best(logits_NK, 1)[:, 0] == labels_N).float().mean()):.2f}"

    five = min(5, exact_NK.shape[1])
    same = [int((best(exact_NK, number) == best(other_NK, number)).all(dim=1).sum()) for number in (1, five)]
    difference = float(((other_NK - exact_NK).abs().amax(dim=1) / exact_NK.abs().amax(dim=1)).max())
    return [top1(exact_NK), top1(other_NK), *map(str, same), f"{difference:.3f}"]


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Time and memory of a test of many sub-networks: against decoding once and running each, and the largest.

    python benchmarks/query_table.py --cfg X3D_S_mutual.yaml --list ../shared/videos/surv_fight/val.csv --videos 24

Each round decodes the clips once in all shapes, runs each of 16 sub-networks over them, and then does what a test does,
both at once; the order of the three changes from round to round. Memory is measured in processes of their own: the
largest resident size above that after the start, testing the full network alone and all sixteen.
"""

import argparse
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from program_options import add

import mutualnet3d as m3
from mutualnet3d.data.build_loaders import build_test_loader
from mutualnet3d.data.build_split import Split
from mutualnet3d.data.loader import TestLoader
from mutualnet3d.distributed.launch import Launch
from mutualnet3d.mutual import SubnetConfig, calibrate
from mutualnet3d.runner.build_space import build_test_space
from mutualnet3d.runner.session import Session
from mutualnet3d.shapes import ClipBatch, ClipShape

TARGET_TIME, TARGET_MEMORY = 1.25, 1.10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add(parser, "--cfg", "X3D_S_mutual.yaml", "FILE", "config of the network")
    parser.add_argument("--list", required=True, metavar="FILE", help="list of videos, lines `path label`")
    add(parser, "--classes", 2, "N", "number of classes of the list")
    add(parser, "--videos", 24, "N", "number of videos of the list to take")
    add(parser, "--batch", 4, "N", "number of clips of a batch")
    add(parser, "--rounds", 3, "N", "number of rounds")
    parser.add_argument("--memory-of", choices=("full", "all"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        session, split, configs = prepared(args, folder)
        if args.memory_of:
            print(memory(session, split, configs if args.memory_of == "all" else configs[:1]))
            return
        names = ("decoding once", "sum of 16 forwards", "the test")
        seconds: dict[str, list[float]] = {name: [] for name in names}
        batches = list(loader_of(session, split, configs))
        works = {
            "decoding once": lambda: sum(len(batch) for batch in loader_of(session, split, configs)),
            "sum of 16 forwards": lambda: forwards(session, configs, batches),
            "the test": lambda: session.evaluate(session.model, configs, loader_of(session, split, configs), split, 1),
        }
        for number in range(args.rounds + 1):
            for name in names[number % 3 :] + names[: number % 3]:
                started = time.perf_counter()
                works[name]()
                if number:  # the first round warms up
                    seconds[name].append(time.perf_counter() - started)
    ratios = [test / (decode + run) for decode, run, test in zip(*(seconds[name] for name in names), strict=True)]
    decode, run = statistics.median(seconds["decoding once"]), statistics.median(seconds["sum of 16 forwards"])
    print(f"{args.cfg}, {len(split.videos)} videos, {torch.get_num_threads()} threads, median of {args.rounds} rounds")
    print(f"decoding once / sum of the forwards: {decode / run:.3f}")
    print(
        f"test / (decoding once + sum of the forwards): {statistics.median(ratios):.3f} "
        f"(from {min(ratios):.3f} to {max(ratios):.3f}; at most {TARGET_TIME})"
    )
    of_full, of_all = (memory_of(args, subnets) for subnets in ("full", "all"))
    print(f"peak memory, 16 sub-networks / the largest: {of_all / of_full:.3f} (at most {TARGET_MEMORY})")


def prepared(args: argparse.Namespace, folder: str) -> tuple[Session, Split, Sequence[SubnetConfig]]:
    """Return a session whose network has statistics of 16 sub-networks, and the videos."""
    lines = [line for line in Path(args.list).read_text(encoding="utf-8").splitlines() if line.strip()][: args.videos]
    with open(os.path.join(folder, "test.csv"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    overrides = {
        "DATA.PATH_TO_DATA_DIR": folder,
        "DATA.PATH_PREFIX": os.path.dirname(os.path.abspath(args.list)),
        "MODEL.NUM_CLASSES": args.classes,
        "DATA_LOADER.NUM_WORKERS": 0,  # so that decoding and forwards are the parts of a sum
        "TEST.BATCH_SIZE": args.batch,
        "TEST.NUM_ENSEMBLE_VIEWS": 1,
        "TEST.NUM_SPATIAL_CROPS": 1,
        "OUTPUT_DIR": os.path.join(folder, "output"),
    }
    session = Session(m3.load_cfg(args.cfg, [word for pair in overrides.items() for word in pair]), Launch())
    space = build_test_space(session.cfg)
    low, high = space.width_range
    widths = [high, high - (high - low) / 3, high - 2 * (high - low) / 3, low]
    ends = [(max(values), min(values)) for values in (space.sizes, space.frames)]
    configs = [SubnetConfig(*values) for values in itertools.product(widths, *ends)]
    assert len(configs) == 16
    calibrate(session.model, configs, [noise(session.shapes(configs))], session.prepare)
    return session, session.read_split("test"), configs


def noise(shapes: Sequence[ClipShape]) -> ClipBatch:
    """Return a batch of noise for calibration: the values of the statistics do not matter here."""
    sizes = {shape: (2, shape.frames, 3, shape.size, shape.size) for shape in shapes}
    clips = {shape: torch.randint(0, 256, size, dtype=torch.uint8) for shape, size in sizes.items()}
    return ClipBatch(clips, torch.zeros(2, dtype=torch.int64), torch.arange(2))


def loader_of(session: Session, split: Split, configs: Sequence[SubnetConfig]) -> TestLoader:
    """Return the clips of a test in all shapes that `configs` need."""
    return build_test_loader(session.cfg, split, session.shapes(configs), session.shard)


@torch.no_grad()
def forwards(session: Session, configs: Sequence[SubnetConfig], batches: Sequence[ClipBatch]) -> None:
    """Run each sub-network over all clips, one after the other."""
    session.model.eval()
    for config in configs:
        with session.model.active(config):
            for batch in batches:
                session.model(session.prepare(batch, config))


def memory(session: Session, split: Split, configs: Sequence[SubnetConfig]) -> int:
    """Return the kilobytes that a test of `configs` adds to the process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    before = pages * resource.getpagesize() // 1024
    session.evaluate(session.model, configs, loader_of(session, split, configs), split, 1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def memory_of(args: argparse.Namespace, subnets: str) -> int:
    """Return the result of `memory` in a process of its own, as each measurement needs a fresh peak."""
    command = [sys.executable, __file__, *sys.argv[1:], "--memory-of", subnets]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()

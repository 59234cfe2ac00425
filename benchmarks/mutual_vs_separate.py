#!/usr/bin/env python3
"""One mutual network against networks trained one by one: accuracy at every cost, and what the training took.

    python benchmarks/mutual_vs_separate.py

Makes hard moving shapes, then trains, for each of three seeds: one mutual network; one whose sub-networks differ in
width alone (US-Net, Yu and Huang, ICCV 2019); one over widths 0.9 to 1 (the paper's static booster); and a network of
its own for each of `SEPARATE`, with the labels, for as many epochs. Networks are tested on clips that nothing was
chosen by. Trainings run `--jobs` at a time with one thread each; one that is done is not done again, so a benchmark
that was stopped goes on with the same command. `--only-train` and `--only-test` do half of it.

Printed are means over the seeds with their standard deviations, and the time and multiply-adds of each training.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mutualnet3d as m3
from mutualnet3d.data.moving_shapes import MovingShapesStyle, make_data_set
from mutualnet3d.engine.checkpoint import CheckpointFolder
from mutualnet3d.runner import test

ROOT = Path(__file__).resolve().parents[1]
CFG = "X3D_tiny_evidence.yaml"
FULL = "w1.0-s48-t8"
SEPARATE = (FULL, "w0.8-s40-t8", "w0.63-s48-t8", "w0.63-s40-t8", "w0.63-s40-t6", "w0.63-s32-t6")
# Slower, fainter and noisier than the demo's, with more and larger distractors; and few of them, so that a network
# that has learned them all by heart still errs on others.
STYLE = MovingShapesStyle(
    speed_heights_per_s=(0.15, 0.4),
    growth_per_s=(1.3, 2.0),
    swing_heights=(0.08, 0.18),
    place_heights=0.1,
    distractors=(1, 4),
    distractor_radius_heights=(0.06, 0.14),
    distractor_heights_per_s=0.12,
    contrast=(0.2, 0.5),
    background_texture=0.08,
    background_heights_per_s=(0.0, 0.15),
    noise=0.03,
    flicker=0.04,
)
DATA = {"num_train": 128, "num_val": 1200, "seed": 11, "fps": 12, "height": 56, "width": 72}

Overrides = dict[str, object]


def runs() -> dict[str, Overrides]:
    """What is trained with each seed, the longest first."""
    named: dict[str, Overrides] = {
        "booster": {"MUTUAL.WIDTH_RANGE": [0.9, 1.0], "MUTUAL.TEST_WIDTHS": [1.0]},
        "mutual": {},
        "width": {"MUTUAL.SIZES": [48], "MUTUAL.FRAMES": [8]},
    }
    for key in SEPARATE:
        named[f"separate/{key}"] = {"MUTUAL.ENABLE": False, "TRAIN.SUBNET": key}
    return named


def tested(name: str) -> list[str]:
    """The sub-networks that a run is tested at."""
    if name.startswith("separate/"):
        return [name.removeprefix("separate/")]
    if name == "booster":
        return [FULL]
    return [key for key in SEPARATE if name == "mutual" or key.endswith("-s48-t8")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="output/evidence", help="folder of all runs")
    parser.add_argument("--data", default="data/moving_shapes_hard", help="folder of the clips, made if it is not there")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings at a time")
    parser.add_argument("--only-train", action="store_true")
    parser.add_argument("--only-test", action="store_true")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="override the config's values")
    args = parser.parse_args()
    make_data_set(args.data, num_workers=os.cpu_count() or 1, style=STYLE, **DATA)
    if not args.only_test:
        todo = [(seed, name) for seed in range(args.seeds) for name in runs()]
        with ThreadPoolExecutor(args.jobs) as pool:
            for done in pool.map(lambda run: train_run(args, *run), todo):
                print(done, flush=True)
    if not args.only_train:
        report(args)


def settings(args: argparse.Namespace, seed: int, name: str) -> list[object]:
    """KEY VALUE overrides of a run."""
    values = {**runs()[name], "RNG_SEED": seed, "OUTPUT_DIR": folder_of(args, seed, name)}
    values |= {"DATA.PATH_TO_DATA_DIR": args.data}
    return [*args.overrides, *(word for pair in values.items() for word in pair)]


def folder_of(args: argparse.Namespace, seed: int, name: str) -> str:
    return os.path.join(args.output, f"seed{seed}", name)


def train_run(args: argparse.Namespace, seed: int, name: str) -> str:
    """Train in a process of its own, unless it is done; where it was stopped, it goes on."""
    folder = folder_of(args, seed, name)
    if "trained" not in records_of(folder):
        os.makedirs(folder, exist_ok=True)
        words = [*map(str, settings(args, seed, name)), "TEST.ENABLE", "False"]
        command = [sys.executable, str(ROOT / "tools/run_net.py"), "--cfg", CFG, *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return f"seed {seed}, {name}: {records_of(folder)['trained'][-1]['seconds']:.0f} s"


def records_of(folder: str) -> dict[str, list[dict[str, object]]]:
    """The run's JSON lines by their kind."""
    path = Path(folder, "log.jsonl")
    by_kind: dict[str, list[dict[str, object]]] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        record = json.loads(line)
        by_kind.setdefault(record["kind"], []).append(record)
    return by_kind


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""One mutual network against networks trained one by one: accuracy at every cost, and what the training took.

    python benchmarks/mutual_vs_separate.py

Makes hard moving shapes, then trains, for each of three seeds:

- with the arithmetic of 136 epochs of the full network: the full network alone; the paper's mutual step; the staged
  recipe (the full network alone for the first half of the schedule, then mutual steps whose sub-networks learn half
  from the labels);
- for 150 epochs, which is 2.5 times as much where the step is mutual: the paper's mutual step; one whose sub-networks
  differ in width alone (US-Net, Yu and Huang, ICCV 2019); one over widths 0.9 to 1 (the paper's static booster); and a
  network of its own for each of `SEPARATE`, with the labels.

Networks are tested on clips that nothing was chosen by. Trainings run `--jobs` at a time with one thread each; one that
is done is not done again, so a benchmark that was stopped goes on with the same command. `--only-train` and
`--only-test` do half of it, `--runs` some of the trainings.

Printed are means over the seeds with their standard deviations, and the time of each training; drawn is what they say.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mutualnet3d as m3
from mutualnet3d.demo import MovingShapesStyle, make_data_set
from mutualnet3d.log import read_records
from mutualnet3d.plots.curves import Curve, Point
from mutualnet3d.plots.tradeoff_figure import save_tradeoff_plot
from mutualnet3d.runner import test

Overrides = dict[str, object]

ROOT = Path(__file__).resolve().parents[1]
CFG = "X3D_tiny_evidence.yaml"
FULL = "w1.0-s48-t8"
SEPARATE = (FULL, "w0.8-s40-t8", "w0.63-s48-t8", "w0.63-s40-t8", "w0.63-s40-t6", "w0.63-s32-t6")
STAGED: Overrides = {"MUTUAL.START": 0.5, "MUTUAL.SORT_CHANNELS": True, "MUTUAL.LABEL_WEIGHT": 0.5}
# Columns of the printed table after the network trained alone: run, title.
COLUMNS = {
    "separate": "one by one",
    "equal": "paper's step",
    "mutual": "paper's, x 2.5",
    "staged": "staged",
    "width": "width only, x 2.5",
    "booster": "booster, x 2.5",
}
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


def runs() -> dict[str, Overrides]:
    """Return the overrides of each training run of a seed by its name, the longest first."""
    named: dict[str, Overrides] = {
        "alone": {"MUTUAL.ENABLE": False, "SOLVER.MAX_EPOCH": 136},
        "staged": {**STAGED, "SOLVER.MAX_EPOCH": 83},
        "equal": {"SOLVER.MAX_EPOCH": 60},
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
    if name in ("alone", "booster"):
        return [FULL]
    return [key for key in SEPARATE if name != "width" or key.endswith("-s48-t8")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="output/evidence", help="folder of all runs")
    parser.add_argument("--data", default="data/moving_shapes_hard", help="folder of the clips, made if need be")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings at a time")
    parser.add_argument("--only-train", action="store_true")
    parser.add_argument("--only-test", action="store_true")
    parser.add_argument("--runs", nargs="+", choices=list(runs()), default=list(runs()), help="trainings, by name")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="override the config's values")
    args = parser.parse_args()
    make_data_set(
        args.data,
        num_train=128,
        num_val=1200,
        seed=11,
        num_workers=os.cpu_count() or 1,
        fps=12,
        height=56,
        width=72,
        style=STYLE,
    )
    if not args.only_test:
        todo = [(seed, name) for seed in range(args.seeds) for name in args.runs]
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


def records_of(folder: str) -> dict[str, list[dict[str, Any]]]:
    """Return the records of a run by their kind."""
    path = Path(folder, "log.jsonl")
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for record in read_records(str(path)) if path.exists() else []:
        by_kind.setdefault(record["kind"], []).append(record)
    return by_kind


def report(args: argparse.Namespace) -> None:
    """Test every run, and print the results over all seeds."""
    tables = {(seed, name): table_of(args, seed, name) for seed in range(args.seeds) for name in args.runs}
    top1: dict[str, dict[str, list[float]]] = {}  # run ("separate" for all of those) -> sub-network -> by seed
    gflops = {}
    for (_, name), table in tables.items():
        for row in table.default_rows:
            top1.setdefault(name.split("/")[0], {}).setdefault(str(row.config), []).append(row.top1)
            gflops[str(row.config)] = row.gflops
    num_videos = next(iter(tables.values())).context["num_videos"]
    print(f"top-1 in %, mean and standard deviation of {args.seeds} seeds, over {num_videos} videos not trained on")
    if "alone" in top1:
        print(f"the full network alone, the arithmetic of the staged recipe: {spread(top1['alone'][FULL])}")
    columns = {run: title for run, title in COLUMNS.items() if run in top1}
    print(f"{'sub-network':12}  GFLOPs  " + "  ".join(f"{title:17}" for title in columns.values()))
    for key in gflops:
        cells = [spread(top1[run].get(key, [])) for run in columns]
        print(f"{key:12} {gflops[key]:7.4f}  " + "  ".join(f"{cell:17}" for cell in cells))
    print_gains(top1, gflops)
    print_times(args)
    curves = [
        Curve("staged, x 1", points_of(top1.get("staged", {}), gflops)),
        Curve("paper's step, x 2.5", points_of(top1.get("mutual", {}), gflops)),
        Curve("paper's step, x 1", points_of(top1.get("equal", {}), gflops)),
        Curve("trained one by one, x 1.1 each", points_of(top1.get("separate", {}), gflops), "points"),
        Curve("full network alone, x 1", points_of(top1.get("alone", {}), gflops), "points"),
    ]
    title = f"One network against many: hard moving shapes, mean and deviation of {args.seeds} seeds"
    for suffix in ("png", "svg"):
        path = os.path.join(args.output, f"mutual_vs_separate.{suffix}")
        save_tradeoff_plot([curve for curve in curves if curve.points], path, title, log=True, views="1 x 1 views")
        print(f"wrote {path}")


def print_gains(top1: Mapping[str, Mapping[str, Sequence[float]]], gflops: Mapping[str, float]) -> None:
    """Print, for each sub-network, what the staged recipe has more than other trainings, seed by seed."""
    others = [run for run in ("separate", "equal", "mutual") if run in top1]
    if "staged" not in top1 or not others:
        return
    print("staged less:  " + "  ".join(f"{COLUMNS[run]:17}" for run in others))
    for key in gflops:
        pairs = [zip(top1["staged"][key], top1[run][key], strict=True) for run in others]
        gains = [spread([staged - other for staged, other in pair], "+.2f") for pair in pairs]
        print(f"{key:12}  " + "  ".join(f"{gain:17}" for gain in gains))


def table_of(args: argparse.Namespace, seed: int, name: str) -> m3.QueryTable:
    """Return the run's query table; test the run first if there is none."""
    path = os.path.join(folder_of(args, seed, name), "query_table.json")
    if not os.path.exists(path):
        subnets = ["TEST.SUBNETS", tested(name), "TEST.LATENCY_RUNS", 1, "TEST.SAVE_RESULTS_PATH", ""]
        test(m3.load_cfg(CFG, [*settings(args, seed, name), *subnets]))
    return m3.QueryTable.load(path)


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Return the text `mean +- deviation`."""
    if not values:
        return "-"
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):{form}} +- {deviation:.2f}"


def print_times(args: argparse.Namespace) -> None:
    """Print the time of training by run, over that of the full network alone: its steps times the medians of the logged
    ones, of all seeds. Other load of the machine falls on some of them."""
    seconds: dict[str, float] = {}
    for name in args.runs:
        records = [record for seed in range(args.seeds) for record in records_of(folder_of(args, seed, name))["train"]]
        by_networks: dict[bool, list[dict[str, Any]]] = {}
        for record in records:
            by_networks.setdefault(len(record["losses"]) > 1, []).append(record)
        total = sum(
            statistics.median(record["data_seconds"] + record["compute_seconds"] for record in part)
            * sum(record["mean_of"] for record in part)
            / args.seeds
            for part in by_networks.values()
        )
        short = name.split("/")[0]
        seconds[short] = seconds.get(short, 0.0) + total
    if "alone" in seconds:
        ratios = [f"{name} {value / seconds['alone']:.2f}" for name, value in seconds.items()]
        print("training time over that of the full network alone: " + ", ".join(ratios))


def points_of(top1: Mapping[str, Sequence[float]], gflops: Mapping[str, float]) -> list[Point]:
    """Return a point for each sub-network, at its mean."""
    return [
        Point(gflops[key], statistics.mean(values), key, statistics.stdev(values) if len(values) > 1 else None)
        for key, values in top1.items()
    ]


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""One mutual network against networks trained one by one: accuracy at every cost, and what the training took.

    python benchmarks/mutual_vs_separate.py

Makes hard moving shapes, then trains, for each of three seeds:

- with the arithmetic of 136 epochs of the full network: the full network alone; the paper's mutual step; the staged
  recipe (the full network alone for the first half of the schedule, then mutual steps whose sub-networks learn half
  from the labels);
- with 2.5 times as much, the staged recipe whose sub-networks join after a quarter of the schedule;
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
from collections.abc import Mapping, Sequence

from program_options import add, add_jobs
from trainings import STAGED_EVIDENCE, STAGED_EVIDENCE_LONG, Overrides, Trainings, points_of, seeds_text, spread

from mutualnet3d.demo import MovingShapesStyle, make_data_set
from mutualnet3d.plots.curves import Curve
from mutualnet3d.plots.tradeoff_figure import save_tradeoff_plot

FULL = "w1.0-s48-t8"
SEPARATE = (FULL, "w0.8-s40-t8", "w0.63-s48-t8", "w0.63-s40-t8", "w0.63-s40-t6", "w0.63-s32-t6")
# Columns of the printed table after the network trained alone: run, title.
COLUMNS = {
    "separate": "one by one",
    "equal": "paper's step",
    "mutual": "paper's, x 2.5",
    "staged": "staged",
    "staged_long": "staged, x 2.5",
    "width": "width only, x 2.5",
    "booster": "booster, x 2.5",
}
# Pairs of runs whose differences are printed.
GAINS = (("staged", "separate"), ("staged", "equal"), ("staged", "mutual"), ("staged_long", "mutual"))
# Curves of the picture: run, name.
CURVES = {
    "staged": "staged, x 1",
    "staged_long": "staged, x 2.5",
    "mutual": "paper's step, x 2.5",
    "equal": "paper's step, x 1",
    "separate": "trained one by one, x 1.1 each",
    "alone": "full network alone, x 1",
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
    """Return the overrides of each training run of a seed by its name, the costly ones first."""
    named: dict[str, Overrides] = {
        "mutual": {},
        "staged_long": STAGED_EVIDENCE_LONG,
        "booster": {"MUTUAL.WIDTH_RANGE": [0.9, 1.0], "MUTUAL.TEST_WIDTHS": [1.0]},
        "width": {"MUTUAL.SIZES": [48], "MUTUAL.FRAMES": [8]},
        "alone": {"MUTUAL.ENABLE": False, "SOLVER.MAX_EPOCH": 136},
        "staged": STAGED_EVIDENCE,
        "equal": {"SOLVER.MAX_EPOCH": 60},
    }
    for key in SEPARATE:
        named[f"separate/{key}"] = {"MUTUAL.ENABLE": False, "TRAIN.SUBNET": key}
    return named


def tested_of(name: str) -> list[str]:
    """Return the sub-networks that a run is tested at."""
    if name.startswith("separate/"):
        return [name.removeprefix("separate/")]
    if name in ("alone", "booster"):
        return [FULL]
    return [key for key in SEPARATE if name != "width" or key.endswith("-s48-t8")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add(parser, "--output", "output/evidence", "FOLDER", "folder of all runs")
    add(parser, "--data", "data/moving_shapes_hard", "FOLDER", "folder of the clips, made if need be")
    add(parser, "--seeds", 3, "N", "number of seeds")
    add_jobs(parser)
    parser.add_argument("--only-train", action="store_true", help="train and do not test")
    parser.add_argument("--only-test", action="store_true", help="test what was trained before")
    parser.add_argument(
        "--runs",
        nargs="+",
        choices=list(runs()),
        default=list(runs()),
        metavar="NAME",
        help="names of the trainings; default: all",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY VALUE", help="keys of the config with other values than the file's"
    )
    args = parser.parse_args()
    make_shapes(args.data)
    common: dict[str, object] = {"DATA.PATH_TO_DATA_DIR": args.data}
    common |= dict(zip(args.overrides[::2], args.overrides[1::2], strict=True))
    named = {name: overrides for name, overrides in runs().items() if name in args.runs}
    tested = {name: tested_of(name) for name in named}
    trainings = Trainings("X3D_tiny_evidence.yaml", args.output, named, tested, common)
    if not args.only_test:
        trainings.train(args.seeds, args.jobs)
    if not args.only_train:
        report(trainings, args.seeds)


def make_shapes(folder: str, seed: int = 11) -> str:
    """Make the hard moving shapes of a seed, unless they are there; return the folder."""
    make_data_set(
        folder,
        num_train=128,
        num_val=1200,
        seed=seed,
        num_workers=os.cpu_count() or 1,
        fps=12,
        height=56,
        width=72,
        style=STYLE,
    )
    return folder


def report(trainings: Trainings, seeds: int) -> None:
    """Test every run, and print the results over all seeds."""
    tables = {(seed, name): trainings.table(seed, name) for seed in range(seeds) for name in trainings.runs}
    top1: dict[str, dict[str, list[float]]] = {}  # run ("separate" for all of those) -> sub-network -> by seed
    gflops = {}
    for (_, name), table in tables.items():
        for row in table.default_rows:
            top1.setdefault(name.split("/")[0], {}).setdefault(str(row.config), []).append(row.top1)
            gflops[str(row.config)] = row.gflops
    num_videos = next(iter(tables.values())).context["num_videos"]
    print(f"top-1 in %, {seeds_text(seeds)}, over {num_videos} videos not trained on")
    if "alone" in top1:
        print(f"the full network alone, the arithmetic of the staged recipe: {spread(top1['alone'][FULL])}")
    columns = {run: title for run, title in COLUMNS.items() if run in top1}
    print(f"{'sub-network':12}  GFLOPs  " + "  ".join(f"{title:17}" for title in columns.values()))
    for key in gflops:
        cells = [spread(top1[run].get(key, [])) for run in columns]
        print(f"{key:12} {gflops[key]:7.4f}  " + "  ".join(f"{cell:17}" for cell in cells))
    print_gains(top1, gflops)
    print_times(trainings, seeds)
    curves = [
        Curve(name, points_of(top1[run], gflops), "points" if run in ("separate", "alone") else "front")
        for run, name in CURVES.items()
        if run in top1
    ]
    title = f"One network against many: hard moving shapes, {seeds_text(seeds)}"
    for suffix in ("png", "svg"):
        path = os.path.join(trainings.output, f"mutual_vs_separate.{suffix}")
        save_tradeoff_plot(curves, path, title, log=True, views="1 x 1 views")
        print(f"wrote {path}")


def print_gains(top1: Mapping[str, Mapping[str, Sequence[float]]], gflops: Mapping[str, float]) -> None:
    """Print, for each sub-network, what the staged recipe has more than other trainings, seed by seed."""
    gains = [(run, other) for run, other in GAINS if run in top1 and other in top1]
    if not gains:
        return
    titles = [f"{COLUMNS[run]} less {COLUMNS[other]}" for run, other in gains]
    print(f"{'sub-network':12}  " + "  ".join(f"{title:32}" for title in titles))
    for key in gflops:
        pairs = [zip(top1[run][key], top1[other][key], strict=True) for run, other in gains]
        cells = [spread([staged - value for staged, value in pair], "+.2f") for pair in pairs]
        print(f"{key:12}  " + "  ".join(f"{cell:32}" for cell in cells))


def print_times(trainings: Trainings, seeds: int) -> None:
    """Print the time of training by run, over that of the full network alone. Other load of the machine falls on some
    of them."""
    seconds: dict[str, float] = {}
    for name in trainings.runs:
        run = name.split("/")[0]
        seconds[run] = seconds.get(run, 0.0) + trainings.seconds(seeds, name)
    if "alone" in seconds:
        ratios = [f"{run} {value / seconds['alone']:.2f}" for run, value in seconds.items()]
        print("training time over that of the full network alone: " + ", ".join(ratios))


if __name__ == "__main__":
    main()

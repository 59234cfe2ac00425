#!/usr/bin/env python3
"""Three ways to train at equal arithmetic: the full network alone, the paper's mutual step, the staged recipe.

    python benchmarks/recipes.py --videos ../shared/videos/surv_fight
    python benchmarks/recipes.py --videos ../shared/videos/surv_fight --from-shapes
    python benchmarks/recipes.py --network slow --seeds 1
    python benchmarks/recipes.py --network slowfast --seeds 1

Trains each for the multiply-adds of `--epochs` epochs of the full network alone, for each of some seeds, and tests the
full, a middle and the smallest sub-network; the slices of the network that was trained alone are tested too. On moving
shapes (those of mutual_vs_separate.py) or on real videos: a folder with train.csv and test.csv, which are encoded anew
with a short side of 96 pixels first. `--from-shapes` starts from a network that was trained on the moving shapes.
Trainings run `--jobs` at a time with one thread each; one that is done is not done again.

Printed are means over the seeds with their standard deviations, and what guessing gives.
"""

import argparse
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mutual_vs_separate import make_shapes
from program_options import add, add_jobs
from torch.utils.flop_counter import FlopCounterMode
from trainings import STAGED, Overrides, Trainings, seeds_text, spread

import mutualnet3d as m3
from mutualnet3d.data.lists import read_kinetics_list
from mutualnet3d.data.prepare_videos import prepare_videos
from mutualnet3d.models import build_model
from mutualnet3d.models.network import SlowFastNet
from mutualnet3d.mutual import SubnetSpace
from mutualnet3d.runner import build_space
from mutualnet3d.video.transcode import Encoding

CFG = "X3D_tiny_evidence.yaml"
RESNET: Overrides = {"RESNET.DEPTH": 50, "RESNET.WIDTH_PER_GROUP": 8, "RESNET.ZERO_INIT_FINAL_BN": False}
NETWORKS: dict[str, Overrides] = {
    "x3d": {},
    "slow": {**RESNET, "MODEL.ARCH": "slow"},
    # Fast has 16 frames of the same span, Slow 4 of them.
    "slowfast": {
        **RESNET,
        "MODEL.ARCH": "slowfast",
        "RESNET.NUM_BLOCK_TEMP_KERNEL": [[3, 3], [4, 4], [6, 6], [3, 3]],
        "SLOWFAST.ALPHA": 4,
        "DATA.NUM_FRAMES": 16,
        "DATA.SAMPLING_RATE": 2,
        "MUTUAL.FRAMES": [4, 3],
    },
}
# Of real videos: clips of 8 frames over 1.6 s, at up to 80 pixels.
REAL: Overrides = {
    "MODEL.NUM_CLASSES": 2,
    "DATA.TARGET_FPS": 25.0,
    "DATA.SAMPLING_RATE": 5,
    "DATA.TRAIN_JITTER_SCALES": [80, 100],
    "DATA.TRAIN_CROP_SIZE": 80,
    "DATA.TEST_CROP_SIZE": 80,
    "DATA.RANDOM_FLIP": True,
    "MUTUAL.SIZES": [80, 64, 48],
    "MODEL.DROPOUT_RATE": 0.5,
    "TEST.NUM_ENSEMBLE_VIEWS": 3,
}


@dataclass(frozen=True)
class Recipe:
    """Way to train.

    Args:
        overrides: its settings.
        start: fraction of the steps that are the full network's alone.
    """

    overrides: Overrides
    start: float


RECIPES = {
    "alone": Recipe({"MUTUAL.ENABLE": False}, 1.0),
    "paper": Recipe({}, 0.0),
    "staged": Recipe({**STAGED, "MUTUAL.SUBNET_DROPOUT": False}, 0.5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--network", choices=list(NETWORKS), default="x3d", help="network to train; default: %(default)s"
    )
    parser.add_argument(
        "--videos", metavar="FOLDER", help="folder of real videos with train.csv and test.csv; default: moving shapes"
    )
    parser.add_argument("--from-shapes", action="store_true", help="start from a network trained on moving shapes")
    add(parser, "--epochs", 60, "N", "number of epochs of the full network alone, whose arithmetic all have")
    add(parser, "--seeds", 3, "N", "number of seeds")
    parser.add_argument("--lr", type=float, metavar="RATE", help="learning rate of all recipes; default: the config's")
    parser.add_argument(
        "--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES), help="recipes to train by; default: all"
    )
    add_jobs(parser)
    add(parser, "--output", "output/recipes", "FOLDER", "folder of all runs")
    args = parser.parse_args()
    shapes = make_shapes("data/moving_shapes_hard")
    common: dict[str, object] = {"TRAIN.CHECKPOINT_PERIOD": 100, **NETWORKS[args.network]}
    if args.videos:
        common |= {**REAL, "DATA.PATH_TO_DATA_DIR": small_videos(args.videos, args.output)}
    else:
        common["DATA.PATH_TO_DATA_DIR"] = shapes
    if args.from_shapes:
        common |= {"TRAIN.CHECKPOINT_FILE_PATH": weights_of_shapes(args, shapes), "SOLVER.BASE_LR": 0.02}
    if args.lr is not None:
        common |= {"SOLVER.BASE_LR": args.lr}
    trainings = trainings_of(args, common)
    trainings.train(args.seeds, args.jobs)
    report(trainings, args.seeds)


def small_videos(folder: str, output: str) -> str:
    """Encode the videos of a folder's lists anew with a short side of 96 pixels, unless that is done."""
    small = os.path.join(output, f"{Path(folder).name}_96")
    lists = [os.path.join(folder, f"{split}.csv") for split in ("train", "val", "test")]
    encoding = Encoding(short_side=96)
    prepare_videos(folder, small, encoding, lists=lists, workers=os.cpu_count() or 1)
    return small


def weights_of_shapes(args: argparse.Namespace, shapes: str) -> str:
    """Train the full network alone on moving shapes, unless that is done; return the checkpoint."""
    common = {**NETWORKS[args.network], "DATA.PATH_TO_DATA_DIR": shapes, "SOLVER.MAX_EPOCH": 136}
    start = Trainings(CFG, os.path.join(args.output, args.network), {"shapes": RECIPES["alone"].overrides}, {}, common)
    start.train(1, 1)
    (checkpoint,) = Path(start.folder(0, "shapes"), "checkpoints").glob("checkpoint_epoch_00136_*.pyth")
    return str(checkpoint)


def trainings_of(args: argparse.Namespace, common: Overrides) -> Trainings:
    """Return the trainings, each with as many epochs as the arithmetic allows."""
    cfg = m3.load_cfg(CFG, [word for pair in common.items() for word in pair])
    space = build_space(cfg)
    cost = mutual_cost(space, cfg)
    runs: dict[str, Overrides] = {}
    for name in args.recipes:
        recipe = RECIPES[name]
        epochs = round(args.epochs / (recipe.start + (1.0 - recipe.start) * cost))
        runs[name] = {**recipe.overrides, "SOLVER.MAX_EPOCH": epochs, "SOLVER.WARMUP_EPOCHS": min(5.0, epochs / 10)}
    middle = m3.SubnetConfig(sum(space.width_range) / 2, sorted(space.sizes)[len(space.sizes) // 2], max(space.frames))
    tested = [str(config) for config in (space.full, middle, space.smallest)]
    data = Path(args.videos).name if args.videos else "shapes"
    start = "from_shapes" if args.from_shapes else "scratch"
    rate = f"_lr{args.lr}" if args.lr is not None else ""
    output = os.path.join(args.output, args.network, data, f"{start}_{args.epochs}{rate}")
    print(f"a mutual step has {cost:.2f} times the multiply-adds of the full network's", flush=True)
    return Trainings(CFG, output, runs, dict.fromkeys(runs, tested), common)


def mutual_cost(space: SubnetSpace, cfg: object) -> float:
    """Return the multiply-adds of a mutual step over those of a step of the full network: the mean of 50 steps. What
    sub-networks of SlowFast have in common is counted once."""
    with torch.device("meta"):
        model = build_model(cfg)
    full, common = m3.multiply_adds(model, space.full), 0.0
    if isinstance(model, SlowFastNet):
        fast_clip = model.input_shapes(space.full)[1]
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            model.fast_features(torch.empty(1, 3, fast_clip.frames, fast_clip.size, fast_clip.size))
        common = counter.get_total_flops() / 2
    costs = []
    for step in range(50):
        _, *subnets = space.at_step(0, step)
        costs.append(full + sum(m3.multiply_adds(model, config) - common for config in subnets))
    return float(np.mean(costs)) / full


def report(trainings: Trainings, seeds: int) -> None:
    """Test every run, and print the results over all seeds."""
    top1: dict[str, dict[str, list[float]]] = {}
    for name in trainings.runs:
        for seed in range(seeds):
            for row in trainings.table(seed, name).default_rows:
                top1.setdefault(name, {}).setdefault(str(row.config), []).append(row.top1)
    folder = str(trainings.common["DATA.PATH_TO_DATA_DIR"])
    labels = Counter(video.label for video in read_kinetics_list(os.path.join(folder, "test.csv"), 1000))
    count = sum(labels.values())
    print(f"top-1 in %, {seeds_text(seeds)}, over {count} videos; chance "
          f"{100 / len(labels):.1f}, always the commonest class {100 * max(labels.values()) / count:.1f}")  # fmt: skip
    names = list(top1)
    print(f"{'sub-network':18}" + "".join(f"{name:18}" for name in names))
    for key in next(iter(trainings.tested.values())):
        print(f"{key:18}" + "".join(f"{spread(top1[name][key]):18}" for name in names))
    for name in names:
        print(f"{name}, seed by seed: " + "; ".join(
            f"{key} {', '.join(f'{value:.1f}' for value in values)}" for key, values in top1[name].items()
        ))  # fmt: skip
    for name, overrides in trainings.runs.items():
        print(f"{name}: {overrides['SOLVER.MAX_EPOCH']} epochs, {trainings.seconds(seeds, name):.0f} s")


if __name__ == "__main__":
    main()

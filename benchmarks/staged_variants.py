#!/usr/bin/env python3
"""Variants of the staged recipe at equal arithmetic, each changed in one thing.

    python benchmarks/staged_variants.py
    python benchmarks/staged_variants.py --variants staged falling stratified --seeds 3

Makes hard moving shapes, other clips than those of mutual_vs_separate.py, and trains each variant for each of some
seeds; one that is done is not done again. What is no option of the config is a change of the code for the time of the
training, made here: nothing of it has gained enough to become an option. Training videos stay in memory. Trainings run
`--jobs` at a time with one thread each.

Printed are top-1 of six sub-networks, means over the seeds with their standard deviations, and what a variant has more
than the staged recipe in the mean of the six: over the seeds, and seed by seed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mutual_vs_separate import SEPARATE, make_shapes
from program_options import add, add_jobs
from torch import nn
from trainings import STAGED_EVIDENCE, STAGED_EVIDENCE_LONG, Overrides, Start, run_jobs, seeds_text, spread

import mutualnet3d as m3
from mutualnet3d.data import dataset
from mutualnet3d.engine import train_step
from mutualnet3d.models.slimmable_base import SlimmableBase
from mutualnet3d.mutual.step import StepResult, _new_key
from mutualnet3d.ops.norm import SlimBatchNorm3d
from mutualnet3d.ops.width import select_columns
from mutualnet3d.runner import test, train
from mutualnet3d.video.frames_in_memory import FramesInMemory

CFG = "X3D_tiny_evidence.yaml"
FROM_START: Overrides = {"MUTUAL.START": 0.0, "MUTUAL.SORT_CHANNELS": False}
DROPOUT: Overrides = {"MODEL.DROPOUT_RATE": 0.5}


class Progress:
    """Fraction of the mutual steps that are done, in [0, 1]; the training keeps it."""

    done = 0.0


def fall_label_weight() -> None:
    """Let the labels' weight fall from 1 to 0."""
    accumulate = train_step.TrainStep._accumulate_gradients

    def falling(self: train_step.TrainStep, step: int, part: object) -> object:
        self.label_weight = 1.0 - Progress.done
        return accumulate(self, step, part)

    train_step.TrainStep._accumulate_gradients = falling


def replace_step(
    teacher_of: Callable[[Sequence[torch.Tensor]], torch.Tensor], weight: Callable[[], float], is_sorted: bool
) -> None:
    """Replace the mutual step by one without dropout's special cases.

    Args:
        teacher_of: function from the logits of the step's networks so far, the full one's first, to the next one's
            teacher.
        weight: function that returns the weight of the sub-networks' losses.
        is_sorted: True for the widest sub-network first.
    """

    def step(model: Any, clips_for: Any, labels: Any, full: Any, subnets: Any, *, losses: Any, backward: Any,
             label_weight: float, **_: object) -> StepResult:  # fmt: skip
        loss_of: dict[str, torch.Tensor] = {}
        top1: dict[str, torch.Tensor] = {}
        logits_so_far: list[torch.Tensor] = []
        order = sorted(subnets, key=lambda config: -config.width) if is_sorted else subnets
        for config in (full, *order):
            with model.active(config) if logits_so_far else nullcontext():
                logits_BK = model(clips_for(config))
                if logits_so_far:
                    teacher_BK = teacher_of(logits_so_far)
                    loss = losses.of_subnet(logits_BK, teacher_BK, labels, label_weight)
                    backward(weight() * loss)
                else:
                    loss = losses.label(logits_BK, labels)
                    backward(loss)
            logits_so_far.append(logits_BK.detach())
            key = _new_key(str(config), loss_of)
            loss_of[key], top1[key] = loss.detach(), losses.hits(logits_BK.detach(), labels).float().mean()
        return StepResult(loss_of, top1)

    train_step.mutual_step = step


def teach_by_neighbours() -> None:
    """Let each sub-network learn from the next wider network."""
    replace_step(lambda logits: logits[-1], lambda: 1.0, is_sorted=True)


def teach_by_mean() -> None:
    """Let each sub-network learn from the mean of the softmax of all wider networks."""

    def mean(logits: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack([logits_BK.softmax(dim=1) for logits_BK in logits]).mean(dim=0).log()

    replace_step(mean, lambda: 1.0, is_sorted=True)


def ramp() -> None:
    """Let the weight of the sub-networks' losses rise to 1 over a quarter of the mutual steps."""
    replace_step(lambda logits: logits[0], lambda: min(1.0, 4 * Progress.done + 1e-3), is_sorted=False)


def halve_losses() -> None:
    """Halve the sub-networks' losses."""
    replace_step(lambda logits: logits[0], lambda: 0.5, is_sorted=False)


def replace_draw(draw: Callable[[m3.SubnetSpace, int, int, Sequence[m3.SubnetConfig]], tuple]) -> None:
    """Replace the draw of a step's networks by a function of the space, seed, step, and the networks drawn."""
    at_step = m3.SubnetSpace.at_step
    m3.SubnetSpace.at_step = lambda space, seed, step: draw(space, seed, step, at_step(space, seed, step))


def stratify_widths() -> None:
    """Draw one random width from each half of the range."""

    def draw(space: m3.SubnetSpace, seed: int, step: int, networks: Sequence[m3.SubnetConfig]) -> tuple:
        rng = np.random.default_rng((seed, step))
        low, high = space.width_range
        middle = (low + high) / 2
        narrowest = space.sample(rng, width=low)
        halves = ((low, middle), (middle, high))
        return (space.full, narrowest, *(space.sample(rng, width=float(rng.uniform(*half))) for half in halves))

    replace_draw(draw)


def draw_one() -> None:
    """Draw one random sub-network a step beside the narrowest, in place of two."""
    replace_draw(lambda space, seed, step, networks: tuple(networks[:3]))


def own_norms(attribute: str, values: Sequence[int]) -> None:
    """Give batch norms scales and shifts of their own for some clips, as differences that start at zero.

    Args:
        attribute: attribute of a sub-network that decides, "frames" or "size".
        values: values of it that have their own.
    """
    active: dict[str, int | None] = {"value": None}
    from_norm, sliced, switch = SlimBatchNorm3d.from_norm.__func__, SlimBatchNorm3d.sliced, SlimmableBase._switch

    def with_own(cls: type, norm: nn.BatchNorm3d) -> SlimBatchNorm3d:
        slim = from_norm(cls, norm)
        slim.own_weight = nn.ParameterDict({str(value): torch.zeros_like(norm.weight) for value in values})
        slim.own_bias = nn.ParameterDict({str(value): torch.zeros_like(norm.bias) for value in values})
        return slim

    def own_sliced(self: SlimBatchNorm3d, channels: int) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        if active["value"] not in values:
            return sliced(self, channels)
        key = str(active["value"])
        summed = self.weight + self.own_weight[key], self.bias + self.own_bias[key]
        if self.in_widths is None:
            return summed[0][:channels], summed[1][:channels]
        parts = tuple(rule.full for rule in self.rules)
        weight, bias = (select_columns(value, parts, channels, self.in_widths, dim=0) for value in summed)
        return weight, bias

    def own_switch(self: SlimmableBase, config: m3.SubnetConfig | None) -> None:
        active["value"] = getattr(config, attribute) if config is not None else None
        switch(self, config)

    SlimBatchNorm3d.from_norm = classmethod(with_own)
    SlimBatchNorm3d.sliced, SlimmableBase._switch = own_sliced, own_switch


@dataclass(frozen=True)
class Variant:
    """Variant of the staged recipe.

    Args:
        overrides: settings that differ from the staged recipe's.
        changes: functions that change the code.
    """

    overrides: Overrides
    changes: Sequence[Callable[[], None]] = ()


VARIANTS = {
    "staged": Variant({}),
    "falling": Variant({}, (fall_label_weight,)),
    "falling_stratified": Variant({}, (fall_label_weight, stratify_widths)),
    "unsorted": Variant({"MUTUAL.SORT_CHANNELS": False}),
    "stratified": Variant({}, (stratify_widths,)),
    "norms": Variant({}, (partial(own_norms, "frames", (6,)),)),
    "norms_by_size": Variant({}, (partial(own_norms, "size", (40, 32)),)),
    "ensemble": Variant({}, (teach_by_mean,)),
    "chain": Variant({}, (teach_by_neighbours,)),
    "one": Variant({"SOLVER.MAX_EPOCH": 98}, (draw_one,)),
    "ramp": Variant({}, (ramp,)),
    "half_losses": Variant({}, (halve_losses,)),
    "label_0.25": Variant({"MUTUAL.LABEL_WEIGHT": 0.25}),
    "label_0.75": Variant({"MUTUAL.LABEL_WEIGHT": 0.75}),
    "from_start": Variant({**FROM_START, "SOLVER.MAX_EPOCH": 60}),
    "from_0.25": Variant({"MUTUAL.START": 0.25, "SOLVER.MAX_EPOCH": 70}),
    "from_0.75": Variant({"MUTUAL.START": 0.75, "SOLVER.MAX_EPOCH": 103}),
    "long": Variant({"SOLVER.MAX_EPOCH": 208}),
    "long_from_start": Variant({**FROM_START, "SOLVER.MAX_EPOCH": 150}),
    "long_from_0.25": Variant(STAGED_EVIDENCE_LONG),
    "long_from_0.75": Variant({"MUTUAL.START": 0.75, "SOLVER.MAX_EPOCH": 257}),
    "dropout_paper": Variant(DROPOUT),
    "dropout_off": Variant({**DROPOUT, "MUTUAL.SUBNET_DROPOUT": False}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=list(VARIANTS),
        default=list(VARIANTS),
        metavar="NAME",
        help=f"variants to train: {', '.join(VARIANTS)}; default: all",
    )
    add(parser, "--seeds", 3, "N", "number of seeds")
    add_jobs(parser)
    add(parser, "--output", "output/staged_variants", "FOLDER", "folder of all runs")
    add(parser, "--data", "data/moving_shapes_choice", "FOLDER", "folder of the clips, made if need be")
    add(parser, "--clips-seed", 23, "N", "seed of the clips; 11 makes those of mutual_vs_separate.py")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "SEED"), help="train and test this one in this process")
    args = parser.parse_args()
    if args.one:
        run_one(args.one[0], int(args.one[1]), args.output, args.data)
        return
    make_shapes(args.data, seed=args.clips_seed)
    todo = [(name, seed, args.output, args.data) for seed in range(args.seeds) for name in args.variants]
    run_jobs(start_one, todo, args.jobs)
    report(args.variants, args.seeds, args.output)


def start_one(start: Start, name: str, seed: int, output: str, data: str) -> str:
    """Train and test in a process of its own, unless it is done."""
    if not result_path(output, name, seed).exists():
        words = ["--one", name, str(seed), "--output", output, "--data", data]
        start([sys.executable, __file__, *words])
    return f"seed {seed}, {name}: done"


def result_path(output: str, name: str, seed: int) -> Path:
    """Return the path of a run's top-1."""
    return Path(output, name, str(seed), "top1.json")


def run_one(name: str, seed: int, output: str, data: str) -> None:
    """Train and test a variant; write its top-1."""
    variant, folder = VARIANTS[name], str(result_path(output, name, seed).parent)
    places: Overrides = {"DATA.PATH_TO_DATA_DIR": data, "RNG_SEED": seed, "OUTPUT_DIR": folder, "TEST.ENABLE": False}
    words = [word for pair in {**STAGED_EVIDENCE, **variant.overrides, **places}.items() for word in pair]
    cfg = m3.load_cfg(CFG, words)
    hold_videos(128)
    for change in variant.changes:
        change()
    keep_progress(cfg.MUTUAL.START, cfg.SOLVER.MAX_EPOCH * 128 // cfg.TRAIN.BATCH_SIZE)  # before a change reads it
    train(cfg)
    tested = ["TEST.SUBNETS", list(SEPARATE), "TEST.LATENCY_RUNS", 1, "TEST.SAVE_RESULTS_PATH", ""]
    test(m3.load_cfg(CFG, [*words, *tested]))
    table = m3.QueryTable.load(os.path.join(folder, "query_table.json"))
    top1 = {str(row.config): row.top1 for row in table.default_rows}
    result_path(output, name, seed).write_text(json.dumps(top1))


def keep_progress(start: float, num_steps: int) -> None:
    """Let trainings set `Progress` at each step."""
    accumulate, first = train_step.TrainStep._accumulate_gradients, round(num_steps * start)

    def counted(self: train_step.TrainStep, step: int, part: object) -> object:
        Progress.done = min(1.0, max(0.0, (step - first) / (num_steps - first)))
        return accumulate(self, step, part)

    train_step.TrainStep._accumulate_gradients = counted


def hold_videos(number: int) -> None:
    """Keep the frames of the first `number` videos that are read: those of the training."""
    open_video = dataset.open_video
    held: dict[str, FramesInMemory] = {}

    def open_held(path: str, *args: Any) -> object:
        if path not in held:
            if len(held) >= number:
                return open_video(path, *args)
            with open_video(path, *args) as video:
                held[path] = FramesInMemory(list(video.read(range(video.info.num_frames))))
                held[path].info = video.info
        return held[path]

    dataset.open_video = open_held


def report(names: Sequence[str], seeds: int, output: str) -> None:
    """Print the results over all seeds."""
    top1 = {name: [json.loads(result_path(output, name, seed).read_text()) for seed in range(seeds)] for name in names}
    print(f"top-1 in %, {seeds_text(seeds)}")
    print(f"{'variant':20}" + "".join(f"{key:17}" for key in SEPARATE) + "more than staged")
    for name, runs in top1.items():
        cells = [spread([run[key] for run in runs]) for key in SEPARATE]
        more = ""
        if "staged" in top1 and name != "staged":
            pairs = zip(runs, top1["staged"], strict=True)
            gains = [statistics.mean(run[key] - staged[key] for key in SEPARATE) for run, staged in pairs]
            more = f"{spread(gains)} ({', '.join(f'{gain:+.2f}' for gain in gains)})"
        print(f"{name:20}" + "".join(f"{cell:17}" for cell in cells) + more)


if __name__ == "__main__":
    main()

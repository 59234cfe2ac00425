#!/usr/bin/env python3
"""Cascades against rows of the same mean cost, on videos that neither was chosen on; and the cost that a predictor
spends against the one that the table promised.

    python benchmarks/cascade.py

Takes the folder of a test (`--folder`), or makes it: hard moving shapes, the staged recipe, 83 epochs. The 1,200 test
clips are halved ten times; on one half cascades and rows are chosen, on the other they are compared. Other ways to tell
a sure row, the mean of the rows' scores, and chains of three rows are compared as well. Printed are means and standard
deviations over the halves; drawn is the curve of mean cost.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mutual_vs_separate import make_shapes
from program_options import add
from trainings import STAGED_EVIDENCE, Overrides, spread

from mutualnet3d.deploy import Prediction, Predictor
from mutualnet3d.plots.curves import Curve, Point
from mutualnet3d.plots.tradeoff_figure import save_tradeoff_plot
from mutualnet3d.results.cascade import Cascade, best_cascade, confidence
from mutualnet3d.results.cascade_fit import fit_cascades, split_videos
from mutualnet3d.results.pareto import pareto_front
from mutualnet3d.results.query_table import QueryTable

ROOT = Path(__file__).resolve().parents[1]
CFG = "X3D_tiny_evidence.yaml"
RECIPE: Overrides = {**STAGED_EVIDENCE, "RNG_SEED": 0}
# Budgets, in costs of the cheapest row.
BUDGETS = (1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
NUM_CLIPS = 200  # that the predictor runs
SHARES = np.linspace(0.05, 0.95, 19)


class Scores(NamedTuple):
    """Scores of rows on some videos, (V, K) each, their GFLOPs of a video, and the labels (V,)."""

    of: Mapping[object, torch.Tensor]
    gflops: Mapping[object, float]
    label_V: torch.Tensor

    def part(self, video_V: torch.Tensor) -> "Scores":
        return Scores({key: score_VK[video_V] for key, score_VK in self.of.items()}, self.gflops, self.label_V[video_V])


class Choice(NamedTuple):
    """Rows and thresholds, and mean cost and top-1 on the videos that it was found on."""

    keys: tuple
    thresholds: tuple
    cost: float
    top1: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add(parser, "--folder", "output/evidence_staged", "FOLDER", "folder of the test, made if need be")
    add(parser, "--data", "data/moving_shapes_hard", "FOLDER", "folder of the clips, made if need be")
    add(parser, "--output", "output/cascade", "FOLDER", "folder of the pictures")
    add(parser, "--splits", 10, "N", "number of random halvings of the clips")
    args = parser.parse_args()
    if not os.path.exists(os.path.join(args.folder, "scores.npz")):
        make_test(args.folder, args.data)
    table = QueryTable.load(os.path.join(args.folder, "query_table.json"))
    with np.load(os.path.join(args.folder, "scores.npz")) as file:
        keys = {(row.config, row.views): str(row.config) for row in table.default_rows}
        scores = Scores(
            {key: torch.from_numpy(file[name]) for key, name in keys.items()},
            {(row.config, row.views): row.gflops_of_video for row in table.default_rows},
            torch.from_numpy(file["labels"]),
        )
        paths = file["paths"].tolist()
    compare_with_rows(scores, args.splits, args.output)
    compare_ways(scores, args.splits)
    seed = table.context["cascades"]["seed"]
    report_V = split_videos(len(scores.label_V), seed)[1]
    run_predictor(os.path.join(args.folder, "calibrated.pyth"), [paths[video] for video in report_V[:NUM_CLIPS]])


def make_test(folder: str, data: str) -> None:
    """Make the clips, train by the staged recipe, and test."""
    make_shapes(data)
    values = {**RECIPE, "DATA.PATH_TO_DATA_DIR": data, "OUTPUT_DIR": folder}
    words = ["--cfg", CFG, *(str(word) for pair in values.items() for word in pair)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, str(ROOT / "tools/run_net.py"), *words], env=environment, check=True)


def compare_with_rows(scores: Scores, num_splits: int, folder: str) -> None:
    """Print and draw accuracy over mean cost: of the best row within each budget, and of the best cascade."""
    cheapest = min(scores.gflops.values())
    fixed: dict[float, list[float]] = {budget: [] for budget in BUDGETS}
    cascaded: dict[float, list[float]] = {budget: [] for budget in BUDGETS}
    spent: dict[float, list[float]] = {budget: [] for budget in BUDGETS}
    row_costs: dict[float, list[float]] = {budget: [] for budget in BUDGETS}
    over_line: dict[float, list[float]] = {budget: [] for budget in BUDGETS}
    for seed in range(num_splits):
        fit_V, report_V = split_videos(len(scores.label_V), seed)
        fit, report = scores.part(fit_V), scores.part(report_V)
        front = rows_of(fit)
        on_report = [applied(item, report).top1 for item in front]
        cascades = fit_cascades(scores.of, scores.gflops, scores.label_V, seed)

        def mean_cost(cascade: Cascade, cost: str = "gflops") -> float:
            return cascade.spread(lambda stage: scores.gflops[stage.key]).mean

        for budget in BUDGETS:
            row = [row for row in front if row.cost <= budget * cheapest][-1]
            fixed[budget].append(applied(row, report).top1)
            row_costs[budget].append(row.cost)
            cascade = best_cascade(cascades, {"gflops": budget * cheapest}, mean_cost)
            cascaded[budget].append(cascade.top1)
            spent[budget].append(mean_cost(cascade))
            line = np.interp(spent[budget][-1], [item.cost for item in front], on_report)
            over_line[budget].append(cascade.top1 - float(line))
    print(f"top-1 in %: {num_splits} halves of {len(scores.label_V)} videos; chosen on one, of the other:")
    print("over the line: gain over the straight line between rows at the cascade's own mean cost")
    print("budget, GFLOPs   best row         best cascade     gain             over the line    costs of both")
    for budget in BUDGETS:
        gains = [after - before for after, before in zip(cascaded[budget], fixed[budget], strict=True)]
        cells = [spread(fixed[budget]), spread(cascaded[budget]), spread(gains, "+.2f")]
        cells.append(spread(over_line[budget], "+.2f"))
        costs = f"{statistics.mean(row_costs[budget]):.5f}, {statistics.mean(spent[budget]):.5f}"
        print(f"{budget * cheapest:<16.5f} " + " ".join(f"{cell:<16}" for cell in cells) + costs)
    curves = [
        Curve("cascade, mean cost", points_of(spent, cascaded)),
        Curve("best row for all videos", points_of(row_costs, fixed)),
    ]
    os.makedirs(folder, exist_ok=True)
    for suffix in ("png", "svg"):
        path = os.path.join(folder, f"cascade.{suffix}")
        title = f"A dearer row for unsure videos alone, mean and deviation over {num_splits} halves"
        save_tradeoff_plot(curves, path, title, views="1 x 1 views")
        print(f"wrote {path}")


def points_of(costs: Mapping[float, Sequence[float]], top1: Mapping[float, Sequence[float]]) -> list[Point]:
    """Return a point for each budget; of those of the same mean cost one."""
    points = [
        Point(statistics.mean(costs[budget]), statistics.mean(top1[budget]), "", statistics.stdev(top1[budget]))
        for budget in BUDGETS
    ]
    return list({point.cost: point for point in points}.values())


def compare_ways(scores: Scores, num_splits: int) -> None:
    """Print the gain over the best row, in the mean over the budgets, of other ways to make cascades."""
    cheapest = min(scores.gflops.values())
    ways = [(name, mean, 2) for name in CONFIDENCES for mean in (False, True)] + [("margin", False, 3)]
    print("gain over the best row, mean over the budgets and deviation over the halves:")
    for name, is_mean, length in ways:
        gains = []
        for seed in range(num_splits):
            fit_V, report_V = split_videos(len(scores.label_V), seed)
            fit, report = scores.part(fit_V), scores.part(report_V)
            front = rows_of(fit)
            choices = [*front, *chains(front, fit, CONFIDENCES[name], is_mean, length)]
            best = pareto_front(choices, lambda choice: choice.cost, lambda choice: choice.top1)
            differences = []
            for budget in BUDGETS:
                row, choice = (
                    [item for item in items if item.cost <= budget * cheapest][-1] for items in (front, best)
                )
                of_cascade = applied(choice, report, CONFIDENCES[name], is_mean).top1
                differences.append(of_cascade - applied(row, report).top1)
            gains.append(statistics.mean(differences))
        scores_of = "mean of the rows' scores" if is_mean else "last row's scores"
        print(f"  {name:20} {scores_of:26} {length} rows at most: {spread(gains, '+.2f')}")


CONFIDENCES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "margin": confidence,
    "largest probability": lambda score_VK: score_VK.amax(dim=1),
    "entropy": lambda score_VK: (score_VK * score_VK.clamp(min=1e-12).log()).sum(dim=1),
}


def rows_of(scores: Scores) -> tuple[Choice, ...]:
    """Return the Pareto front of rows."""
    rows = [applied(Choice((key,), (), 0.0, 0.0), scores) for key in scores.of]
    return pareto_front(rows, lambda row: row.cost, lambda row: row.top1)


def chains(
    front: Sequence[Choice], scores: Scores, confidence_of: Callable, is_mean: bool, length: int
) -> Iterator[Choice]:
    """Yield cascades of two rows up to `length`, for a grid of shares of the videos that go on."""
    longer = list(front)
    for _ in range(length - 1):
        shorter, longer = longer, []
        for choice in shorter:
            going_VS, total_VK = progress_of(choice, scores, confidence_of, is_mean)
            sure_V = confidence_of(total_VK)[going_VS]
            if not len(sure_V):
                continue
            thresholds = torch.quantile(sure_V.double(), torch.from_numpy(SHARES)).tolist()
            for row in front:
                if row.cost <= scores.gflops[choice.keys[-1]]:
                    continue
                for threshold in dict.fromkeys(thresholds):
                    joined = Choice(choice.keys + row.keys, (*choice.thresholds, threshold), 0.0, 0.0)
                    longer.append(applied(joined, scores, confidence_of, is_mean))
        yield from longer


def progress_of(
    choice: Choice, scores: Scores, confidence_of: Callable, is_mean: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the videos that a cascade's last row runs on, bool (V,), and their scores by then (V, K)."""
    going_V = torch.ones(len(scores.label_V), dtype=torch.bool)
    total_VK = scores.of[choice.keys[0]]
    for number, (key, threshold) in enumerate(zip(choice.keys[1:], choice.thresholds, strict=True), start=1):
        going_V = going_V & (confidence_of(total_VK) < threshold)
        total_VK = (number * total_VK + scores.of[key]) / (number + 1) if is_mean else scores.of[key]
    return going_V, total_VK


def applied(choice: Choice, scores: Scores, confidence_of: Callable = confidence, is_mean: bool = False) -> Choice:
    """Return a choice with the mean cost and top-1 that it has on these videos."""
    right_V = torch.zeros(len(scores.label_V), dtype=torch.bool)
    cost = 0.0
    for last in range(len(choice.keys)):
        shorter = Choice(choice.keys[: last + 1], choice.thresholds[:last], 0.0, 0.0)
        going_V, total_VK = progress_of(shorter, scores, confidence_of, is_mean)
        right_V = torch.where(going_V, total_VK.argmax(dim=1) == scores.label_V, right_V)
        cost += float(going_V.double().mean()) * scores.gflops[choice.keys[last]]
    return choice._replace(cost=cost, top1=100 * float(right_V.double().mean()))


def run_predictor(checkpoint: str, paths: Sequence[str]) -> None:
    """Print the cost that predictions took, against what the table promised; and the time of reading."""
    predictor = Predictor.load(checkpoint, backend="pytorch", threads=1)
    table = predictor.measure()
    print(f"the predictor on {len(paths)} clips: cost of a video, over the table's promise")
    print("mean budget   ran on, % (promised)   GFLOPs            of promise   network ms        of promise")
    for cascade in (item for item in table.cascades or () if len(item.stages) > 1):
        promised, promised_ms = table.spread(cascade), table.spread(cascade, "milliseconds")
        predictions = list(predictor.predict_many(paths, mean_gflops=promised.mean, batch_size=1))
        gflops = statistics.mean(checked(prediction).gflops_of_video for prediction in predictions)
        milliseconds = statistics.mean(checked(prediction).timing.network for prediction in predictions)
        share = statistics.mean(len(checked(prediction).stages) > 1 for prediction in predictions)
        print(
            f"{promised.mean:<13.5f} {100 * share:5.1f} ({100 * cascade.stages[1].share:.1f})          {gflops:.5f}"
            f"           {gflops / promised.mean:.3f}        {milliseconds:.2f}             "
            f"{milliseconds / promised_ms.mean:.3f}"
        )
    cascade = max(table.cascades or (), key=lambda cascade: cascade.stages[-1].share if len(cascade.stages) > 1 else 0)
    print_reading(predictor, [stage.config for stage in cascade.stages], cascade.stages[-1].share, paths)


def checked(prediction: object) -> Prediction:
    assert isinstance(prediction, Prediction), prediction
    return prediction


def print_reading(predictor: Predictor, configs: Sequence, share: float, paths: Sequence[str]) -> None:
    """Print the time of reading the clips of a cascade's two stages at once, and again for the unsure videos alone."""
    from mutualnet3d.data.clip_reader import ClipReader

    reader, seconds = ClipReader(predictor.preprocessing), dict.fromkeys(("first", "second", "both"), 0.0)
    shapes = {"first": configs[:1], "second": configs[1:], "both": configs}
    for path in paths:
        for name, stages in shapes.items():
            started = time.perf_counter()
            reader.read(path, [config.clip_shape for config in stages])
            seconds[name] += time.perf_counter() - started
    times = {name: 1e3 * value / len(paths) for name, value in seconds.items()}
    again = times["first"] + share * times["second"]
    print(
        f"reading, ms a video: both stages' clips at once {times['both']:.2f}; the first's, and the second's again for "
        f"{100 * share:.0f} % of the videos {again:.2f}"
    )


if __name__ == "__main__":
    main()

"""Cascades fitted on one half of a test's videos and reported on the other. Arithmetic only.

Legend: V videos, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mutualnet3d.results.cascade import Cascade, RowKey, Stage, confidence
from mutualnet3d.results.pareto import pareto_front
from mutualnet3d.results.view_scores import hits

# Fewest videos that cascades are fitted and reported on: half of them is what a threshold is fitted on.
MIN_VIDEOS = 100
# Most cascades that are kept: the best one of as many budgets, evenly spaced on a logarithmic scale.
MAX_CASCADES = 16
# Fractions of the fitting videos that go on to the second stage, of which the thresholds follow.
_SHARES = tuple(number / 20 for number in range(1, 20))


@dataclass(frozen=True)
class _Candidate:
    """Rows with the thresholds of all but the last, and mean cost and top-1 on the fitting videos."""

    keys: tuple[RowKey, ...]
    thresholds: tuple[float, ...]
    cost: float
    top1: float


@dataclass(frozen=True)
class _Outcome:
    """Outcome of a row for some videos: top-1 and top-5 hits, bool (V, 2), and confidences (V,)."""

    hits_V2: torch.Tensor
    confidence_V: torch.Tensor

    def of(self, places_V: torch.Tensor) -> _Outcome:
        """Return the outcome for the videos at these places."""
        return _Outcome(self.hits_V2[places_V], self.confidence_V[places_V])


def split_videos(num_videos: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the positions of the fitting and of the reporting videos, ascending: halves, drawn by `seed`."""
    order_V = torch.from_numpy(np.random.default_rng(seed).permutation(num_videos))
    return order_V[: num_videos // 2].sort().values, order_V[num_videos // 2 :].sort().values


def fit_cascades(
    probabilities: Mapping[RowKey, torch.Tensor], gflops: Mapping[RowKey, float], label_V: torch.Tensor, seed: int = 0
) -> tuple[Cascade, ...]:
    """Return the Pareto front of cascades over mean cost, the cheapest first: at most `MAX_CASCADES`.

    Rows on the front of the fitting videos are cascades of one stage. Of the pairs of such rows those are kept that are
    more accurate there than every row and every other pair of no more cost. The scores of the last stage that ran
    count. All stored numbers but `fit_top1` are those on the other half of the videos.

    Args:
        probabilities: scores of the videos by each row, (V, K), which sum to 1 over the classes; read once each.
        gflops: cost of a video by each row, 1e9 multiply-adds.
        label_V: classes of the videos.
        seed: seed of the halves.

    Raises:
        ValueError: there are fewer than `MIN_VIDEOS` videos.
    """
    if len(label_V) < MIN_VIDEOS:
        raise ValueError(f"cascades are fitted on {MIN_VIDEOS} videos or more; there are {len(label_V)}")
    fit_V, report_V = split_videos(len(label_V), seed)
    outcomes = {key: _Outcome(hits(row_VK, label_V), confidence(row_VK)) for key, row_VK in probabilities.items()}
    chosen = _chosen({key: outcome.of(fit_V) for key, outcome in outcomes.items()}, gflops)
    of_report = {key: outcomes[key].of(report_V) for candidate in chosen for key in candidate.keys}
    return tuple(_reported(candidate, of_report) for candidate in chosen)


def _chosen(outcomes: Mapping[RowKey, _Outcome], gflops: Mapping[RowKey, float]) -> list[_Candidate]:
    """Return the cascades to keep, by the fitting videos alone."""
    hits_of = {key: outcome.hits_V2[:, 0] for key, outcome in outcomes.items()}
    single = [_Candidate((key,), (), gflops[key], _percent(hits_of[key])) for key in outcomes]
    rows = pareto_front(single, lambda row: row.cost, lambda row: row.top1)
    pairs = [
        pair
        for place, first in enumerate(rows)
        for second in rows[place + 1 :]
        for pair in _pairs(first, second, outcomes[first.keys[0]].confidence_V, hits_of)
    ]
    return _thinned(pareto_front([*rows, *pairs], lambda candidate: candidate.cost, lambda candidate: candidate.top1))


def _pairs(
    first: _Candidate, second: _Candidate, confidence_V: torch.Tensor, hits_of: Mapping[RowKey, torch.Tensor]
) -> Iterator[_Candidate]:
    """Yield the cascades of two rows, for the shares of the videos that go on to the second."""
    keys = first.keys + second.keys
    thresholds = torch.quantile(confidence_V.double(), torch.tensor(_SHARES, dtype=torch.float64)).tolist()
    for threshold in dict.fromkeys(thresholds):
        if not 0 < threshold <= 1:
            continue
        goes_on_V = confidence_V < threshold
        hits_V = torch.where(goes_on_V, hits_of[keys[1]], hits_of[keys[0]])
        cost = first.cost + int(goes_on_V.sum()) / len(goes_on_V) * second.cost
        yield _Candidate(keys, (threshold,), cost, _percent(hits_V))


def _thinned(front: Sequence[_Candidate]) -> list[_Candidate]:
    """Return the best candidate of each of `MAX_CASCADES` budgets, from the cheapest's cost to the dearest's."""
    budgets = np.geomspace(front[0].cost, front[-1].cost, MAX_CASCADES)
    budgets[-1] = front[-1].cost  # whatever the logarithm rounds to
    best = ([front[0], *(item for item in front if item.cost <= budget)][-1] for budget in budgets)
    return list(dict.fromkeys(best))


def _reported(candidate: _Candidate, outcomes: Mapping[RowKey, _Outcome]) -> Cascade:
    """Return the cascade with its accuracy and shares on the reporting videos."""
    stages: list[Stage] = []
    hits_V2 = torch.zeros_like(outcomes[candidate.keys[0]].hits_V2)
    goes_on_V = torch.ones(len(hits_V2), dtype=torch.bool)
    for key, threshold in zip(candidate.keys, (*candidate.thresholds, 0.0), strict=True):
        stages.append(Stage(*key, threshold, int(goes_on_V.sum()) / len(goes_on_V)))
        hits_V2 = torch.where(goes_on_V[:, None], outcomes[key].hits_V2, hits_V2)
        goes_on_V = goes_on_V & (outcomes[key].confidence_V < threshold)
    return Cascade(tuple(stages), _percent(hits_V2[:, 0]), _percent(hits_V2[:, 1]), candidate.top1)


def _percent(hits_V: torch.Tensor) -> float:
    return 100.0 * int(hits_V.sum()) / len(hits_V)

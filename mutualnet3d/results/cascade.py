"""Cascade of rows: a cheap row runs on every video, a dearer row only on videos that the cheap one is not sure of.

A row is sure of a video if the `confidence` of its scores is at least the stage's threshold; the last stage always is.
Costs are those of all stages that ran. Arithmetic only; `cascade_fit` finds the rows and thresholds.

Legend: V videos, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch

from mutualnet3d.results.row import Views, finite_number
from mutualnet3d.shapes import SubnetConfig

RowKey = tuple[SubnetConfig, Views]


@dataclass(frozen=True)
class Stage:
    """Row of a cascade.

    Args:
        config: sub-network.
        views: views of a video that it runs on.
        threshold: confidence, 0 to 1, from which on the cascade ends after this stage; 0 for the last stage.
        share: fraction of the reporting videos that ran the stage; 1 for the first stage.

    Raises:
        ValueError: a number is not from 0 to 1; the message names the field.
    """

    config: SubnetConfig
    views: Views
    threshold: float
    share: float

    def __post_init__(self) -> None:
        for name in ("threshold", "share"):
            value = finite_number(name, getattr(self, name))
            if value > 1:
                raise ValueError(f"{name} is {value!r}; it must be a number of 0 to 1")
            object.__setattr__(self, name, value)

    @property
    def key(self) -> RowKey:
        """Sub-network and views, the key of the stage's row on the back end at hand."""
        return self.config, self.views


@dataclass(frozen=True)
class CostSpread:
    """Cost of a video over many: mean, 95th percentile, and worst."""

    mean: float
    p95: float
    worst: float


@dataclass(frozen=True)
class Cascade:
    """Stages, with their accuracy on videos that they were not fitted on.

    Args:
        stages: rows in the order in which they run, at least one; a single stage is a row for every video.
        top1: top-1 on the reporting videos, percent.
        top5: top-5 on the reporting videos, percent.
        fit_top1: top-1 on the fitting videos, percent, by which cascades were chosen, and which is biased upwards by
            the choice.

    Raises:
        ValueError: there is no stage, a row is there twice, the shares rise or do not start at 1, a threshold is 0
            before the last stage or not 0 in it, or an accuracy is no percentage.
    """

    stages: tuple[Stage, ...]
    top1: float
    top5: float
    fit_top1: float

    def __post_init__(self) -> None:
        for name in ("top1", "top5", "fit_top1"):
            value = finite_number(name, getattr(self, name))
            if value > 100:
                raise ValueError(f"{name} is {value!r}; it must be a percentage, 0 to 100")
            object.__setattr__(self, name, value)
        if not self.stages:
            raise ValueError("a cascade needs at least one stage")
        if len({stage.key for stage in self.stages}) < len(self.stages):
            raise ValueError(f"cascade {self} has a row twice")
        shares = [stage.share for stage in self.stages]
        if shares[0] != 1 or any(after > before for before, after in pairwise(shares)):
            raise ValueError(f"cascade {self}: shares are {shares}; the first must be 1, and none above that before it")
        thresholds = [stage.threshold for stage in self.stages]
        if thresholds[-1] != 0 or not all(thresholds[:-1]):
            raise ValueError(f"cascade {self}: thresholds are {thresholds}; the last must be 0, the others above 0")

    def __str__(self) -> str:
        """Return the stages' sub-networks, with views where these are several: `w0.63-s32-t6 > w1.0-s48-t8`."""
        return " > ".join(
            str(stage.config) + ("" if stage.views.count == 1 else f" ({stage.views})") for stage in self.stages
        )

    def spread(self, cost_of: Callable[[Stage], float]) -> CostSpread:
        """Return the cost of a video over the reporting videos.

        Args:
            cost_of: function from a stage to the cost of a video in it.
        """
        costs = [cost_of(stage) for stage in self.stages]
        shares = [stage.share for stage in self.stages]
        mean = sum(share * cost for share, cost in zip(shares, costs, strict=True))
        spent = list(accumulate(costs))
        # Videos that end after a stage are those that no further one has.
        p95 = next((total for total, left in zip(spent, shares[1:], strict=False) if left <= 0.05), spent[-1])
        return CostSpread(mean, p95, spent[-1])


def confidence(probability_VK: torch.Tensor) -> torch.Tensor:
    """Return the distance of each video's two largest probabilities (V,), 0 to 1; of a single class 1.

    The largest probability and the entropy chose worse on held-out videos (benchmarks/cascade.py).
    """
    if probability_VK.shape[1] == 1:
        return torch.ones(len(probability_VK))
    best_V2 = probability_VK.topk(2, dim=1).values
    return best_V2[:, 0] - best_V2[:, 1]


def probabilities(score_VK: torch.Tensor, ensemble: str) -> torch.Tensor:
    """Return scores of videos as probabilities that sum to 1, whatever way views were put together.

    Args:
        score_VK: scores of the videos, (V, K).
        ensemble: way of putting views together, "sum", "logits" or "max", see `view_scores.ViewScores`.
    """
    if ensemble == "logits":
        return score_VK.softmax(dim=1)
    return score_VK / score_VK.sum(dim=1, keepdim=True) if ensemble == "max" else score_VK


def best_cascade(
    cascades: Sequence[Cascade], bounds: Mapping[str, float], mean_cost: Callable[[Cascade, str], float]
) -> Cascade:
    """Return the cascade within the bounds that was the most accurate on the fitting videos; of equals the cheapest.

    Args:
        cascades: cascades to choose from.
        bounds: largest mean cost of a video, by the name of the cost.
        mean_cost: function from a cascade and the name of a cost to the mean cost.

    Raises:
        ValueError: there are no cascades, or none is within the bounds; the message names the cheapest.
    """
    if not cascades:
        raise ValueError("the query table has no cascades; a test with TEST.CASCADES True makes them")
    within = [item for item in cascades if all(mean_cost(item, cost) <= bound for cost, bound in bounds.items())]
    if not within:
        budget = " and ".join(f"mean_{cost}={bound:g}" for cost, bound in bounds.items())
        costs = []
        for cost in bounds:
            least, place = min((mean_cost(item, cost), place) for place, item in enumerate(cascades))
            costs.append(f"the cheapest in {cost} is {cascades[place]} with {least:.4g}")
        raise ValueError(f"no cascade fits {budget}; {'; '.join(costs)}")
    return max(within, key=lambda item: (item.fit_top1, *(-mean_cost(item, cost) for cost in bounds)))

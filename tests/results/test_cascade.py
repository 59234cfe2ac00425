from __future__ import annotations

import re

import pytest
import torch

from mutualnet3d.results.cascade import Cascade, CostSpread, best_cascade, confidence, probabilities
from tests.results.cascades import ALONE, PAIR, stage

COSTS = {"w0.5-s32-t4": 1.0, "w1.0-s48-t8": 4.0, "w1.0-s48-t4": 10.0}


@pytest.mark.parametrize(
    ("shares", "spread"),
    [
        ([1.0], (1.0, 1.0, 1.0)),
        ([1.0, 0.25], (2.0, 5.0, 5.0)),
        ([1.0, 0.05], (1.2, 1.0, 5.0)),  # 95 of 100 videos cost no more than the first stage
        ([1.0, 0.06], (1.24, 5.0, 5.0)),
        ([1.0, 0.5, 0.0], (3.0, 5.0, 15.0)),
        ([1.0, 0.5, 0.1], (4.0, 15.0, 15.0)),
    ],
)
def test_costs_are_those_of_all_stages_that_ran(shares, spread):
    keys = list(COSTS)[: len(shares)]
    thresholds = [0.5] * (len(shares) - 1) + [0.0]
    stages = tuple(stage(*values) for values in zip(keys, thresholds, shares, strict=True))
    costs = Cascade(stages, 80.0, 90.0, 81.0).spread(lambda stage: COSTS[str(stage.config)])
    assert (costs.mean, costs.p95, costs.worst) == pytest.approx(spread)


def test_confidence_is_the_margin():
    probability_VK = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75], [0.0, 0.0, 1.0]])
    assert confidence(probability_VK).tolist() == [0.25, 0.625, 1.0]
    assert confidence(torch.ones(2, 1)).tolist() == [1.0, 1.0]


def test_scores_of_any_ensemble_become_probabilities():
    score_VK = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])
    assert torch.equal(probabilities(score_VK, "sum"), score_VK)
    assert torch.equal(probabilities(2 * score_VK, "max"), score_VK)
    assert torch.allclose(probabilities(score_VK.log(), "logits"), score_VK)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"gflops": 1.0}, ALONE),
        ({"gflops": 2.0}, PAIR),
        ({"gflops": 9.0, "milliseconds": 20.0}, PAIR),
        ({"gflops": 9.0, "milliseconds": 19.0}, ALONE),
    ],
)
def test_the_best_cascade_within_a_mean_budget(bounds, expected):
    def mean_cost(cascade, cost):
        return (1 if cost == "gflops" else 10) * cascade.spread(lambda stage: COSTS[str(stage.config)]).mean

    assert best_cascade([ALONE, PAIR], bounds, mean_cost) == expected
    message = "no cascade fits mean_gflops=0.5; the cheapest in gflops is w0.5-s32-t4 with 1"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        best_cascade([PAIR, ALONE], {"gflops": 0.5}, mean_cost)
    with pytest.raises(ValueError, match=r"no cascades; a test with TEST\.CASCADES True makes them"):
        best_cascade([], bounds, mean_cost)


def test_a_cascade_names_its_stages():
    assert str(PAIR) == "w0.5-s32-t4 > w1.0-s48-t8"
    several = (stage("w0.5-s32-t4", 0.5), stage("w0.5-s32-t4", 0, 0.5, "10 x 3"))
    assert str(Cascade(several, 1.0, 1.0, 1.0)) == "w0.5-s32-t4 > w0.5-s32-t4 (10 x 3)"
    assert PAIR.spread(lambda stage: 1.0) == CostSpread(1.25, 2.0, 2.0)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "a cascade needs at least one stage"),
        ([("w0.5-s32-t4", 0.5), ("w0.5-s32-t4", 0)], "w0.5-s32-t4 > w0.5-s32-t4 has a row twice"),
        ([("w0.5-s32-t4", 0, 0.5)], "shares are [0.5]; the first must be 1, and none above that before it"),
        ([("w0.5-s32-t4", 0.5), ("w1.0-s48-t8", 0.5, 0.1)], "thresholds are [0.5, 0.5]; the last must be 0, the"),
        ([("w0.5-s32-t4", 0), ("w1.0-s48-t8", 0, 0.1)], "thresholds are [0.0, 0.0]; the last must be 0, the"),
    ],
)
def test_stages_that_are_no_cascade(stages, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Cascade(tuple(stage(*values) for values in stages), 80.0, 90.0, 80.0)


def test_numbers_are_within_their_range():
    with pytest.raises(ValueError, match=r"^threshold is 1\.5; it must be a number of 0 to 1$"):
        stage("w0.5-s32-t4", 1.5)
    with pytest.raises(ValueError, match=r"^share is 2\.0; it must be a number of 0 to 1$"):
        stage("w0.5-s32-t4", 0.0, 2)
    with pytest.raises(ValueError, match=r"^fit_top1 is 101\.0; it must be a percentage, 0 to 100$"):
        Cascade((stage("w0.5-s32-t4"),), 80.0, 90.0, 101)

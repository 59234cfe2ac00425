from __future__ import annotations

import pytest
import torch

from mutualnet3d.engine.step_metrics import StepMetrics, reduce_metrics
from mutualnet3d.mutual import StepResult


def test_metrics_of_a_step_in_parts():
    parts = [
        StepResult({"w1.0-s32-t4": torch.tensor(a)}, {"w1.0-s32-t4": torch.tensor(b)})
        for a, b in ((1.0, 0.5), (3.0, 0.0))
    ]
    metrics = reduce_metrics(7, parts)
    assert metrics.losses == {"w1.0-s32-t4": 2.0}
    assert metrics.top1 == {"w1.0-s32-t4": 0.25}
    assert metrics.is_immediate
    assert bool(metrics.is_finite)
    metrics.check_finite()


def test_means_over_processes_and_losses_that_are_not_finite():
    keys = ["w1.0-s32-t4", "w0.5-s32-t2", "w0.7-s32-t2"]
    sums_N = torch.tensor([2.0, float("nan"), float("inf"), 1.0, 2.0, 0.5], dtype=torch.float64)  # of two processes
    metrics = StepMetrics(4, keys, sums_N, num_processes=2)
    assert metrics.losses["w1.0-s32-t4"] == 1.0
    assert list(metrics.top1.values()) == [0.5, 1.0, 0.25]
    assert not metrics.is_finite
    with pytest.raises(FloatingPointError, match=r"step 5: the loss of w0\.5-s32-t2, w0\.7-s32-t2 is nan; the weights"):
        metrics.check_finite()

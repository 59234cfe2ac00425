from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mutualnet3d.results.average_precision import accuracy_of_several, average_precisions


def test_average_precision_by_hand():
    """Videos of the class at places 1 and 3: precision 1/1 and 2/3. Of two equal scores both places count as the
    second."""
    label_VK = torch.tensor([[1, 1], [0, 0], [1, 0], [0, 1]]).bool()
    score_VK = torch.tensor([[0.9, 0.9], [0.8, 0.5], [0.7, 0.5], [0.1, 0.5]])
    first, second = average_precisions(score_VK, label_VK).tolist()
    assert first == pytest.approx((1 + 2 / 3) / 2)
    assert second == pytest.approx((1 + 2 / 4) / 2)


def test_a_class_without_videos_has_none_and_does_not_count():
    label_VK = torch.tensor([[1, 0, 0], [0, 0, 1]]).bool()
    score_VK = torch.tensor([[0.9, 0.1, 0.8], [0.2, 0.3, 0.7]])
    values = average_precisions(score_VK, label_VK).tolist()
    assert (values[0], values[2]) == (1.0, 0.5)
    assert math.isnan(values[1])
    accuracy = accuracy_of_several(score_VK, label_VK)
    assert (accuracy.mean_ap, accuracy.score, accuracy.measure) == (75.0, 75.0, "mAP")
    assert (accuracy.top1, accuracy.top5, accuracy.num_videos) == (100.0, 100.0, 2)
    assert accuracy_of_several(score_VK, torch.zeros(2, 3)).mean_ap == 0.0


def test_it_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    label_VK = torch.from_numpy(rng.random((60, 9)) < 0.3)
    score_VK = torch.from_numpy(rng.integers(0, 12, (60, 9)) / 12).float()  # many are equal
    expected = metrics.average_precision_score(label_VK.numpy(), score_VK.numpy(), average=None)
    torch.testing.assert_close(average_precisions(score_VK, label_VK), torch.from_numpy(expected))
    accuracy = accuracy_of_several(score_VK, label_VK)
    assert accuracy.mean_ap == pytest.approx(100 * expected.mean())
    score_VK = torch.from_numpy(rng.random((60, 9)))
    accuracy, best = accuracy_of_several(score_VK, label_VK), score_VK.argmax(dim=1)
    assert accuracy.top1 == pytest.approx(100 * label_VK[torch.arange(60), best].double().mean().item())

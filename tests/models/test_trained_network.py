"""Tensors of a network in a file's content."""

from __future__ import annotations

import pytest
import torch

from mutualnet3d.models.trained_network import trained_network


def test_tensors_statistics_and_steps_are_taken():
    weights = {"blocks.0.conv.weight": torch.ones(2)}
    content = {"model_state": weights, "step": 5, "statistics": {"w1.0-s8-t2": {}}, "interpolated": None, "epoch": 3}
    trained = trained_network(content)
    assert (trained.weights, trained.statistics, trained.step) == (weights, {"statistics": {"w1.0-s8-t2": {}}}, 5)
    assert trained_network({"model_state": weights, "step": "many"}).step == 0


@pytest.mark.parametrize("weights", [[1], {3: torch.ones(1)}])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(ValueError, match=r"model_state is .*; it must be tensors by their names"):
        trained_network({"model_state": weights})

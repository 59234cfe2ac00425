"""Tensors of a network in a file of this project: weights, statistics of its sub-networks, number of training steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class TrainedNetwork:
    """Tensors of a network in a file of this project.

    Args:
        weights: tensors by pytorchvideo's names.
        statistics: statistics of sub-networks, the result of `SubnetStatistics.state_dict`.
        step: training steps that the weights have seen.
    """

    weights: Mapping[str, torch.Tensor] = field(repr=False)
    statistics: Mapping[str, Any] = field(repr=False)
    step: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.weights, Mapping) or not all(isinstance(name, str) for name in self.weights):
            raise ValueError(f"model_state is {self.weights!r:.60}; it must be tensors by their names")


def trained_network(content: Mapping[str, Any]) -> TrainedNetwork:
    """Return the tensors of a network in a file's content.

    Args:
        content: content of a model file, or of a checkpoint of any release.

    Returns:
        The tensors.

    Raises:
        ValueError: the content has no weights.
    """
    step = content.get("step", 0)
    names = ("statistics", "interpolated", "interpolation_losses")
    statistics = {name: content[name] for name in names if content.get(name) is not None}
    return TrainedNetwork(content.get("model_state", {}), statistics, step if isinstance(step, int) else 0)

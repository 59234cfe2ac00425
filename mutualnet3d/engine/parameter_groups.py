"""Groups of an optimizer's parameters: weight decay by the kind of layer, learning rate by its stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

# Key of a group: factor of the schedule's learning rate; a group without it has 1.
LR_FACTOR = "lr_factor"


def parameter_groups(
    model: nn.Module, weight_decay: float, stage_factors: Iterable[tuple[nn.Module, float]] = ()
) -> list[dict[str, Any]]:
    """Return groups of the trained parameters, two for each factor of the learning rate.

    Weights of convolutions and linear layers have weight decay; norms and all biases have none.

    The layer's type decides: the usual rule of 2D code, by the number of dimensions, misses Conv3d's five.

    Args:
        model: network.
        weight_decay: weight decay of the first group of each pair.
        stage_factors: stages of the network with their factors of the learning rate; all other parameters have 1.
    """
    decayed = {
        module.weight
        for module in model.modules()
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear) and module.weight.requires_grad
    }
    factors = {parameter: factor for stage, factor in stage_factors for parameter in stage.parameters()}
    by_factor: dict[float, list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            by_factor.setdefault(factors.get(parameter, 1.0), []).append(parameter)
    groups: list[dict[str, Any]] = []
    for factor, trained in by_factor.items():
        factor_of_group = {} if factor == 1.0 else {LR_FACTOR: factor}
        pair = [parameter for parameter in trained if parameter in decayed], weight_decay
        rest = [parameter for parameter in trained if parameter not in decayed], 0.0
        groups += [{"params": params, "weight_decay": decay, **factor_of_group} for params, decay in (pair, rest)]
    return groups


def factors_of_stages(
    stages: Sequence[nn.Module], layer_decay: float, head_factor: float
) -> list[tuple[nn.Module, float]]:
    """Return the stages of a network with their factors of the learning rate.

    The factor is `head_factor` for the classifier, `layer_decay` for the stage before it, its square for the one before
    that, and so on.

    Args:
        stages: stages of the network from the stem on, the classifier last.
        layer_decay: factor in (0, 1] from a stage to the one before it.
        head_factor: factor of the classifier, above 0.
    """
    *backbone, head = stages
    depths = range(len(backbone), 0, -1)
    factors = [(stage, layer_decay**depth) for stage, depth in zip(backbone, depths, strict=True)]
    return [*factors, (head, head_factor)]


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group, by the schedule's and the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get(LR_FACTOR, 1.0)


def lr_of(optimizer: torch.optim.Optimizer) -> float:
    """Return the learning rate that `set_lr` was called with, which groups of the factor 1 have."""
    group = optimizer.param_groups[0]
    lr: float = group["lr"] / group.get(LR_FACTOR, 1.0)
    return lr

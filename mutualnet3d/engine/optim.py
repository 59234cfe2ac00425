"""Optimizer and learning-rate schedule."""

from __future__ import annotations

from collections.abc import Callable

import torch
from fvcore.common.param_scheduler import CosineParamScheduler
from torch import nn


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weights of convolutions and linear layers with weight decay; norms and all biases without.

    Sorted by the layer's type: a rule by the number of dimensions (as 2D code has it) forgets Conv3d's five.
    """
    decayed = {
        module.weight
        for module in model.modules()
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear) and module.weight.requires_grad
    }
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter in decayed], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter not in decayed], "weight_decay": 0.0},
    ]


def build_sgd(
    model: nn.Module, *, base_lr: float, momentum: float, dampening: float, nesterov: bool, weight_decay: float
) -> torch.optim.SGD:
    """SGD over `parameter_groups`."""
    return torch.optim.SGD(
        parameter_groups(model, weight_decay),
        lr=base_lr,
        momentum=momentum,
        dampening=dampening,
        nesterov=nesterov,
    )


def cosine_with_warmup(
    *,
    base_lr: float,
    end_lr: float,
    max_epoch: float,
    warmup_epochs: float,
    warmup_start_lr: float,
    cosine_after_warmup: bool,
) -> Callable[[float], float]:
    """Learning rate as a function of the (fractional) epoch, PySlowFast's rule.

    A half cosine from `base_lr` at epoch 0 (with `cosine_after_warmup`, at the end of the warm-up) to `end_lr` at
    `max_epoch`; before `warmup_epochs` a line from `warmup_start_lr` to where the cosine then is.
    """
    cosine = CosineParamScheduler(base_lr, end_lr)
    offset = warmup_epochs if cosine_after_warmup else 0.0

    def after_warmup(epoch: float) -> float:
        return cosine((epoch - offset) / (max_epoch - offset))

    def at_epoch(epoch: float) -> float:
        if epoch >= warmup_epochs:
            return after_warmup(epoch)
        return warmup_start_lr + (after_warmup(warmup_epochs) - warmup_start_lr) * epoch / warmup_epochs

    return at_epoch

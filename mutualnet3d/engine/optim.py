"""Optimizer and learning-rate schedule."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence

import torch
from fvcore.common.param_scheduler import CosineParamScheduler
from torch import nn


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Return two groups: weights of convolutions and linear layers with weight decay; norms and all biases without.

    Sorted by the layer's type: the usual rule of 2D code, by the number of dimensions, misses Conv3d's five.
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
    """Return SGD over `parameter_groups`, torch's fused one: on a CPU it took 0.3 times as long as the others for
    X3D-M, and on a GPU it leaves out a step whose losses are not finite although the host has not seen them.

    Momentum starts at zero, where torch's starts at the first gradient (the same without dampening): torch does not set
    the buffers in a first step that is left out.
    """
    optimizer = torch.optim.SGD(
        parameter_groups(model, weight_decay),
        lr=base_lr,
        momentum=momentum,
        dampening=dampening,
        nesterov=nesterov,
        fused=True,
    )
    if momentum:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def linear_scaling(batch_size: int, reference_batch_size: int) -> float:
    """Return the factor of a learning rate for batches of `batch_size` when it was chosen for batches of
    `reference_batch_size` (Goyal et al. 2017, section 2.1); 1 without a reference."""
    return batch_size / reference_batch_size if reference_batch_size else 1.0


def cosine(*, base_lr: float, end_lr: float, max_epoch: float, start_epoch: float = 0.0) -> Callable[[float], float]:
    """Return the learning rate by the fractional epoch: a half cosine from `base_lr` at `start_epoch` to `end_lr`
    at `max_epoch`."""
    schedule = CosineParamScheduler(base_lr, end_lr)
    return lambda epoch: schedule((epoch - start_epoch) / (max_epoch - start_epoch))


def relative_steps(*, base_lr: float, steps: Sequence[float], lrs: Sequence[float]) -> Callable[[float], float]:
    """Return the learning rate by the epoch: `base_lr` times the value of `lrs` at the place of the last of `steps`
    (epochs, ascending, from 0) that was reached. PySlowFast's `steps_with_relative_lrs`."""
    return lambda epoch: base_lr * lrs[bisect.bisect_right(steps, epoch) - 1]


def with_warmup(
    schedule: Callable[[float], float], *, warmup_epochs: float, warmup_start_lr: float
) -> Callable[[float], float]:
    """Return `schedule`, but before `warmup_epochs` a line from `warmup_start_lr` to the schedule's value there.
    PySlowFast's rule."""

    def at_epoch(epoch: float) -> float:
        if epoch >= warmup_epochs:
            return schedule(epoch)
        return warmup_start_lr + (schedule(warmup_epochs) - warmup_start_lr) * epoch / warmup_epochs

    return at_epoch

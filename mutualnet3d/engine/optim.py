"""Optimizer and learning-rate schedule."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence

import torch
from fvcore.common.param_scheduler import CosineParamScheduler
from torch import nn

from mutualnet3d.engine.parameter_groups import parameter_groups

# Stages of a network, each with its factor of the learning rate.
StageFactors = Iterable[tuple[nn.Module, float]]


def build_sgd(
    model: nn.Module,
    *,
    base_lr: float,
    momentum: float,
    dampening: float,
    nesterov: bool,
    weight_decay: float,
    stage_factors: StageFactors = (),
) -> torch.optim.SGD:
    """Return torch's fused SGD over `parameter_groups`.

    On a CPU it took 0.3 times as long as the others for X3D-M. On a GPU it can leave out a step whose losses are not
    finite before the host knows of them.

    Momentum starts at zero, where torch's starts at the first gradient (the same without dampening): torch would not
    set the buffers in a first step that is left out.
    """
    optimizer = torch.optim.SGD(
        parameter_groups(model, weight_decay, stage_factors),
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


def build_adam(
    model: nn.Module,
    *,
    base_lr: float,
    betas: Sequence[float],
    weight_decay: float,
    is_decoupled: bool,
    stage_factors: StageFactors = (),
) -> torch.optim.Optimizer:
    """Return torch's fused Adam over `parameter_groups` (Kingma and Ba, arXiv 1412.6980).

    Args:
        model: network.
        base_lr: learning rate.
        betas: decays of the means of the gradients and of their squares, in [0, 1).
        weight_decay: weight decay of convolutions and linear layers.
        is_decoupled: True for AdamW (Loshchilov and Hutter, arXiv 1711.05101), whose weight decay is no part of the
            gradient.
        stage_factors: factors of the learning rate of stages, see `parameter_groups`.
    """
    kind = torch.optim.AdamW if is_decoupled else torch.optim.Adam
    groups = parameter_groups(model, weight_decay, stage_factors)
    return kind(groups, lr=base_lr, betas=(betas[0], betas[1]), fused=True)


def linear_scaling(batch_size: int, reference_batch_size: int) -> float:
    """Return the factor of a learning rate for another batch size than the one that it was chosen for.

    It is `batch_size / reference_batch_size` (Goyal et al. 2017, section 2.1), or 1 without a reference.
    """
    return batch_size / reference_batch_size if reference_batch_size else 1.0


def cosine(*, base_lr: float, end_lr: float, max_epoch: float, start_epoch: float = 0.0) -> Callable[[float], float]:
    """Return the learning rate by the fractional epoch: half a cosine.

    It falls from `base_lr` at `start_epoch` to `end_lr` at `max_epoch`.
    """
    schedule = CosineParamScheduler(base_lr, end_lr)
    return lambda epoch: schedule((epoch - start_epoch) / (max_epoch - start_epoch))


def relative_steps(*, base_lr: float, steps: Sequence[float], lrs: Sequence[float]) -> Callable[[float], float]:
    """Return the learning rate by the epoch in steps, PySlowFast's `steps_with_relative_lrs`.

    It is `base_lr` times the value of `lrs` at the place of the last of `steps` (epochs, ascending, from 0) that was
    reached.
    """
    return lambda epoch: base_lr * lrs[bisect.bisect_right(steps, epoch) - 1]


def with_warmup(
    schedule: Callable[[float], float], *, warmup_epochs: float, warmup_start_lr: float
) -> Callable[[float], float]:
    """Return `schedule` with a linear warm-up, by PySlowFast's rule.

    Before `warmup_epochs` it is a line from `warmup_start_lr` to the schedule's value there.
    """

    def at_epoch(epoch: float) -> float:
        if epoch >= warmup_epochs:
            return schedule(epoch)
        return warmup_start_lr + (schedule(warmup_epochs) - warmup_start_lr) * epoch / warmup_epochs

    return at_epoch

"""Sorting of a training's channels by importance, with all that the training keeps for each channel."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mutualnet3d import distributed
from mutualnet3d.engine.averaged import AveragedWeights
from mutualnet3d.engine.step_metrics import StepMetrics
from mutualnet3d.log import logger
from mutualnet3d.models.channel_order import important_first
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.shapes import ClipBatch


def sort_training(
    model: SlimmableNet, optimizer: torch.optim.Optimizer, averaged: AveragedWeights | None = None
) -> None:
    """Put the important channels of a network in training first.

    Momenta and averaged weights move with their channels, so that the training of the full network goes on unchanged
    but for the order of additions. All processes of the job call this, and take the order of the first.
    """
    orders = distributed.broadcast(important_first(model) if distributed.is_main() else None)
    momenta = _momenta(model, optimizer)
    for order in orders:
        order.apply(model.state_dict())
        for tensors in momenta:
            order.apply(tensors)
        if averaged is not None:
            order.apply(averaged.model.state_dict())
    model.statistics.clear()
    logger.info("sorted the channels of %d groups of layers by importance", len(orders))


def _momenta(model: SlimmableNet, optimizer: torch.optim.Optimizer) -> list[dict[str, torch.Tensor]]:
    """Return the optimizer's tensors that have a value for each value of a weight, by the weights' names.

    They are SGD's momentum, or Adam's mean and mean square of the gradients.
    """
    momenta: dict[str, dict[str, torch.Tensor]] = {}
    for name, parameter in model.named_parameters():
        for kind, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                momenta.setdefault(kind, {})[name] = value
    return list(momenta.values())


class SortedAt:
    """Training step that sorts the channels once, before the step of a number.

    The sorting is a part of its step, not a hook before it: a checkpoint that is written while the step waits for its
    clips must not contain it.

    Args:
        run_step: training step.
        sorted_step: number of the step.
        sort: function that sorts.
    """

    def __init__(self, run_step: Callable[[int, ClipBatch], StepMetrics], sorted_step: int, sort: Callable[[], None]):
        self.run_step, self.sorted_step, self.sort = run_step, sorted_step, sort

    def __call__(self, step: int, batch: ClipBatch) -> StepMetrics:
        """Sort if it is time, and train on `batch`."""
        if step == self.sorted_step:
            self.sort()
        return self.run_step(step, batch)

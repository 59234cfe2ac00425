"""One optimizer step of mutual training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Protocol

import torch

from mutualnet3d.engine.averaged import AveragedWeights
from mutualnet3d.engine.optimizer_step import Update
from mutualnet3d.engine.step_metrics import Outcome, agree
from mutualnet3d.engine.train_network import TrainNetwork
from mutualnet3d.mutual import StepResult, mutual_step
from mutualnet3d.shapes import ClipBatch, SubnetConfig

# A batch and a config to the network's input, one float tensor per pathway, on the network's device.
Prepare = Callable[[ClipBatch, SubnetConfig], Sequence[torch.Tensor]]


class Mixture(Protocol):
    """How the clips of a batch and their labels are mixed with each other: the same for every network of a step."""

    def clips(self, clip_BCTHW: torch.Tensor) -> torch.Tensor: ...

    def targets(self, label_B: torch.Tensor) -> torch.Tensor: ...


class TrainStep:
    """One optimizer step of mutual training; of ordinary training where the space holds the full network alone.

    Args:
        network: what is trained.
        update: from gradients to weights.
        configs_at: the networks that a step trains, the full one first.
        prepare: as `Prepare`.
        mixture_at: how a step mixes its clips; None: not at all.
        num_parts: the batch is gone through in so many equal parts, one after the other, whose gradients add up to the
            whole batch's: for batches that memory does not hold. Batch norm sees a part at a time.
        averaged: takes in the weights after every step.
        is_teacher: the averaged weights are distilled, instead of the full network as it is.
        alone: the one sub-network that is trained, with the labels, in place of the full network.
    """

    def __init__(
        self,
        network: TrainNetwork,
        update: Update,
        configs_at: Callable[[int], tuple[SubnetConfig, ...]],
        prepare: Prepare,
        device: torch.device,
        mixture_at: Callable[[int], Mixture] | None = None,
        num_parts: int = 1,
        averaged: AveragedWeights | None = None,
        is_teacher: bool = False,
        alone: SubnetConfig | None = None,
    ):
        self.network, self.update, self.device = network, update, device
        self.configs_at, self.prepare, self.mixture_at, self.num_parts = configs_at, prepare, mixture_at, num_parts
        self.averaged, self.alone = averaged, alone
        self.teacher = averaged.logits if averaged is not None and is_teacher else None

    def __call__(self, step: int, batch: ClipBatch, votes: Mapping[str, bool]) -> Outcome:
        """Train on `batch`, this process's share of the step's clips; nothing is waited for on the device."""
        batch = batch.to(self.device)
        self.update.zero_grad()
        results = []
        for number, part in enumerate(batch.parts(self.num_parts), start=1):
            with nullcontext() if number == self.num_parts else self.network.no_sync():
                results.append(self._learn(step, part))
        outcome = agree(step, results, votes)
        self.update(outcome.is_finite)
        if self.averaged is not None:
            self.averaged.update()
        return outcome

    def _learn(self, step: int, part: ClipBatch) -> StepResult:
        full, *subnets = self.configs_at(step)
        mixing = self.mixture_at(step) if self.mixture_at else None

        def clips_for(config: SubnetConfig) -> Sequence[torch.Tensor]:
            clips = self.prepare(part, config)
            return [mixing.clips(clip) for clip in clips] if mixing else clips

        with self.network.active(self.alone) if self.alone else nullcontext():
            return mutual_step(
                self.network,
                clips_for,
                mixing.targets(part.label_B) if mixing else part.label_B,
                full=full,
                subnets=subnets,
                teacher=self.teacher,
                backward=lambda loss: self.update.backward(loss / self.num_parts if self.num_parts > 1 else loss),
                no_sync=self.network.no_sync,
            )

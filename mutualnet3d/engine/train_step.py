"""One optimizer step of mutual training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Protocol

import torch

from mutualnet3d.engine.averaged import AveragedWeights
from mutualnet3d.engine.optimizer_step import OptimizerStep
from mutualnet3d.engine.step_metrics import StepMetrics, reduce_metrics
from mutualnet3d.engine.train_network import TrainNetwork
from mutualnet3d.mutual import StepResult, mutual_step
from mutualnet3d.mutual.losses import ONE_LABEL, Losses
from mutualnet3d.shapes import ClipBatch, SubnetConfig

# A batch and a config to the network's input, one float tensor per pathway, on the network's device.
Prepare = Callable[[ClipBatch, SubnetConfig], Sequence[torch.Tensor]]


class Mixture(Protocol):
    """Mixture of the clips of a batch and of their labels, the same for every network of a step."""

    def clips(self, clip_BCTHW: torch.Tensor) -> torch.Tensor:
        """Return the mixed clips."""

    def targets(self, label_B: torch.Tensor) -> torch.Tensor:
        """Return the mixed labels, probabilities (B, K)."""


class TrainStep:
    """Optimizer step of mutual training, or of ordinary training in a space of the full network alone.

    Args:
        network: network in training.
        optimizer_step: step from its gradients to its weights.
        configs_at: function of the step's number that returns the networks of the step, the full one first.
        prepare: function from a batch and a config to the network's input, see `Prepare`.
        device: device of the network.
        mixture_at: function of the step's number that returns the mixture of its clips; None for no mixture.
        num_parts: number of equal parts of the batch, which run one after the other and whose gradients add up to the
            whole batch's: for batches that do not fit into memory. Batch norm sees one part at a time.
        averaged: average of the weights, updated after every step; None: none is kept.
        is_teacher: True to distil the averaged weights instead of the full network as it is.
        label_weight: weight of the labels in the sub-networks' loss, in [0, 1], see `mutual_step`.
        subnet_dropout: True for dropout in sub-networks too, see `mutual_step`.
        single_subnet: sub-network that is trained alone, with the labels, in place of the full network; None: mutual
            training.
        losses: losses with the labels and with the teacher, see `mutual_step`.
        label_sets_SK: sets of labels, float (S, K) of 0 and 1, whose numbers are the clips' labels; None: the labels
            are classes.
    """

    def __init__(
        self,
        network: TrainNetwork,
        optimizer_step: OptimizerStep,
        configs_at: Callable[[int], tuple[SubnetConfig, ...]],
        prepare: Prepare,
        device: torch.device,
        mixture_at: Callable[[int], Mixture] | None = None,
        num_parts: int = 1,
        averaged: AveragedWeights | None = None,
        is_teacher: bool = False,
        label_weight: float = 0.0,
        subnet_dropout: bool = True,
        single_subnet: SubnetConfig | None = None,
        losses: Losses = ONE_LABEL,
        label_sets_SK: torch.Tensor | None = None,
    ):
        self.network, self.optimizer_step, self.device = network, optimizer_step, device
        self.configs_at, self.prepare, self.mixture_at, self.num_parts = configs_at, prepare, mixture_at, num_parts
        self.averaged, self.single_subnet = averaged, single_subnet
        self.label_weight, self.subnet_dropout = label_weight, subnet_dropout
        self.losses = losses
        self.label_sets_SK = None if label_sets_SK is None else label_sets_SK.to(device)
        self.teacher = averaged.logits if averaged is not None and is_teacher else None

    def __call__(self, step: int, batch: ClipBatch) -> StepMetrics:
        """Train on `batch`, this process's shard of the step's clips, without a wait for the device."""
        batch = batch.to(self.device)
        self.optimizer_step.zero_grad()
        results = []
        for number, part in enumerate(batch.parts(self.num_parts), start=1):
            with nullcontext() if number == self.num_parts else self.network.no_sync():
                results.append(self._accumulate_gradients(step, part))
        metrics = reduce_metrics(step, results)
        self.optimizer_step(metrics.is_finite)
        if self.averaged is not None:
            self.averaged.update()
        return metrics

    def _accumulate_gradients(self, step: int, part: ClipBatch) -> StepResult:
        full, *subnets = self.configs_at(step)
        mixture = self.mixture_at(step) if self.mixture_at else None

        def clips_for(config: SubnetConfig) -> Sequence[torch.Tensor]:
            clips = self.prepare(part, config)
            return [mixture.clips(clip) for clip in clips] if mixture else clips

        with self.network.active(self.single_subnet) if self.single_subnet else nullcontext():
            return mutual_step(
                self.network,
                clips_for,
                self._targets(part.label_B, mixture),
                full=full,
                subnets=subnets,
                teacher=self.teacher,
                label_weight=self.label_weight,
                subnet_dropout=self.subnet_dropout,
                losses=self.losses,
                backward=self._backward,
                no_sync=self.network.no_sync,
            )

    def _targets(self, label_B: torch.Tensor, mixture: Mixture | None) -> torch.Tensor:
        if self.label_sets_SK is not None:
            return self.label_sets_SK[label_B]
        return mixture.targets(label_B) if mixture else label_B

    def _backward(self, loss: torch.Tensor) -> None:
        self.optimizer_step.backward(loss / self.num_parts if self.num_parts > 1 else loss)

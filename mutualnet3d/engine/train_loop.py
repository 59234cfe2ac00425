"""The training loop: one screen. What else a run does (schedule, log, checkpoints, validation) is a hook beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import torch

from mutualnet3d.mutual import mutual_step
from mutualnet3d.mutual.step import Switchable
from mutualnet3d.shapes import ClipBatch, SubnetConfig

# A batch and a config to the network's input, one float tensor per pathway, on the network's device.
Prepare = Callable[[ClipBatch, SubnetConfig], Sequence[torch.Tensor]]


class Hook:
    """Something that happens beside the loop; it reads `loop.step` and what the last step left there."""

    def before_train(self, loop: TrainLoop) -> None: ...

    def before_step(self, loop: TrainLoop) -> None: ...

    def after_step(self, loop: TrainLoop) -> None: ...

    def after_train(self, loop: TrainLoop) -> None: ...


class Mixing(Protocol):
    """How the clips of a batch and their labels are mixed with each other: the same for every network of a step."""

    def clips(self, clip_BCTHW: torch.Tensor) -> torch.Tensor: ...

    def targets(self, label_B: torch.Tensor) -> torch.Tensor: ...


class TrainStep:
    """One optimizer step of mutual training; of ordinary training where the space holds the full network alone.

    Args:
        configs_at: the networks that a step trains, the full one first.
        prepare: as `Prepare`.
        mixing_at: how a step mixes its clips; None: not at all.
    """

    def __init__(
        self,
        model: Switchable,
        optimizer: torch.optim.Optimizer,
        configs_at: Callable[[int], tuple[SubnetConfig, ...]],
        prepare: Prepare,
        device: torch.device,
        mixing_at: Callable[[int], Mixing] | None = None,
    ):
        self.model, self.optimizer, self.device = model, optimizer, device
        self.configs_at, self.prepare, self.mixing_at = configs_at, prepare, mixing_at

    def __call__(self, step: int, batch: ClipBatch) -> dict[str, torch.Tensor]:
        """Train on `batch`; the loss of each network by its key, not yet waited for."""
        batch = batch.to(self.device)
        full, *subnets = self.configs_at(step)
        mixing = self.mixing_at(step) if self.mixing_at else None

        def clips_for(config: SubnetConfig) -> Sequence[torch.Tensor]:
            clips = self.prepare(batch, config)
            return [mixing.clips(clip) for clip in clips] if mixing else clips

        targets = mixing.targets(batch.label_B) if mixing else batch.label_B
        self.optimizer.zero_grad(set_to_none=True)
        losses = mutual_step(self.model, clips_for, targets, full=full, subnets=subnets)
        self.optimizer.step()
        return losses


class TrainLoop:
    """Steps `start_step` to `num_steps` over `batches`.

    Attributes:
        step: the step that runs, or ran last, from 0.
        losses: its losses by the networks' keys.
        num_clips: clips of its batch; next_position: where in the stream of clips the next one begins.
        data_seconds: what it waited for its batch; compute_seconds: what it computed.
    """

    def __init__(
        self,
        run_step: Callable[[int, ClipBatch], dict[str, torch.Tensor]],
        batches: Iterable[ClipBatch],
        hooks: Sequence[Hook],
        start_step: int,
        num_steps: int,
    ):
        self.run_step, self.batches, self.hooks = run_step, batches, list(hooks)
        self.start_step, self.num_steps = start_step, num_steps
        self.step = start_step
        self.losses: dict[str, torch.Tensor] = {}
        self.num_clips = self.next_position = 0
        self.data_seconds = self.compute_seconds = 0.0

    def train(self) -> None:
        for hook in self.hooks:
            hook.before_train(self)
        batches = iter(self.batches)
        for step in range(self.start_step, self.num_steps):
            self.step = step
            for hook in self.hooks:
                hook.before_step(self)
            started = time.perf_counter()
            batch = next(batches)
            loaded = time.perf_counter()
            self.num_clips, self.next_position = len(batch), batch.next_position
            self.losses = self.run_step(step, batch)
            self.data_seconds, self.compute_seconds = loaded - started, time.perf_counter() - loaded
            for hook in self.hooks:
                hook.after_step(self)
        for hook in self.hooks:
            hook.after_train(self)

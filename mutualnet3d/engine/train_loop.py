"""The training loop: one screen. What else a run does (schedule, log, checkpoints, validation) is a hook beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

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


class TrainStep:
    """One optimizer step of mutual training; of ordinary training where the space holds the full network alone.

    Args:
        configs_at: the networks that a step trains, the full one first.
        prepare: as `Prepare`.
    """

    def __init__(
        self,
        model: Switchable,
        optimizer: torch.optim.Optimizer,
        configs_at: Callable[[int], tuple[SubnetConfig, ...]],
        prepare: Prepare,
        device: torch.device,
    ):
        self.model, self.optimizer, self.device = model, optimizer, device
        self.configs_at, self.prepare = configs_at, prepare

    def __call__(self, step: int, batch: ClipBatch) -> dict[str, torch.Tensor]:
        """Train on `batch`; the loss of each network by its key, not yet waited for."""
        batch = batch.to(self.device)
        full, *subnets = self.configs_at(step)
        self.optimizer.zero_grad(set_to_none=True)
        losses = mutual_step(
            self.model, lambda config: self.prepare(batch, config), batch.label_B, full=full, subnets=subnets
        )
        self.optimizer.step()
        return losses


class TrainLoop:
    """Steps `start_step` to `num_steps` over `batches`.

    Attributes:
        step: the step that runs, or ran last, from 0.
        losses: its losses by the networks' keys.
        num_clips: clips of its batch.
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
        self.num_clips = 0
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
            self.num_clips = len(batch)
            self.losses = self.run_step(step, batch)
            self.data_seconds, self.compute_seconds = loaded - started, time.perf_counter() - loaded
            for hook in self.hooks:
                hook.after_step(self)
        for hook in self.hooks:
            hook.after_train(self)

"""Hooks of a training: learning rate, validation, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from mutualnet3d import distributed
from mutualnet3d.engine.checkpoint_writer import BackgroundWriter
from mutualnet3d.engine.parameter_groups import set_lr
from mutualnet3d.engine.shared_flags import CHECKPOINT, STOP, SharedFlags
from mutualnet3d.engine.train_loop import Hook, TrainLoop


class LearningRate(Hook):
    """Hook that sets every parameter group's learning rate before every step.

    Args:
        optimizer: optimizer of the training.
        lr_at: function from the fractional epoch to the learning rate.
        steps_per_epoch: number of steps of an epoch.
    """

    name = "setting the learning rate"

    def __init__(self, optimizer: torch.optim.Optimizer, lr_at: Callable[[float], float], steps_per_epoch: int):
        self.optimizer, self.lr_at, self.steps_per_epoch = optimizer, lr_at, steps_per_epoch

    def before_step(self, loop: TrainLoop) -> None:
        """Set the learning rate of the step's place in its epoch."""
        set_lr(self.optimizer, self.lr_at(loop.step / self.steps_per_epoch))


class Validation(Hook):
    """Hook that validates the network after every `period_epochs` epochs.

    It stands before `Checkpointing`: the checkpoint at an epoch's end then contains the validation's result, and a run
    that is killed during a validation repeats it.

    Args:
        validate: function of the number of epochs done that returns a score; higher is better.
        steps_per_epoch: number of steps of an epoch.
        period_epochs: number of epochs from one validation to the next; 0: none.

    Attributes:
        best: highest score so far.
        best_step: number of steps that were done at the highest score.
    """

    name = "validation"

    def __init__(self, validate: Callable[[int], float], steps_per_epoch: int, period_epochs: int):
        self.validate, self.steps_per_epoch, self.period_epochs = validate, steps_per_epoch, period_epochs
        self.best, self.best_step = -math.inf, 0

    def after_step(self, loop: TrainLoop) -> None:
        """Validate at the end of an epoch, if it is time."""
        epoch, rest = divmod(loop.step + 1, self.steps_per_epoch)
        if self.period_epochs and rest == 0 and epoch % self.period_epochs == 0:
            score = self.validate(epoch)
            if score > self.best:
                self.best, self.best_step = score, loop.step + 1

    def state_dict(self) -> dict[str, Any]:
        """Return the best score and its step."""
        return {"best": self.best, "best_step": self.best_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the result of `state_dict`."""
        self.best, self.best_step = float(state["best"]), int(state["best_step"])


class Checkpointing(Hook):
    """Hook that writes a checkpoint at the end of every epoch, and at the other times that are set.

    These are every `period_steps` steps, when the newest checkpoint is `period_seconds` old, and when a process asks
    all to stop.

    The first one by time is due after one step, so that a disk that takes none is noticed at once. The process that has
    a `writer` writes the files in the background; only that process looks at its clock.

    Args:
        capture: function of the number of steps done and of this process's place in the stream of clips that returns
            everything a resumed run needs. All processes call it after the same step.
        writer: writer of the content, the number of steps, the number of epochs (None if it does not count as an
            epoch's), and True for the best one; None on the other processes.
        flags: flags of the job.
        steps_per_epoch: number of steps of an epoch.
        period_epochs: number of epochs between two checkpoints that count as an epoch's; the run's last one counts too.
        period_steps: number of steps between two checkpoints; 0 for none by steps.
        period_seconds: age of the newest checkpoint at which the next is due, seconds; 0 for none by time.
        is_best: function of the number of steps done that returns True for the best validated weights.
    """

    name = "writing checkpoints"

    def __init__(
        self,
        capture: Callable[[int, int], Mapping[str, Any]],
        writer: BackgroundWriter | None,
        flags: SharedFlags,
        steps_per_epoch: int,
        period_epochs: int,
        period_steps: int = 0,
        period_seconds: float = 0.0,
        is_best: Callable[[int], bool] = lambda step: False,
    ):
        self.capture, self.writer, self.flags, self.steps_per_epoch = capture, writer, flags, steps_per_epoch
        self.period_epochs, self.period_steps, self.period_seconds = period_epochs, period_steps, period_seconds
        self.is_best = is_best
        self.saved_at, self.saved_step = -math.inf, 0
        flags.add(CHECKPOINT, self._is_due)

    def after_step(self, loop: TrainLoop) -> None:
        """Write a checkpoint if one is due."""
        done = loop.step + 1
        epoch, rest = divmod(done, self.steps_per_epoch)
        by_steps = self.period_steps > 0 and done % self.period_steps == 0
        by_flag = self.flags.is_raised(CHECKPOINT) or self.flags.is_raised(STOP)
        if rest == 0 or by_steps or by_flag:
            is_of_epoch = rest == 0 and (epoch % self.period_epochs == 0 or done == loop.num_steps)
            self._save(loop, done, epoch if is_of_epoch else None)

    def after_train(self, loop: TrainLoop) -> None:
        """Wait until the newest file is on disk."""
        self.finish()

    def save_between_steps(self, loop: TrainLoop) -> None:
        """Write a checkpoint of the steps that are done, for a run that leaves because no batch comes.

        Only a process alone writes one: in a job the other processes are in the midst of a step, and take no part.
        """
        if not loop.is_between_steps or loop.step == loop.start_step or distributed.world_size() > 1:
            return
        if self.saved_step != loop.step:
            self._save(loop, loop.step, None)
        self.finish()

    def finish(self) -> None:
        """Wait until the newest file is on disk, on all processes.

        A launcher ends all processes when the first one has left.
        """
        if self.writer is not None:
            self.writer.wait()
        distributed.barrier()

    def _is_due(self) -> bool:
        """Return True if a checkpoint is due by this process's clock and none is being written."""
        if self.writer is None or self.period_seconds <= 0 or self.writer.is_busy:
            return False
        return time.monotonic() - self.saved_at >= self.period_seconds

    def _save(self, loop: TrainLoop, done: int, epoch: int | None) -> None:
        if loop.metrics is not None:
            loop.metrics.check_finite()  # on a GPU the loop has not looked at this step's losses yet
        content = self.capture(done, loop.next_position)
        self.saved_at, self.saved_step = time.monotonic(), done
        if self.writer is not None:
            self.writer.save(content, done, epoch, self.is_best(done))

"""What happens beside the training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from mutualnet3d import distributed
from mutualnet3d.engine.checkpoint_writer import BackgroundWriter
from mutualnet3d.engine.preemption import Interrupted, Signals
from mutualnet3d.engine.step_metrics import CHECKPOINT, STOP
from mutualnet3d.engine.train_loop import Hook, TrainLoop
from mutualnet3d.log import logger


class LearningRate(Hook):
    """Sets every parameter group's learning rate before every step.

    Args:
        lr_at: learning rate as a function of the fractional epoch.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, lr_at: Callable[[float], float], steps_per_epoch: int):
        self.optimizer, self.lr_at, self.steps_per_epoch = optimizer, lr_at, steps_per_epoch

    def before_step(self, loop: TrainLoop) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr_at(loop.step / self.steps_per_epoch)


class PreemptionHook(Hook):
    """Asks all processes to stop when a signal has come to this one; `Checkpointing` then writes and leaves."""

    def __init__(self, signals: Signals):
        self.signals = signals

    def before_train(self, loop: TrainLoop) -> None:
        self.signals.patient = True

    def before_step(self, loop: TrainLoop) -> None:
        if self.signals.name:
            loop.votes[STOP] = True

    def after_train(self, loop: TrainLoop) -> None:
        self.signals.patient = False


class Validation(Hook):
    """Calls `validate` with the number of epochs done, after every `period_epochs` epochs (0: never).

    To stand before `Checkpointing`: the checkpoint of an epoch's end then has its validation behind it, and a run that
    is killed in one repeats it.

    Args:
        validate: gives a score; higher is better.

    Attributes:
        best: the highest score so far; best_step: the number of steps it was measured after.
    """

    def __init__(self, validate: Callable[[int], float], steps_per_epoch: int, period_epochs: int):
        self.validate, self.steps_per_epoch, self.period_epochs = validate, steps_per_epoch, period_epochs
        self.best, self.best_step = -math.inf, 0

    def after_step(self, loop: TrainLoop) -> None:
        epoch, rest = divmod(loop.step + 1, self.steps_per_epoch)
        if self.period_epochs and rest == 0 and epoch % self.period_epochs == 0:
            score = self.validate(epoch)
            if score > self.best:
                self.best, self.best_step = score, loop.step + 1

    def state_dict(self) -> dict[str, Any]:
        """The best score and its step."""
        return {"best": self.best, "best_step": self.best_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.best, self.best_step = float(state["best"]), int(state["best_step"])


class Checkpointing(Hook):
    """Writes a checkpoint at the end of every epoch, every `period_steps` steps, and when the last is `period_seconds`
    old (0: never); the first of those by time after one step, so that a disk which takes none is found at once. When a
    process asks all to stop, a last one.

    The files are written in the background by the process that has a `writer`; only it looks at its clock.

    Args:
        capture: everything that a resumed run needs, after so many steps, at a place in the stream of clips. All
            processes call it at the same step.
        writer: given the content, the step, the number of epochs done if it is to count as an epoch's, else None, and
            whether it is the best.
        period_epochs: epochs between two that count as an epoch's; the run's last one does too.
        is_best: whether the weights after so many steps are the best that were validated.
        signals: what made a process ask, for the log.

    Raises:
        Interrupted: behind the step in which a process asked to stop, when the checkpoint is on disk.
    """

    def __init__(
        self,
        capture: Callable[[int, int], Mapping[str, Any]],
        writer: BackgroundWriter | None,
        steps_per_epoch: int,
        period_epochs: int,
        period_steps: int = 0,
        period_seconds: float = 0.0,
        is_best: Callable[[int], bool] = lambda step: False,
        signals: Signals | None = None,
    ):
        self.capture, self.writer, self.steps_per_epoch = capture, writer, steps_per_epoch
        self.period_epochs, self.period_steps, self.period_seconds = period_epochs, period_steps, period_seconds
        self.is_best, self.signals = is_best, signals
        self.last = -math.inf

    def before_step(self, loop: TrainLoop) -> None:
        if self.writer is None or self.period_seconds <= 0 or self.writer.is_busy:
            return
        if time.monotonic() - self.last >= self.period_seconds:
            loop.votes[CHECKPOINT] = True
            self.last = time.monotonic()

    def after_step(self, loop: TrainLoop) -> None:
        done = loop.step + 1
        epoch, rest = divmod(done, self.steps_per_epoch)
        stops = loop.agreed(STOP)
        by_steps = self.period_steps > 0 and done % self.period_steps == 0
        if rest == 0 or by_steps or stops or loop.agreed(CHECKPOINT):
            of_epoch = rest == 0 and (epoch % self.period_epochs == 0 or done == loop.num_steps)
            self._save(loop, done, epoch if of_epoch else None)
        if stops:
            self._leave(done)

    def after_train(self, loop: TrainLoop) -> None:
        self._wait()

    def _save(self, loop: TrainLoop, done: int, epoch: int | None) -> None:
        if loop.outcome is not None:
            loop.outcome.check_finite()  # what is not settled yet must not get into a file
        content = self.capture(done, loop.next_position)
        self.last = time.monotonic()
        if self.writer is not None:
            self.writer.save(content, done, epoch, self.is_best(done))

    def _leave(self, done: int) -> None:
        self._wait()
        name = (self.signals.name if self.signals else "") or "a signal to another process"
        logger.info("%s: %d steps are done and saved; the same command goes on from there", name, done)
        raise Interrupted(f"{name} after step {done}")

    def _wait(self) -> None:
        """Until the file is on disk, on all processes: a launcher ends them all when the first of them has left."""
        if self.writer is not None:
            self.writer.wait()
        distributed.barrier()

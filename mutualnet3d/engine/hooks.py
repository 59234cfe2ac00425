"""What happens beside the training loop."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

import torch
from tqdm import tqdm

from mutualnet3d.engine.train_loop import Hook, TrainLoop
from mutualnet3d.log import JsonLines, duration, logger


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


class TrainLog(Hook):
    """Every `period` steps a JSON line and, without a terminal, a line of text; on a terminal a progress bar.

    The record: step (steps done), epoch, lr, the last step's losses by sub-network; since the last record, without what
    hooks took: clips_per_second and the mean seconds per step of waiting for data and of computing; eta_seconds.

    Raises:
        FloatingPointError: a loss is not finite; it names the step and the sub-network.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, steps_per_epoch: int, period: int, records: JsonLines):
        self.optimizer, self.steps_per_epoch = optimizer, steps_per_epoch
        self.period, self.records = period, records
        self.bar: tqdm | None = None

    def before_train(self, loop: TrainLoop) -> None:
        self._start_window()
        if sys.stderr.isatty():
            self.bar = tqdm(total=loop.num_steps, initial=loop.start_step, desc="training", unit="step")

    def after_step(self, loop: TrainLoop) -> None:
        self.steps += 1
        self.clips += loop.num_clips
        self.data_seconds += loop.data_seconds
        self.compute_seconds += loop.compute_seconds
        if self.bar is not None:
            self.bar.update()
        done = loop.step + 1
        if done % self.period == 0 or done == loop.num_steps:
            self._report(loop, done)

    def after_train(self, loop: TrainLoop) -> None:
        if self.bar is not None:
            self.bar.close()

    def _report(self, loop: TrainLoop, done: int) -> None:
        losses = {key: float(loss) for key, loss in loop.losses.items()}
        seconds = self.data_seconds + self.compute_seconds
        record = {
            "kind": "train",
            "step": done,
            "epoch": round(done / self.steps_per_epoch, 4),
            "lr": self.optimizer.param_groups[0]["lr"],
            "losses": losses,
            "clips_per_second": self.clips / seconds,
            "data_seconds": self.data_seconds / self.steps,
            "compute_seconds": self.compute_seconds / self.steps,
            "eta_seconds": seconds / self.steps * (loop.num_steps - done),
        }
        self.records.write(record)
        shown = ", ".join(f"{_short(key)} {loss:.3f}" for key, loss in losses.items())
        if self.bar is not None:
            self.bar.set_postfix_str(shown)
        else:
            logger.info(
                "step %d/%d, epoch %.2f: loss %s | lr %.4f, %.1f clips/s (data %.0f ms, compute %.0f ms), %s left",
                done,
                loop.num_steps,
                record["epoch"],
                shown,
                record["lr"],
                record["clips_per_second"],
                1e3 * record["data_seconds"],
                1e3 * record["compute_seconds"],
                duration(record["eta_seconds"]),
            )
        bad = [key for key, loss in losses.items() if not math.isfinite(loss)]
        if bad:
            raise FloatingPointError(
                f"step {done}: the loss of {', '.join(bad)} is {losses[bad[0]]}; "
                "try a lower SOLVER.BASE_LR or a longer SOLVER.WARMUP_EPOCHS"
            )
        self._start_window()

    def _start_window(self) -> None:
        self.steps = self.clips = 0
        self.data_seconds = self.compute_seconds = 0.0


def _short(key: str) -> str:
    """A key with its width to two digits, for people; the JSON lines have it whole."""
    width, rest = key.split("-", 1)
    return f"w{float(width[1:]):.2f}-{rest}"


class Checkpointing(Hook):
    """Writes a checkpoint at the end of every epoch, and within one when the last is `period_seconds` old (0: never);
    the first of those after one step, so that a disk which takes none is found at once.

    Those of every `period_epochs` epochs and of the run's end are kept; the others make way for the next one.

    Args:
        save: writes the checkpoint after so many steps, at a place in the stream of clips; given the number of epochs
            done if it is to be kept, else None.
    """

    def __init__(
        self,
        save: Callable[[int, int, int | None], str],
        steps_per_epoch: int,
        period_epochs: int,
        period_seconds: float,
    ):
        self.save, self.steps_per_epoch = save, steps_per_epoch
        self.period_epochs, self.period_seconds = period_epochs, period_seconds

    def before_train(self, loop: TrainLoop) -> None:
        self.last = -math.inf

    def after_step(self, loop: TrainLoop) -> None:
        done = loop.step + 1
        epoch, rest = divmod(done, self.steps_per_epoch)
        kept = rest == 0 and (epoch % self.period_epochs == 0 or done == loop.num_steps)
        due = self.period_seconds > 0 and time.monotonic() - self.last >= self.period_seconds
        if rest == 0 or due:
            path = self.save(done, loop.next_position, epoch if kept else None)
            if kept:
                logger.info("wrote %s", path)
            self.last = time.monotonic()


class Validation(Hook):
    """Calls `validate` with the number of epochs done, after every `period_epochs` epochs (0: never)."""

    def __init__(self, validate: Callable[[int], None], steps_per_epoch: int, period_epochs: int):
        self.validate, self.steps_per_epoch, self.period_epochs = validate, steps_per_epoch, period_epochs

    def after_step(self, loop: TrainLoop) -> None:
        epoch, rest = divmod(loop.step + 1, self.steps_per_epoch)
        if self.period_epochs and rest == 0 and epoch % self.period_epochs == 0:
            self.validate(epoch)

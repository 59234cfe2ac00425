"""Log of a training: records for programs, lines for people, and at the end an account of the time."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from typing import Any

import torch
from tqdm import tqdm

from mutualnet3d.engine.parameter_groups import lr_of
from mutualnet3d.engine.period_means import PeriodMeans
from mutualnet3d.engine.train_loop import Hook, TrainLoop
from mutualnet3d.log import Records, duration, logger


class TrainLog(Hook):
    """Hook that writes a record after the first step and every `period` steps, and shows the progress.

    Without a terminal it writes a line of text with the record; on a terminal it shows a progress bar.

    The record has step (steps done), epoch, lr and the means over the steps since the last record (mean_of, their
    number): losses and top1 (percent) by sub-network, and by the networks' place in a step (full, narrowest, random)
    cross_entropy, kl and accuracy (percent). In the place of kl it has kl_and_label if sub-networks learn the labels
    too, and binary_cross_entropy if a clip has several labels.

    Without the time of the hooks it has clips_per_second of the whole job, data_seconds and compute_seconds (mean
    seconds per step of the wait for data and of computing) and eta_seconds. It has memory_gib, the largest amount of
    the GPU's memory that this process had, on a CPU of the machine's, and gpu_percent where there is a GPU and
    nvidia-ml-py is installed.

    Args:
        optimizer: optimizer whose learning rate is written, which is the schedule's, without the factors of groups.
        steps_per_epoch: number of steps of an epoch.
        period: number of steps from one record to the next.
        records: target of the records.
        num_processes: number of processes of the job, which have equal shards of a step's clips.
        device: device of the network; None: the CPU.
        learns_labels: True for sub-networks that learn the labels too.
        has_several_labels: True for clips of several labels, and losses that are binary cross-entropies.
        joining: number of the step at which sub-networks join, and the factor of a step's time from then on, for the
            time that is left.
    """

    name = "writing the log"

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        steps_per_epoch: int,
        period: int,
        records: Records,
        num_processes: int = 1,
        device: torch.device | None = None,
        learns_labels: bool = False,
        has_several_labels: bool = False,
        joining: tuple[int, float] = (0, 1.0),
    ):
        self.optimizer, self.steps_per_epoch = optimizer, steps_per_epoch
        self.period, self.records, self.num_processes = period, records, num_processes
        self.device = device or torch.device("cpu")
        self.learns_labels, self.has_several_labels = learns_labels, has_several_labels
        self.first_mutual_step, self.mutual_cost = joining
        self.bar: tqdm | None = None
        self.has_gpu_utilization = self.device.type == "cuda"

    def before_train(self, loop: TrainLoop) -> None:
        """Start the clocks and, on a terminal, the progress bar."""
        self.total_data = self.total_compute = 0.0
        self._start_window()
        if sys.stderr.isatty():
            self.bar = tqdm(total=loop.num_steps, initial=loop.start_step, desc="training", unit="step")

    def after_step(self, loop: TrainLoop) -> None:
        """Add the step to the means; write a record if it is time."""
        assert loop.metrics is not None, "a step has run"
        self.means.add(loop.metrics)
        self.clips += loop.num_clips * self.num_processes
        self.data_seconds += loop.data_seconds
        self.compute_seconds += loop.compute_seconds
        if self.bar is not None:
            self.bar.update()
        done = loop.step + 1
        if done % self.period == 0 or done in (loop.start_step + 1, loop.num_steps):
            self._report(loop, done)

    def after_train(self, loop: TrainLoop) -> None:
        """End the progress bar, and log the account of the time."""
        if self.bar is not None:
            self.bar.close()
        logger.info("%s", account_of_time(self.total_data, self.total_compute, loop.hook_seconds))

    def _report(self, loop: TrainLoop, done: int) -> None:
        seconds, num_steps = self.data_seconds + self.compute_seconds, self.means.num_steps
        record: dict[str, Any] = {
            "kind": "train",
            "step": done,
            "epoch": round(done / self.steps_per_epoch, 4),
            "lr": lr_of(self.optimizer),
            "mean_of": num_steps,
            "losses": self.means.losses,
            "top1": self.means.top1,
            **self.means.by_place,
            "clips_per_second": self.clips / seconds,
            "data_seconds": self.data_seconds / num_steps,
            "compute_seconds": self.compute_seconds / num_steps,
            "eta_seconds": seconds / num_steps * self._steps_left(done, loop.num_steps),
            **self._memory_and_gpu(),
        }
        self.records.write(record)
        if self.bar is not None:
            self.bar.set_postfix_str(self.means.text())
        else:
            logger.info(
                "step %*d/%d, epoch %.2f: %s | lr %s, %6.1f clips/s (data %4.0f ms, compute %4.0f ms), %s left",
                len(str(loop.num_steps)),
                done,
                loop.num_steps,
                record["epoch"],
                self.means.text(),
                _rate_text(record["lr"]),
                record["clips_per_second"],
                1e3 * record["data_seconds"],
                1e3 * record["compute_seconds"],
                duration(record["eta_seconds"]),
            )
        self.total_data += self.data_seconds
        self.total_compute += self.compute_seconds
        self._start_window()

    def _steps_left(self, done: int, num_steps: int) -> float:
        """Return the number of steps left, in units of the time of the step before."""
        alone = max(self.first_mutual_step - done, 0)
        mutual = num_steps - done - alone
        return alone + mutual * (self.mutual_cost if done <= self.first_mutual_step else 1.0)

    def _start_window(self) -> None:
        self.means = PeriodMeans(self.learns_labels, self.has_several_labels)
        self.clips = 0
        self.data_seconds = self.compute_seconds = 0.0

    def _memory_and_gpu(self) -> dict[str, float]:
        if self.device.type != "cuda":
            return {"memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
        numbers = {"memory_gib": torch.cuda.max_memory_allocated(self.device) / 2**30}
        if self.has_gpu_utilization:
            try:
                numbers["gpu_percent"] = float(torch.cuda.utilization(self.device))
            except (ModuleNotFoundError, RuntimeError) as error:
                self.has_gpu_utilization = False
                logger.info("the log is without the GPU's utilisation: %s", error)
        return numbers


def _rate_text(lr: float) -> str:
    """Return a learning rate with four decimals; a small one, such as AdamW's, with two significant digits."""
    return f"{lr:.4f}" if lr >= 0.001 or not lr else f"{lr:.1e}"


def account_of_time(data_seconds: float, compute_seconds: float, hook_seconds: Mapping[str, float]) -> str:
    """Return a line with the parts of a training's time, the largest first, without those under 0.5 %."""
    parts = {"waiting for clips": data_seconds, "computing": compute_seconds, **hook_seconds}
    total = sum(parts.values())
    if total <= 0:
        return "no step was left to do"
    fractions = sorted(((seconds / total, name) for name, seconds in parts.items()), reverse=True)
    text = ", ".join(f"{name} {100 * fraction:.0f} %" for fraction, name in fractions if fraction >= 0.005)
    return f"the training took {duration(total)}: {text}"

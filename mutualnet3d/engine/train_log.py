"""What a training says while it runs: records for programs, lines for people, and at its end where the time went."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping

import torch
from tqdm import tqdm

from mutualnet3d.engine.train_loop import Hook, TrainLoop
from mutualnet3d.log import Records, duration, logger


class TrainLog(Hook):
    """Every `period` steps a record and, without a terminal, a line of text; on a terminal a progress bar.

    The record: step (steps done), epoch, lr; of the last step by sub-network: losses, top1 (percent); since the last
    record, without what hooks took: clips_per_second of the whole job and the mean seconds per step of waiting for data
    and of computing; eta_seconds; memory_gib, the most that this process had: of the GPU's memory, on a CPU of the
    machine's; gpu_percent, where there is a GPU and nvidia-ml-py can be asked.

    Args:
        records: where the records go.
        num_processes: each of which has a share of a step's clips, of one size.
        device: where the network is.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        steps_per_epoch: int,
        period: int,
        records: Records,
        num_processes: int = 1,
        device: torch.device | None = None,
    ):
        self.optimizer, self.steps_per_epoch = optimizer, steps_per_epoch
        self.period, self.records, self.num_processes = period, records, num_processes
        self.device = device or torch.device("cpu")
        self.bar: tqdm | None = None
        self.can_ask_gpu = self.device.type == "cuda"

    def before_train(self, loop: TrainLoop) -> None:
        self.total_data = self.total_compute = 0.0
        self._start_window()
        if sys.stderr.isatty():
            self.bar = tqdm(total=loop.num_steps, initial=loop.start_step, desc="training", unit="step")

    def after_step(self, loop: TrainLoop) -> None:
        self.steps += 1
        self.clips += loop.num_clips * self.num_processes
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
        logger.info("%s", where_the_time_went(self.total_data, self.total_compute, loop.hook_seconds))

    def _report(self, loop: TrainLoop, done: int) -> None:
        assert loop.outcome is not None
        losses = loop.outcome.losses
        seconds = self.data_seconds + self.compute_seconds
        record = {
            "kind": "train",
            "step": done,
            "epoch": round(done / self.steps_per_epoch, 4),
            "lr": self.optimizer.param_groups[0]["lr"],
            "losses": losses,
            "top1": {key: 100.0 * fraction for key, fraction in loop.outcome.top1.items()},
            "clips_per_second": self.clips / seconds,
            "data_seconds": self.data_seconds / self.steps,
            "compute_seconds": self.compute_seconds / self.steps,
            "eta_seconds": seconds / self.steps * (loop.num_steps - done),
            **self._machine(),
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
        self.total_data += self.data_seconds
        self.total_compute += self.compute_seconds
        self._start_window()

    def _start_window(self) -> None:
        self.steps = self.clips = 0
        self.data_seconds = self.compute_seconds = 0.0

    def _machine(self) -> dict[str, float]:
        """What is known of memory and GPU."""
        if self.device.type != "cuda":
            return {"memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
        known = {"memory_gib": torch.cuda.max_memory_allocated(self.device) / 2**30}
        if self.can_ask_gpu:
            try:
                known["gpu_percent"] = float(torch.cuda.utilization(self.device))
            except (ModuleNotFoundError, RuntimeError) as error:
                self.can_ask_gpu = False
                logger.info("the log is without the GPU's utilisation: %s", error)
        return known


def where_the_time_went(data_seconds: float, compute_seconds: float, hook_seconds: Mapping[str, float]) -> str:
    """One line: the parts of a training's time, the largest first; what is under half a percent is left out."""
    parts = {"waiting for clips": data_seconds, "computing": compute_seconds, **hook_seconds}
    total = sum(parts.values())
    if total <= 0:
        return "no step was left to do"
    shares = sorted(((seconds / total, name) for name, seconds in parts.items()), reverse=True)
    told = ", ".join(f"{name} {100 * share:.0f} %" for share, name in shares if share >= 0.005)
    return f"the training took {duration(total)}: {told}"


def _short(key: str) -> str:
    """A key with its width to two digits, for people; the records have it whole."""
    width, rest = key.split("-", 1)
    return f"w{float(width[1:]):.2f}-{rest}"

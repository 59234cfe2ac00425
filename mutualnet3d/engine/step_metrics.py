"""Losses and accuracies of a training step over the whole batch, by one small sum over the processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch

from mutualnet3d import distributed
from mutualnet3d.mutual import StepResult


class StepMetrics:
    """Losses and accuracies of a step over the whole batch, the same on all processes.

    They are made without a wait for the device; the first read of a number waits for the step.

    Args:
        step: number of the step, from 0.
        keys: keys of the networks, in the order of the sums.
        sum_N: losses, then fractions of right clips, of each network, summed over the processes.
        num_processes: number of processes in the sums.

    Attributes:
        is_finite: flag of finite losses, bool tensor on the device, for the optimizer's step.
        is_immediate: True for numbers that are there without a wait, as on a CPU.
    """

    def __init__(self, step: int, keys: Sequence[str], sum_N: torch.Tensor, num_processes: int):
        self.step, self.keys, self.num_processes = step, tuple(keys), num_processes
        self.is_finite = sum_N[: len(self.keys)].isfinite().all()
        self.is_immediate = sum_N.device.type == "cpu"
        if self.is_immediate:
            self._host_N = sum_N
        else:
            self._host_N = torch.empty(sum_N.shape, dtype=sum_N.dtype, pin_memory=True)
            self._host_N.copy_(sum_N, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()

    @cached_property
    def _numbers(self) -> list[float]:
        if not self.is_immediate:
            self._copied.synchronize()
        return self._host_N.tolist()

    @property
    def losses(self) -> dict[str, float]:
        """Mean loss of each network by its key."""
        return self._means(0)

    @property
    def top1(self) -> dict[str, float]:
        """Fraction of the clips that each network classified correctly, by its key."""
        return self._means(len(self.keys))

    def _means(self, start: int) -> dict[str, float]:
        numbers = self._numbers[start : start + len(self.keys)]
        return {key: number / self.num_processes for key, number in zip(self.keys, numbers, strict=True)}

    def check_finite(self) -> None:
        """Stop the run at a loss that is not finite; every process sees the same losses, so all stop or none.

        Raises:
            FloatingPointError: a loss is not finite; the message names the step and the sub-networks.
        """
        bad = [key for key, loss in self.losses.items() if not math.isfinite(loss)]
        if bad:
            raise FloatingPointError(
                f"step {self.step + 1}: the loss of {', '.join(bad)} is {self.losses[bad[0]]}; the weights are as they "
                "were before it. Try a lower SOLVER.BASE_LR, a longer SOLVER.WARMUP_EPOCHS or SOLVER.CLIP_GRAD_L2NORM"
            )


def reduce_metrics(step: int, results: Sequence[StepResult]) -> StepMetrics:
    """Return the metrics of a step over all processes. Every process calls it, with results of the same networks.

    Args:
        step: number of the step, from 0.
        results: this process's results of the parts of its batch, which have one size.
    """
    keys = list(results[0].losses)
    parts = [torch.stack([*result.losses.values(), *result.top1.values()]).double() for result in results]
    mean_N = torch.stack(parts).mean(dim=0) if len(parts) > 1 else parts[0]
    return StepMetrics(step, keys, distributed.sum_over_ranks(mean_N), distributed.world_size())

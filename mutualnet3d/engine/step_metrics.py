"""What a step gave, and what the processes agreed on in it: one small sum over all of them a step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch

from mutualnet3d import distributed
from mutualnet3d.mutual import StepResult

# What any process may ask for, and all do behind the same step when one has.
STOP, CHECKPOINT = "stop", "checkpoint"
VOTES = (STOP, CHECKPOINT)


class Outcome:
    """Losses and accuracies of a step over the whole batch, and the votes, the same on all processes.

    Made without waiting for the device; its numbers come with the first look at them, which waits for the step.

    Args:
        step: which.
        keys: the networks, in the order of the sums.
        sum_N: over the processes: losses, fractions of right clips, votes.
        num_processes: how many were summed.
    """

    def __init__(self, step: int, keys: Sequence[str], sum_N: torch.Tensor, num_processes: int):
        self.step, self.keys, self.num_processes = step, tuple(keys), num_processes
        self.is_finite = sum_N[: len(self.keys)].isfinite().all()  # on the device, for the optimizer's guard
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
        """The mean loss of each network by its key."""
        return self._means(0)

    @property
    def top1(self) -> dict[str, float]:
        """The fraction of clips that each network had right."""
        return self._means(len(self.keys))

    def _means(self, start: int) -> dict[str, float]:
        numbers = self._numbers[start : start + len(self.keys)]
        return {key: number / self.num_processes for key, number in zip(self.keys, numbers, strict=True)}

    def asked_for(self, vote: str) -> bool:
        """Whether a process has voted so."""
        return self._numbers[2 * len(self.keys) + VOTES.index(vote)] > 0

    def check_finite(self) -> None:
        """Every process sees the same losses, so that all stop, or none.

        Raises:
            FloatingPointError: a loss is not finite; it names the step and the sub-networks.
        """
        bad = [key for key, loss in self.losses.items() if not math.isfinite(loss)]
        if bad:
            raise FloatingPointError(
                f"step {self.step + 1}: the loss of {', '.join(bad)} is {self.losses[bad[0]]}; the weights are as they "
                "were before it. Try a lower SOLVER.BASE_LR, a longer SOLVER.WARMUP_EPOCHS or SOLVER.CLIP_GRAD_L2NORM"
            )


def agree(step: int, results: Sequence[StepResult], votes: Mapping[str, bool]) -> Outcome:
    """The outcome of a step from what this process has: a result for each part of its share of the batch (all of one
    size), and its votes. Every process has to call it, with results of the same networks."""
    keys = list(results[0].losses)
    device = results[0].losses[keys[0]].device
    of_parts = [torch.stack([*each.losses.values(), *each.top1.values()]).double() for each in results]
    means = torch.stack(of_parts).mean(dim=0) if len(of_parts) > 1 else of_parts[0]
    if any(votes.values()):  # seldom; made on the host, so that no step copies for nothing
        asked = torch.tensor([float(votes.get(vote, False)) for vote in VOTES], dtype=torch.float64).to(device)
    else:
        asked = torch.zeros(len(VOTES), dtype=torch.float64, device=device)
    total = distributed.sum_over_ranks(torch.cat([means, asked]))
    return Outcome(step, keys, total, distributed.world_size())

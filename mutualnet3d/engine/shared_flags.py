"""Flags that any process of a job may raise and that all processes see after the same step."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist

from mutualnet3d import distributed
from mutualnet3d.engine.train_loop import Hook, TrainLoop

STOP = "stop"
CHECKPOINT = "checkpoint is due"


class SharedFlags(Hook):
    """Hook that exchanges flags beside the training step; it stands before the hooks that read them.

    Before every step each process evaluates its own conditions, and a sum over all processes starts on the CPU. After
    the step the sum has ended: every process started it before its step, so it costs no wait beyond the step's own
    exchange. All processes start it at the same place among their exchanges. A process alone exchanges nothing.
    """

    name = "waiting for other processes"

    def __init__(self) -> None:
        self._conditions: dict[str, Callable[[], bool]] = {}
        self._count_N = torch.zeros(0)
        self._work: dist.Work | None = None
        self._raised: frozenset[str] = frozenset()

    def add(self, flag: str, condition: Callable[[], bool]) -> None:
        """Let this process raise `flag` when `condition` is true before a step.

        Args:
            flag: name of the flag; all processes add the same flags in the same order.
            condition: function of this process's state, called once before each step.
        """
        assert flag not in self._conditions, f"{flag!r} has a condition already"
        self._conditions[flag] = condition

    def is_raised(self, flag: str) -> bool:
        """Return True if any process raised `flag` before the step that ran last; the same on all processes."""
        return flag in self._raised

    def before_step(self, loop: TrainLoop) -> None:
        """Evaluate the conditions and start the sum over the processes."""
        self._count_N = torch.tensor([float(condition()) for condition in self._conditions.values()])
        self._work = distributed.start_sum_over_ranks(self._count_N)

    def after_step(self, loop: TrainLoop) -> None:
        """Read the sum."""
        if self._work is not None:
            self._work.wait()
        counts = zip(self._conditions, self._count_N.tolist(), strict=True)
        self._raised = frozenset(flag for flag, count in counts if count > 0)

"""A training loop without a network, for the tests of hooks."""

from __future__ import annotations

import torch

from mutualnet3d.engine.step_metrics import reduce_metrics
from mutualnet3d.engine.train_loop import TrainLoop
from mutualnet3d.mutual import StepResult
from mutualnet3d.shapes import ClipBatch

BATCH = ClipBatch({}, torch.zeros(3), torch.zeros(3), next_position=7)


def run_loop(hooks, start=0, steps=6, losses=lambda step: {"w1.0-s32-t4": torch.tensor(1.0)}):
    """Return the numbers of the steps that ran; each has the losses `losses(step)` and half of its clips right."""
    steps_run = []

    def run_step(step, batch):
        steps_run.append(step)
        of_step = losses(step)
        return reduce_metrics(step, [StepResult(of_step, {key: torch.tensor(0.5) for key in of_step})])

    TrainLoop(run_step, [BATCH] * (steps - start), hooks, start, steps).train()
    return steps_run


class SavedCalls:
    """Stands for the writer of checkpoints: remembers the arguments that it was called with."""

    def __init__(self):
        self.calls, self.is_busy, self.num_waits = [], False, 0

    def save(self, content, step, epoch, is_best):
        self.calls.append((content["position"], step, epoch, is_best))

    def wait(self):
        self.num_waits += 1

    @property
    def steps(self):
        return [(step, epoch) for _, step, epoch, _ in self.calls]

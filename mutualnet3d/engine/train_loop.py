"""The training loop, on one screen, with schedule, log, checkpoints and validation as hooks beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from mutualnet3d.engine.step_metrics import StepMetrics
from mutualnet3d.shapes import ClipBatch


class Hook:
    """Work beside the training loop; it reads the loop's attributes.

    Attributes:
        name: name of the work, for people, in the log's account of time.
    """

    name = "other work"

    def before_train(self, loop: TrainLoop) -> None:
        """Do the work before the first step."""

    def before_step(self, loop: TrainLoop) -> None:
        """Do the work between the arrival of a batch and its step."""

    def after_step(self, loop: TrainLoop) -> None:
        """Do the work after a step."""

    def after_train(self, loop: TrainLoop) -> None:
        """Do the work after the last step."""


class TrainLoop:
    """Loop over the steps `start_step` to `num_steps`.

    Args:
        run_step: function of the step's number and its batch that trains on it.
        batches: one batch for each step.
        hooks: hooks, called in their order before the training, before each step, after each step, and after the
            training.
        start_step: first step, from 0.
        num_steps: number of steps of the whole training.

    Attributes:
        step: number of the step that runs, or ran last, from 0.
        metrics: metrics of the step that ran last; a read of a number waits for the device.
        is_between_steps: True while the loop waits for the next batch.
        num_clips: number of clips of the step's batch.
        next_position: place in the stream of clips where the next batch begins.
        data_seconds: time that the step waited for its batch.
        compute_seconds: time that the step computed, on a GPU until the device was one step late.
        hook_seconds: time that the hooks took so far, by their names.
    """

    def __init__(
        self,
        run_step: Callable[[int, ClipBatch], StepMetrics],
        batches: Iterable[ClipBatch],
        hooks: Sequence[Hook],
        start_step: int,
        num_steps: int,
    ):
        self.run_step, self.batches, self.hooks = run_step, batches, list(hooks)
        self.start_step, self.num_steps = start_step, num_steps
        self.step = start_step
        self.metrics: StepMetrics | None = None
        self.is_between_steps = False
        self.num_clips = self.next_position = 0
        self.data_seconds = self.compute_seconds = 0.0
        self.hook_seconds: dict[str, float] = {}

    def train(self) -> None:
        """Run the steps.

        Raises:
            FloatingPointError: a loss was not finite; the weights are those before the step.
        """
        self._call_hooks(Hook.before_train)
        batches = iter(self.batches)
        for step in range(self.start_step, self.num_steps):
            self.step = step
            self._call_hooks(Hook.before_step)
            started = time.perf_counter()
            self.is_between_steps = True
            batch = next(batches)
            self.is_between_steps = False
            loaded = time.perf_counter()
            self.num_clips, self.next_position = len(batch), batch.next_position
            previous, self.metrics = self.metrics, self.run_step(step, batch)
            # A GPU's numbers are looked at one step late, so that the host does not wait for the step it has queued.
            settled = self.metrics if self.metrics.is_immediate else previous
            if settled is not None:
                settled.check_finite()
            self.data_seconds, self.compute_seconds = loaded - started, time.perf_counter() - loaded
            self._call_hooks(Hook.after_step)
        self._call_hooks(Hook.after_train)

    def _call_hooks(self, method: Callable[[Hook, TrainLoop], None]) -> None:
        for hook in self.hooks:
            started = time.perf_counter()
            getattr(hook, method.__name__)(self)
            self.hook_seconds[hook.name] = self.hook_seconds.get(hook.name, 0.0) + time.perf_counter() - started

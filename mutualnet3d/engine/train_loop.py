"""The training loop: one screen. What else a run does (schedule, log, checkpoints, validation) is a hook beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from mutualnet3d.engine.step_metrics import Outcome
from mutualnet3d.shapes import ClipBatch


class Hook:
    """Something that happens beside the loop; it reads `loop.step` and what the last step left there."""

    def before_train(self, loop: TrainLoop) -> None: ...

    def before_step(self, loop: TrainLoop) -> None: ...

    def after_step(self, loop: TrainLoop) -> None: ...

    def after_train(self, loop: TrainLoop) -> None: ...


class TrainLoop:
    """Steps `start_step` to `num_steps` over `batches`.

    Attributes:
        step: the step that runs, or ran last, from 0.
        outcome: what it gave; looking at its numbers waits for the device.
        settled: the newest outcome that can be looked at without waiting: the same on a CPU, on a GPU that of the step
            before, which has ended when the host comes to look. Of the same step on all processes.
        votes: what this process asks all of them for, in the step that runs.
        num_clips: clips of its batch; next_position: where in the stream of clips the next one begins.
        data_seconds: what it waited for its batch; compute_seconds: what it computed (on a GPU: until the device was
            one step behind).
        hook_seconds: what the hooks took, by their classes' names.
    """

    def __init__(
        self,
        run_step: Callable[[int, ClipBatch, Mapping[str, bool]], Outcome],
        batches: Iterable[ClipBatch],
        hooks: Sequence[Hook],
        start_step: int,
        num_steps: int,
    ):
        self.run_step, self.batches, self.hooks = run_step, batches, list(hooks)
        self.start_step, self.num_steps = start_step, num_steps
        self.step = start_step
        self.outcome: Outcome | None = None
        self.settled: Outcome | None = None
        self.votes: dict[str, bool] = {}
        self.num_clips = self.next_position = 0
        self.data_seconds = self.compute_seconds = 0.0
        self.hook_seconds: dict[str, float] = {}

    def train(self) -> None:
        """Go through the steps.

        Raises:
            FloatingPointError: a loss was not finite; the weights are those of before its step.
        """
        self._tell(Hook.before_train)
        batches = iter(self.batches)
        for step in range(self.start_step, self.num_steps):
            self.step, self.votes = step, {}
            self._tell(Hook.before_step)
            started = time.perf_counter()
            batch = next(batches)
            loaded = time.perf_counter()
            self.num_clips, self.next_position = len(batch), batch.next_position
            outcome = self.run_step(step, batch, self.votes)
            self.outcome, self.settled = outcome, outcome if outcome.is_immediate else self.outcome
            if self.settled is not None:
                self.settled.check_finite()
            self.data_seconds, self.compute_seconds = loaded - started, time.perf_counter() - loaded
            self._tell(Hook.after_step)
        self._tell(Hook.after_train)

    def _tell(self, moment: Callable[[Hook, TrainLoop], None]) -> None:
        for hook in self.hooks:
            started = time.perf_counter()
            getattr(hook, moment.__name__)(self)
            name = type(hook).__name__
            self.hook_seconds[name] = self.hook_seconds.get(name, 0.0) + time.perf_counter() - started

    def agreed(self, vote: str) -> bool:
        """Whether a process asked for `vote`, as far as is settled."""
        return self.settled is not None and self.settled.asked_for(vote)

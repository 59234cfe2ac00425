from __future__ import annotations

import pytest
import torch

from mutualnet3d.engine.hooks import Checkpointing
from mutualnet3d.engine.shared_flags import SharedFlags
from mutualnet3d.engine.step_metrics import StepMetrics
from mutualnet3d.engine.train_loop import Hook, TrainLoop
from tests.engine.loops import BATCH, SavedCalls, run_loop


def test_hooks_run_around_every_step_in_their_order():
    calls = []

    class Recorder(Hook):
        def __init__(self, name):
            self.name = name

        def before_train(self, loop):
            calls.append((self.name, "before_train", loop.step))

        def before_step(self, loop):
            calls.append((self.name, "before_step", loop.step))

        def after_step(self, loop):
            calls.append((self.name, "after_step", loop.step))

        def after_train(self, loop):
            calls.append((self.name, "after_train", loop.step))

    assert run_loop([Recorder("a"), Recorder("b")], start=4, steps=6) == [4, 5]
    methods = [("before_train", 4), ("before_step", 4), ("after_step", 4), ("before_step", 5), ("after_step", 5)]
    assert calls == [(name, method, step) for method, step in [*methods, ("after_train", 5)] for name in "ab"]


def test_time_of_hooks_is_by_their_names(monkeypatch):
    clock = iter(range(1000))  # a second passes whenever it is asked
    monkeypatch.setattr("mutualnet3d.engine.train_loop.time.perf_counter", lambda: float(next(clock)))

    class Slow(Hook):
        name = "slow"

        def after_step(self, loop):
            next(clock)

    metrics = StepMetrics(0, ["w1.0-s32-t4"], torch.tensor([1.0, 0.5]), 1)
    loop = TrainLoop(lambda step, batch: metrics, [BATCH] * 3, [Slow(), Hook()], 0, 3)
    loop.train()
    assert loop.hook_seconds == {"slow": 2 + 3 * 3, "other work": 2 + 3 * 2}
    assert (loop.data_seconds, loop.compute_seconds) == (1.0, 1.0)
    assert (loop.num_clips, loop.next_position) == (3, 7)
    assert loop.metrics is metrics


def losses_with_an_infinite_one(step):
    narrow = float("inf") if step == 2 else 1.0
    return {"w1.0-s32-t4": torch.tensor(1.0), "w0.5-s32-t2": torch.tensor(narrow)}


def test_a_loss_that_is_not_finite_stops_the_run_at_once():
    saved, flags = SavedCalls(), SharedFlags()
    hook = Checkpointing(lambda step, position: {"position": position}, saved, flags, 2, 1, period_steps=1)
    with pytest.raises(FloatingPointError, match=r"step 3: the loss of w0\.5-s32-t2 is inf; the weights are as they"):
        run_loop([flags, hook], losses=losses_with_an_infinite_one)
    assert saved.steps == [(1, None), (2, 1)]


def test_a_gpus_losses_are_looked_at_one_step_late():
    """Nothing asks a step's metrics for numbers before the next step is queued."""
    looked_at, queued = [], []

    class Metrics:
        is_immediate = False

        def __init__(self, step):
            self.step = step

        def check_finite(self):
            looked_at.append((self.step, len(queued)))

    def run_step(step, batch):
        queued.append(step)
        return Metrics(step)

    TrainLoop(run_step, [BATCH] * 4, [], 0, 4).train()
    assert looked_at == [(0, 2), (1, 3), (2, 4)]

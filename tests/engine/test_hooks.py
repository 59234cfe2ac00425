from __future__ import annotations

import pytest
import torch

from mutualnet3d.engine.hooks import Checkpointing, LearningRate, Validation
from mutualnet3d.engine.shared_flags import SharedFlags
from mutualnet3d.engine.train_loop import Hook
from tests.engine.loops import SavedCalls, run_loop


def checkpointing(saved, **settings):
    """Return the hooks that write checkpoints to `saved`, in their order."""
    flags = SharedFlags()
    capture = lambda step, position: {"step": step, "position": position}  # noqa: E731
    return [flags, Checkpointing(capture, saved, flags, **settings)]


def test_learning_rate_is_set_before_every_step():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [parameter]}], lr=9.0)
    rates = []

    class Read(Hook):
        def before_step(self, loop):
            rates.append(optimizer.param_groups[0]["lr"])

    run_loop([LearningRate(optimizer, lambda epoch: epoch / 10, steps_per_epoch=4), Read()])
    assert rates == pytest.approx([0.0, 0.025, 0.05, 0.075, 0.1, 0.125])


def test_checkpoints_at_epochs_at_steps_and_at_the_end():
    saved = SavedCalls()
    best = lambda step: step == 4  # noqa: E731
    run_loop(checkpointing(saved, steps_per_epoch=2, period_epochs=2, is_best=best))
    assert saved.calls == [(7, 2, None, False), (7, 4, 2, True), (7, 6, 3, False)]
    assert saved.num_waits == 1
    saved = SavedCalls()
    run_loop(checkpointing(saved, steps_per_epoch=4, period_epochs=1, period_steps=3))
    assert saved.steps == [(3, None), (4, 1), (6, None)]


def test_checkpoints_within_an_epoch_by_time(monkeypatch):
    clock = iter(range(0, 10000, 10))  # ten seconds pass whenever it is asked
    monkeypatch.setattr("mutualnet3d.engine.hooks.time.monotonic", lambda: next(clock))
    saved = SavedCalls()
    run_loop(checkpointing(saved, steps_per_epoch=5, period_epochs=1, period_seconds=30), steps=10)
    assert saved.steps == [(1, None), (4, None), (5, 1), (8, None), (10, 2)]
    saved = SavedCalls()
    saved.is_busy = True  # a slow disk is not given a second file
    run_loop(checkpointing(saved, steps_per_epoch=5, period_epochs=1, period_seconds=30), steps=10)
    assert saved.steps == [(5, 1), (10, 2)]


def test_validation_after_every_period_remembers_the_best():
    scores = {1: 10.0, 2: 30.0, 3: 20.0}
    hook = Validation(scores.__getitem__, steps_per_epoch=2, period_epochs=1)
    run_loop([hook])
    assert (hook.best, hook.best_step) == (30.0, 4)
    resumed = Validation(scores.__getitem__, steps_per_epoch=2, period_epochs=1)
    resumed.load_state_dict(hook.state_dict())
    run_loop([resumed], start=4)
    assert (resumed.best, resumed.best_step) == (30.0, 4)

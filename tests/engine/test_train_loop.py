from __future__ import annotations

import json

import pytest
import torch

from mutualnet3d.engine.hooks import Checkpointing, LearningRate, TrainLog, Validation
from mutualnet3d.engine.train_loop import Hook, TrainLoop
from mutualnet3d.log import JsonLines
from mutualnet3d.shapes import ClipBatch

BATCH = ClipBatch({}, torch.zeros(3), torch.zeros(3), next_position=7)


def run(hooks, start=0, steps=6, losses=lambda step: {"w1.0-s32-t4": torch.tensor(1.0)}):
    seen = []

    def run_step(step, batch):
        seen.append(step)
        return losses(step)

    TrainLoop(run_step, [BATCH] * (steps - start), hooks, start, steps).train()
    return seen


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

    assert run([Recorder("a"), Recorder("b")], start=4, steps=6) == [4, 5]
    moments = [("before_train", 4), ("before_step", 4), ("after_step", 4), ("before_step", 5), ("after_step", 5)]
    assert calls == [(name, what, step) for what, step in [*moments, ("after_train", 5)] for name in "ab"]


def test_learning_rate_is_set_before_every_step():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [parameter]}], lr=9.0)
    rates = []

    class Read(Hook):
        def before_step(self, loop):
            rates.append(optimizer.param_groups[0]["lr"])

    run([LearningRate(optimizer, lambda epoch: epoch / 10, steps_per_epoch=4), Read()])
    assert rates == pytest.approx([0.0, 0.025, 0.05, 0.075, 0.1, 0.125])


def test_checkpoints_at_epochs_and_at_the_end():
    saved = []
    save = lambda step, position, epoch: saved.append((step, position, epoch)) or "path"  # noqa: E731
    run([Checkpointing(save, steps_per_epoch=2, period_epochs=2, period_seconds=0)])
    assert saved == [(2, 7, None), (4, 7, 2), (6, 7, 3)]


def test_checkpoints_within_an_epoch_by_time(monkeypatch):
    clock = iter(range(0, 1000, 10))  # ten seconds pass whenever it is asked
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    saved = []
    save = lambda step, position, epoch: saved.append((step, epoch)) or "path"  # noqa: E731
    run([Checkpointing(save, steps_per_epoch=4, period_epochs=1, period_seconds=20)])
    assert saved == [(1, None), (3, None), (4, 1), (6, None)]


def test_validation_after_every_period():
    epochs = []
    run([Validation(epochs.append, steps_per_epoch=2, period_epochs=1)])
    assert epochs == [1, 2, 3]


def test_log_has_a_record_every_period_and_at_the_end(tmp_path):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    path = tmp_path / "log.jsonl"
    run([TrainLog(optimizer, steps_per_epoch=3, period=4, records=JsonLines(str(path)))])
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(record["step"], record["epoch"], record["lr"]) for record in records] == [(4, 1.3333, 0.5), (6, 2.0, 0.5)]
    assert records[0]["losses"] == {"w1.0-s32-t4": 1.0}
    assert records[0]["clips_per_second"] == pytest.approx(
        3 / (records[0]["data_seconds"] + records[0]["compute_seconds"]), rel=1e-6
    )


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    log = TrainLog(optimizer, steps_per_epoch=3, period=2, records=JsonLines(str(tmp_path / "log.jsonl")))
    with pytest.raises(FloatingPointError, match=r"step 4: the loss of w0\.5-s32-t2 is inf; try a lower"):
        run([log], losses=lambda step: {"w0.5-s32-t2": torch.tensor(float("inf") if step >= 2 else 1.0)})


def test_on_a_terminal_there_is_a_bar_with_the_losses(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    losses = {"w1.0-s32-t4": torch.tensor(1.25), "w0.9972-s32-t2": torch.tensor(0.5)}
    run([TrainLog(optimizer, 3, period=1, records=JsonLines(str(tmp_path / "log.jsonl")))], losses=lambda step: losses)
    shown = capsys.readouterr().err
    assert "training" in shown
    assert "6/6" in shown
    assert "w1.00-s32-t4 1.250, w1.00-s32-t2 0.500" in shown

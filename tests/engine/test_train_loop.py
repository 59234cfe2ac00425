from __future__ import annotations

import json
import os
import signal
import threading

import pytest
import torch

from mutualnet3d.engine.checkpoint_writer import BackgroundWriter
from mutualnet3d.engine.hooks import Checkpointing, LearningRate, PreemptionHook, Validation
from mutualnet3d.engine.preemption import EXIT_AGAIN, Interrupted, Signals
from mutualnet3d.engine.profile import Profile
from mutualnet3d.engine.step_metrics import agree
from mutualnet3d.engine.train_log import TrainLog, where_the_time_went
from mutualnet3d.engine.train_loop import Hook, TrainLoop
from mutualnet3d.log import JsonLines
from mutualnet3d.mutual import StepResult
from mutualnet3d.shapes import ClipBatch

BATCH = ClipBatch({}, torch.zeros(3), torch.zeros(3), next_position=7)


def run(hooks, start=0, steps=6, losses=lambda step: {"w1.0-s32-t4": torch.tensor(1.0)}):
    seen = []

    def run_step(step, batch, votes):
        seen.append(step)
        of_step = losses(step)
        return agree(step, [StepResult(of_step, {key: torch.tensor(0.5) for key in of_step})], votes)

    TrainLoop(run_step, [BATCH] * (steps - start), hooks, start, steps).train()
    return seen


def log_of(path, period, steps_per_epoch=3):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    return TrainLog(optimizer, steps_per_epoch, period, JsonLines(str(path)), num_processes=2)


class Saved:
    """Stands for the writer: remembers what it was given."""

    def __init__(self):
        self.calls, self.is_busy, self.waited = [], False, 0

    def save(self, content, step, epoch, is_best):
        self.calls.append((content["position"], step, epoch, is_best))

    def wait(self):
        self.waited += 1


def checkpointing(saved, **settings):
    return Checkpointing(lambda step, position: {"step": step, "position": position}, saved, **settings)


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


def test_checkpoints_at_epochs_at_steps_and_at_the_end():
    saved = Saved()
    best = lambda step: step == 4  # noqa: E731
    run([checkpointing(saved, steps_per_epoch=2, period_epochs=2, is_best=best)])
    assert saved.calls == [(7, 2, None, False), (7, 4, 2, True), (7, 6, 3, False)]
    assert saved.waited == 1
    saved = Saved()
    run([checkpointing(saved, steps_per_epoch=4, period_epochs=1, period_steps=3)])
    assert [call[1:3] for call in saved.calls] == [(3, None), (4, 1), (6, None)]


def test_checkpoints_within_an_epoch_by_time(monkeypatch):
    clock = iter(range(0, 10000, 10))  # ten seconds pass whenever it is asked
    monkeypatch.setattr("mutualnet3d.engine.hooks.time.monotonic", lambda: next(clock))
    saved = Saved()
    run([checkpointing(saved, steps_per_epoch=5, period_epochs=1, period_seconds=30)], steps=10)
    assert [call[1:3] for call in saved.calls] == [(1, None), (4, None), (5, 1), (8, None), (10, 2)]
    saved = Saved()
    saved.is_busy = True  # a slow disk is not given a second file
    run([checkpointing(saved, steps_per_epoch=5, period_epochs=1, period_seconds=30)], steps=10)
    assert [call[1:3] for call in saved.calls] == [(5, 1), (10, 2)]


def test_validation_after_every_period_remembers_the_best():
    scores = {1: 10.0, 2: 30.0, 3: 20.0}
    hook = Validation(scores.__getitem__, steps_per_epoch=2, period_epochs=1)
    run([hook])
    assert (hook.best, hook.best_step) == (30.0, 4)
    again = Validation(scores.__getitem__, steps_per_epoch=2, period_epochs=1)
    again.load_state_dict(hook.state_dict())
    run([again], start=4)
    assert (again.best, again.best_step) == (30.0, 4)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_the_step_writes_and_leaves(number):
    class Send(Hook):
        def after_step(self, loop):
            if loop.step == 2:
                os.kill(os.getpid(), number)

    saved = Saved()
    before = signal.getsignal(number)
    try:
        signals = Signals()
        hook = checkpointing(saved, steps_per_epoch=100, period_epochs=1, signals=signals)
        with pytest.raises(Interrupted, match=f"{number.name} after step 4") as left, signals:
            run([Send(), PreemptionHook(signals), hook], steps=20)
        assert left.value.code == EXIT_AGAIN == 75
        assert [call[1:3] for call in saved.calls] == [(4, None)]
        assert saved.waited == 1  # it is on disk when the process leaves
        assert signal.getsignal(number) is signal.SIG_IGN  # a second signal does not change the status
    finally:
        for each in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(each, before)


def test_a_signal_outside_of_training_raises_at_once_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(Interrupted, match="SIGTERM: stopped outside of training"), Signals():
            signal.raise_signal(signal.SIGTERM)
    finally:
        for each in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(each, before)
    with Signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_signals_in_another_thread_are_left_alone():
    seen = []

    def enter():
        with Signals() as signals:
            seen.append(signals.name)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [""]


def test_the_writer_writes_a_copy_and_its_errors_are_told():
    gate, written = threading.Event(), []

    def write(content, step):
        gate.wait(10)
        if step == 2:
            raise OSError("disk full, on purpose")
        written.append((step, content["w"].tolist(), content["more"][0]["w"].tolist()))
        return f"path {step}"

    weights = torch.ones(2)
    writer = BackgroundWriter(write)
    writer.save({"w": weights, "more": [{"w": weights}]}, 1)
    assert writer.is_busy
    weights.zero_()  # training goes on
    gate.set()
    assert writer.wait() == "path 1"
    assert written == [(1, [1.0, 1.0], [1.0, 1.0])]
    writer.save({"w": weights, "more": [{"w": weights}]}, 2)
    with pytest.raises(OSError, match="disk full"):
        writer.save({}, 3)
    with pytest.raises(OSError, match="disk full"), BackgroundWriter(write) as writer:
        writer.save({}, 2)
    writer = BackgroundWriter(write)
    writer.save({}, 2)
    with pytest.raises(KeyError, match="the block's own"), writer:  # not what became of the file
        raise KeyError("the block's own")


def test_log_has_a_record_every_period_and_at_the_end(tmp_path):
    path = tmp_path / "log.jsonl"
    run([log_of(path, period=4)])
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(record["step"], record["epoch"], record["lr"]) for record in records] == [(4, 1.3333, 0.5), (6, 2.0, 0.5)]
    assert records[0]["losses"] == {"w1.0-s32-t4": 1.0}
    assert records[0]["top1"] == {"w1.0-s32-t4": 50.0}
    assert records[0]["memory_gib"] > 0.1
    assert records[0]["clips_per_second"] == pytest.approx(  # of two processes with three clips each
        6 / (records[0]["data_seconds"] + records[0]["compute_seconds"]), rel=1e-6
    )


def test_where_the_time_went():
    text = where_the_time_went(20.0, 70.0, {"Validation": 10.0, "LearningRate": 0.01})
    assert text == "the training took 1 min 40 s: computing 70 %, waiting for clips 20 %, Validation 10 %"
    assert where_the_time_went(0.0, 0.0, {}) == "no step was left to do"


def test_a_loss_that_is_not_finite_stops_the_run_at_once(tmp_path):
    def losses(step):
        narrow = float("inf") if step == 2 else 1.0
        return {"w1.0-s32-t4": torch.tensor(1.0), "w0.5-s32-t2": torch.tensor(narrow)}

    saved = Saved()
    hook = checkpointing(saved, steps_per_epoch=2, period_epochs=1, period_steps=1)
    with pytest.raises(FloatingPointError, match=r"step 3: the loss of w0\.5-s32-t2 is inf; the weights are as they"):
        run([log_of(tmp_path / "log.jsonl", period=100), hook], losses=losses)
    assert [call[1] for call in saved.calls] == [1, 2]


def test_on_a_terminal_there_is_a_bar_with_the_losses(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    losses = {"w1.0-s32-t4": torch.tensor(1.25), "w0.9972-s32-t2": torch.tensor(0.5)}
    run([log_of(tmp_path / "log.jsonl", period=1)], losses=lambda step: losses)
    shown = capsys.readouterr().err
    assert "training" in shown
    assert "6/6" in shown
    assert "w1.00-s32-t4 1.250, w1.00-s32-t2 0.500" in shown


@pytest.mark.parametrize(
    ("start", "steps", "name"), [(0, 6, "steps_00000004_00000005"), (4, 6, "steps_00000006_00000006")]
)
def test_profile_of_a_few_steps(tmp_path, start, steps, name):
    losses = lambda step: {"w1.0-s32-t4": torch.ones(10, 10).mm(torch.ones(10, 10)).mean()}  # noqa: E731
    run([Profile(2, str(tmp_path))], start=start, steps=steps, losses=losses)
    assert sorted(os.listdir(tmp_path)) == [f"{name}.json.gz", f"{name}.txt"]
    assert "aten::mm" in (tmp_path / f"{name}.txt").read_text()

from __future__ import annotations

import json

import pytest
import torch

from mutualnet3d.engine.hooks import Checkpointing, LearningRate, Validation
from mutualnet3d.engine.preemption import PreemptionHook
from mutualnet3d.engine.profile import Profile
from mutualnet3d.engine.shared_flags import SharedFlags
from mutualnet3d.engine.train_log import TrainLog, account_of_time
from mutualnet3d.engine.train_loop import Hook
from mutualnet3d.log import JsonLines
from tests.engine.loops import run_loop


def log_of(path, period, steps_per_epoch=3):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    return TrainLog(optimizer, steps_per_epoch, period, JsonLines(str(path)), num_processes=2)


def test_log_has_a_record_after_the_first_step_every_period_and_at_the_end(tmp_path):
    path = tmp_path / "log.jsonl"
    run_loop([log_of(path, period=4)])
    records = [json.loads(line) for line in path.read_text().splitlines()]
    places = [(record["step"], record["epoch"], record["lr"], record["mean_of"]) for record in records]
    assert places == [(1, 0.3333, 0.5, 1), (4, 1.3333, 0.5, 3), (6, 2.0, 0.5, 2)]
    assert records[0]["losses"] == {"w1.0-s32-t4": 1.0}
    assert records[0]["top1"] == {"w1.0-s32-t4": 50.0}
    assert records[0]["memory_gib"] > 0.1
    assert records[0]["clips_per_second"] == pytest.approx(  # of two processes with three clips each
        6 / (records[0]["data_seconds"] + records[0]["compute_seconds"]), rel=1e-6
    )


def test_a_record_has_the_means_of_its_steps(tmp_path):
    """Not the numbers of its last step."""
    path = tmp_path / "log.jsonl"
    run_loop([log_of(path, period=4)], losses=lambda step: {"w1.0-s32-t4": torch.tensor(float(step))})
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["losses"]["w1.0-s32-t4"] for record in records] == [0.0, 2.0, 4.5]  # of steps 0; 1, 2, 3; 4, 5
    assert [record["cross_entropy"] for record in records] == [{"full": 0.0}, {"full": 2.0}, {"full": 4.5}]


def test_a_line_tells_cross_entropy_from_kl_and_has_the_accuracy(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    losses = {"w1.0-s32-t4": torch.tensor(1.25), "w0.5-s32-t2": torch.tensor(0.5), "w0.7-s32-t2": torch.tensor(0.25)}
    with caplog.at_level("INFO", logger="mutualnet3d"):
        run_loop([log_of(tmp_path / "log.jsonl", period=6)], losses=lambda step: losses)
    line = caplog.records[0].getMessage()
    assert line.startswith(
        "step 1/6, epoch 0.33: cross-entropy w1.00-s32-t4  1.250; KL w0.50  0.5000, random widths  0.2500; "
        "top-1 w1.00-s32-t4  50.0 %, w0.50  50.0 %, random widths  50.0 % | lr 0.5000, "
    )


def test_lines_below_each_other_compare(tmp_path, monkeypatch, caplog):
    """Networks in one order, numbers of one width."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    losses = [(0.01, 0.002), (12.5, 0.25)]

    def losses_of(step):
        full, subnet = losses[step % 2]
        return {"w1.0-s32-t4": torch.tensor(full), "w0.5-s32-t2": torch.tensor(subnet)}

    with caplog.at_level("INFO", logger="mutualnet3d"):
        run_loop([log_of(tmp_path / "log.jsonl", period=1)], losses=losses_of)
    lines = [record.getMessage().partition(" | ")[0] for record in caplog.records if "epoch" in record.getMessage()]
    assert len(lines) == 6
    assert len(set(map(len, lines))) == 1
    assert {line.index("KL") for line in lines} == {lines[0].index("KL")}


def test_the_time_left_knows_that_steps_become_longer(tmp_path):
    """Sub-networks join at step 2 of 6, where steps take three times as long."""
    path = tmp_path / "log.jsonl"
    log = log_of(path, period=1)
    log.first_mutual_step, log.mutual_cost = 2, 3.0
    run_loop([log])
    records = [json.loads(line) for line in path.read_text().splitlines()]
    steps = [record["eta_seconds"] / (record["data_seconds"] + record["compute_seconds"]) for record in records]
    assert steps == pytest.approx([1 + 4 * 3, 4 * 3, 3, 2, 1, 0])


def test_on_a_terminal_there_is_a_bar_with_the_losses(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    losses = {"w1.0-s32-t4": torch.tensor(1.25), "w0.9972-s32-t2": torch.tensor(0.5)}
    run_loop([log_of(tmp_path / "log.jsonl", period=1)], losses=lambda step: losses)
    bar = capsys.readouterr().err
    assert "training" in bar
    assert "6/6" in bar
    assert "cross-entropy w1.00-s32-t4  1.250; KL w1.00  0.5000" in bar


def test_account_of_time():
    text = account_of_time(20.0, 70.0, {"validation": 10.0, "learning rate": 0.01})
    assert text == "the training took 1 min 40 s: computing 70 %, waiting for clips 20 %, validation 10 %"
    assert account_of_time(0.0, 0.0, {}) == "no step was left to do"


@pytest.mark.parametrize(
    "hook", [Checkpointing, LearningRate, PreemptionHook, Profile, SharedFlags, TrainLog, Validation]
)
def test_the_account_names_the_work_of_a_hook_and_not_its_class(hook):
    assert hook.name != Hook.name
    assert " " in hook.name or hook.name in ("validation", "profiling")

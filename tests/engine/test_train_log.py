from __future__ import annotations

import json

import pytest
import torch

from mutualnet3d.engine.train_log import TrainLog, account_of_time
from mutualnet3d.log import JsonLines
from tests.engine.loops import run_loop


def log_of(path, period, steps_per_epoch=3):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    return TrainLog(optimizer, steps_per_epoch, period, JsonLines(str(path)), num_processes=2)


def test_log_has_a_record_every_period_and_at_the_end(tmp_path):
    path = tmp_path / "log.jsonl"
    run_loop([log_of(path, period=4)])
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(record["step"], record["epoch"], record["lr"]) for record in records] == [(4, 1.3333, 0.5), (6, 2.0, 0.5)]
    assert records[0]["losses"] == {"w1.0-s32-t4": 1.0}
    assert records[0]["top1"] == {"w1.0-s32-t4": 50.0}
    assert records[0]["memory_gib"] > 0.1
    assert records[0]["clips_per_second"] == pytest.approx(  # of two processes with three clips each
        6 / (records[0]["data_seconds"] + records[0]["compute_seconds"]), rel=1e-6
    )


def test_on_a_terminal_there_is_a_bar_with_the_losses(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    losses = {"w1.0-s32-t4": torch.tensor(1.25), "w0.9972-s32-t2": torch.tensor(0.5)}
    run_loop([log_of(tmp_path / "log.jsonl", period=1)], losses=lambda step: losses)
    bar = capsys.readouterr().err
    assert "training" in bar
    assert "6/6" in bar
    assert "w1.00-s32-t4 1.250, w1.00-s32-t2 0.500" in bar


def test_account_of_time():
    text = account_of_time(20.0, 70.0, {"validation": 10.0, "learning rate": 0.01})
    assert text == "the training took 1 min 40 s: computing 70 %, waiting for clips 20 %, validation 10 %"
    assert account_of_time(0.0, 0.0, {}) == "no step was left to do"

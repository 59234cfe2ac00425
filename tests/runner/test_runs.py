"""Whole runs on small videos: train, resume, test, and what a user may get wrong."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.engine.checkpoint import load_checkpoint
from mutualnet3d.runner import test as run_test
from mutualnet3d.runner import train as run_train
from tests.copies import run_script

ROOT = Path(__file__).resolve().parents[2]
CFG = "X3D_tiny_mutual.yaml"


def make_cfg(overrides):
    return m3.load_cfg(CFG, overrides)


def records_of(cfg, kind="train"):
    with open(os.path.join(cfg.OUTPUT_DIR, "log.jsonl")) as file:
        return [record for record in map(json.loads, file) if record["kind"] == kind]


def test_train_and_test_write_all_they_promise(tiny_overrides):
    cfg = make_cfg(tiny_overrides(TRAIN__EVAL_PERIOD=3, SOLVER__MAX_EPOCH=6))
    checkpoint = run_train(cfg)
    table = run_test(cfg)
    assert sorted(os.listdir(cfg.OUTPUT_DIR)) == [
        "calibrated.pyth", "checkpoints", "class_accuracy.csv", "config.yaml",
        "confusion_w0.5-s32-t2.csv", "confusion_w0.5-s32-t2.png", "confusion_w1.0-s32-t4.csv",
        "confusion_w1.0-s32-t4.png", "log.jsonl", "log.txt",
        "query_table.csv", "query_table.json", "query_table.md", "scores.npz", "tradeoff.png",
    ]  # fmt: skip
    assert os.path.basename(checkpoint) == "checkpoint_epoch_00006_step_00000024.pyth"
    assert m3.load_cfg(os.path.join(cfg.OUTPUT_DIR, "config.yaml")) == cfg

    records = records_of(cfg)
    assert [record["step"] for record in records] == list(range(1, 25))
    space = m3.SubnetSpace((0.5, 1.0), (32,), (4, 2))
    for record in records:
        assert list(record["losses"]) == [str(config) for config in space.at_step(cfg.RNG_SEED, record["step"] - 1)]
        assert record["clips_per_second"] > 0
        assert record["data_seconds"] >= 0
        assert record["compute_seconds"] > 0
    assert records[-1]["eta_seconds"] == 0
    # Bright against dark clips: a few steps tell them apart.
    assert records[-1]["losses"]["w1.0-s32-t4"] < 0.5 * records[0]["losses"]["w1.0-s32-t4"]
    assert [set(record["top1"]) for record in records_of(cfg, "validation")] == [{"w1.0-s32-t4", "w0.5-s32-t2"}] * 2

    assert [str(row.config) for row in table.rows] == ["w1.0-s32-t4", "w0.5-s32-t4", "w1.0-s32-t2", "w0.5-s32-t2"]
    assert table.rows[0].top1 > 80  # of bright against dark, five of six
    assert all(row.milliseconds > 0 and row.params > 0 for row in table.rows)
    assert table.rows[0].gflops > table.rows[-1].gflops > 0
    assert m3.QueryTable.load(os.path.join(cfg.OUTPUT_DIR, "query_table.json")) == table
    with open(os.path.join(cfg.OUTPUT_DIR, "query_table.csv")) as file:
        assert len(list(csv.DictReader(file))) == 4
    calibrated = load_checkpoint(os.path.join(cfg.OUTPUT_DIR, "calibrated.pyth"))
    assert set(calibrated["statistics"]) == {"w1.0-s32-t4", "w1.0-s32-t2", "w0.5-s32-t4", "w0.5-s32-t2"}


def test_a_calibrated_checkpoint_is_tested_as_it_is(tiny_overrides, tmp_path):
    cfg = make_cfg(tiny_overrides())
    run_train(cfg)
    first = run_test(cfg)
    path = os.path.join(cfg.OUTPUT_DIR, "calibrated.pyth")
    again = make_cfg(tiny_overrides(TEST__CHECKPOINT_FILE_PATH=path, OUTPUT_DIR=str(tmp_path / "again")))
    second = run_test(again)
    assert [(row.config, row.top1) for row in second.rows] == [(row.config, row.top1) for row in first.rows]
    assert "training clips" not in Path(again.OUTPUT_DIR, "log.txt").read_text()  # that it was calibrated on


def test_without_matplotlib_there_is_a_table_and_a_word(tiny_overrides, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    cfg = make_cfg(tiny_overrides(TEST__SUBNETS=["full"]))
    run_train(cfg)
    run_test(cfg)
    assert "query_table.json" in os.listdir(cfg.OUTPUT_DIR)
    assert "tradeoff.png" not in os.listdir(cfg.OUTPUT_DIR)
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    for name in ("tradeoff.png", "confusion_w1.0-s32-t4.png"):
        assert f"no {name}: matplotlib is not installed: pip install 'mutualnet3d[plot]'" in log


def test_static_training_runs_through_the_same_loop(tiny_overrides):
    cfg = make_cfg(tiny_overrides(MUTUAL__ENABLE=False))
    run_train(cfg)
    assert all(list(record["losses"]) == ["w1.0-s32-t4"] for record in records_of(cfg))
    assert len(run_test(cfg).rows) == 4  # the same grid as the mutual network's


def test_views_are_averaged(tiny_overrides):
    cfg = make_cfg(tiny_overrides(TEST__NUM_ENSEMBLE_VIEWS=2, TEST__NUM_SPATIAL_CROPS=3, TEST__SUBNETS=["full"]))
    run_train(cfg)
    table = run_test(cfg)
    assert table.context["views"] == str(table.views) == "2 x 3"
    assert table.context["num_videos"] == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_gives_the_weights_of_an_uninterrupted_run(tiny_overrides, tmp_path, monkeypatch, workers):
    """Stopped in the middle of an epoch, with dropout and momentum in play: equal to the last bit."""
    common = {"MODEL__DROPOUT_RATE": 0.5, "SOLVER__MAX_EPOCH": 3, "DATA_LOADER__NUM_WORKERS": workers}
    whole = make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path / "whole"), **common))
    expected = load_checkpoint(run_train(whole))

    halves = make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path / "halves"), TRAIN__CHECKPOINT_STEPS=1, **common))
    with monkeypatch.context() as patch:
        patch.setattr("mutualnet3d.engine.hooks.Validation.after_step", lambda self, loop: None)
        patch.setattr("mutualnet3d.engine.train_log.TrainLog.after_step", _stop_at(6))
        with pytest.raises(KeyboardInterrupt):
            run_train(halves)
    torch.rand(5)  # another process would not have the generator where it was
    resumed = load_checkpoint(run_train(halves))
    assert records_of(halves, "resumed")[0]["step"] == 6
    assert resumed["step"] == expected["step"] == 12
    for name, value in expected["model_state"].items():
        assert torch.equal(value, resumed["model_state"][name]), name
    for index, state in expected["optimizer_state"]["state"].items():
        assert torch.equal(state["momentum_buffer"], resumed["optimizer_state"]["state"][index]["momentum_buffer"])


def _stop_at(step):
    def after_step(self, loop):
        if loop.step == step:
            raise KeyboardInterrupt

    return after_step


@pytest.mark.slow
def test_a_killed_run_goes_on(tiny_overrides, tmp_path):
    """SIGKILL in the middle of training, through the command line; the same command finishes the run."""
    overrides = tiny_overrides(SOLVER__MAX_EPOCH=15, TRAIN__CHECKPOINT_SECONDS=0.05, TEST__ENABLE=False)
    command = [sys.executable, str(ROOT / "tools/run_net.py"), "--cfg", CFG, *map(str, overrides)]
    log = tmp_path / "output" / "log.jsonl"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not log.exists() or len(log.read_text().splitlines()) < 10):
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    steps_done = len(log.read_text().splitlines())
    assert 10 <= steps_done < 60
    overrides = tiny_overrides(SOLVER__MAX_EPOCH=15, TRAIN__CHECKPOINT_SECONDS=60, TEST__ENABLE=False)
    run_script(["tools/run_net.py", "--cfg", CFG, *overrides], tmp_path)
    records = [json.loads(line) for line in log.read_text().splitlines()]
    (resumed,) = [record for record in records if record["kind"] == "resumed"]
    assert 0 < resumed["step"] <= steps_done
    assert max(record["step"] for record in records if record["kind"] == "train") == 60


def test_resume_is_refused_where_it_would_not_be_one(tiny_overrides):
    run_train(make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=1)))
    with pytest.raises(ValueError, match=r"written with steps per epoch 4, this run has 2; resume with the same"):
        run_train(make_cfg(tiny_overrides(TRAIN__BATCH_SIZE=8)))
    with pytest.raises(ValueError, match=r"TRAIN\.AUTO_RESUME is False"):
        run_train(make_cfg(tiny_overrides(TRAIN__AUTO_RESUME=False)))
    with pytest.raises(ValueError, match=r"step_00000004\.pyth: the checkpoint is of another model: blocks"):
        run_train(make_cfg(tiny_overrides(X3D__DIM_C5=48)))
    for path in Path(make_cfg(tiny_overrides()).OUTPUT_DIR, "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"step_00000004\.pyth: cannot be read as a checkpoint, it may be truncated"):
        run_train(make_cfg(tiny_overrides()))


def test_testing_without_a_checkpoint(tiny_overrides):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint in .*output; train first, or set TEST\.CHECKPOINT"):
        run_test(make_cfg(tiny_overrides()))


@pytest.mark.parametrize(
    ("subnets", "message"),
    [
        (["w0.4-s32-t4"], r"width 0\.4 is outside the space's 0\.5 to 1\.0"),
        (["w0.5-s64-t4"], "size 64 is none of the space's 32"),
        (["w0.5-s32-t3"], "3 frames are none of the space's 4, 2"),
        (["w1.5-s32-t4"], r"width must be in \(0, 1\], got 1\.5"),
        (["small"], "not a sub-network's key: 'small'"),
        ([], "TEST.SUBNETS is empty"),
    ],
)
def test_subnets_that_are_not_there(tiny_overrides, subnets, message):
    with pytest.raises(ValueError, match=message):
        run_test(make_cfg(tiny_overrides(TEST__SUBNETS=subnets)))


def test_a_loss_that_is_not_finite_names_the_subnet(tiny_overrides):
    cfg = make_cfg(tiny_overrides(SOLVER__BASE_LR=1e30))
    with pytest.raises(FloatingPointError, match=r"step \d+: the loss of w1\.0-s32-t4.* is nan; the weights are as"):
        run_train(cfg)


SLOWFAST = {
    "MODEL__ARCH": "slowfast",
    "RESNET__WIDTH_PER_GROUP": 8,
    "SLOWFAST__BETA_INV": 4,
    "SLOWFAST__ALPHA": 2,
    "DATA__NUM_FRAMES": 8,
    "DATA__SAMPLING_RATE": 2,
}


def test_slowfast_trains_and_tests_as_x3d_does(tiny_overrides):
    cfg = make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=3, **SLOWFAST))
    run_train(cfg)
    table = run_test(cfg)
    assert {str(row.config) for row in table.rows} == {"w1.0-s32-t4", "w0.5-s32-t4", "w1.0-s32-t2", "w0.5-s32-t2"}
    assert table.rows[0].gflops > table.rows[-1].gflops > 0
    assert all(row.milliseconds > 0 for row in table.rows)
    assert [record["step"] for record in records_of(cfg)] == list(range(1, 13))
    assert all(math.isfinite(loss) for record in records_of(cfg) for loss in record["losses"].values())


@pytest.mark.parametrize("arch", ["slow", "i3d"])
def test_resnets_train_and_test_as_x3d_does(tiny_overrides, arch):
    cfg = make_cfg(tiny_overrides(MODEL__ARCH=arch, RESNET__WIDTH_PER_GROUP=8, SOLVER__MAX_EPOCH=1))
    run_train(cfg)
    assert len(run_test(cfg).rows) == 4


def test_starting_from_weights_with_sorted_channels(tiny_overrides, tmp_path):
    """A static run's checkpoint as PySlowFast's users have one: loaded, sorted, trained mutually."""
    static = make_cfg(tiny_overrides(MUTUAL__ENABLE=False, OUTPUT_DIR=str(tmp_path / "static")))
    path = run_train(static)
    start = {"TRAIN__CHECKPOINT_FILE_PATH": path, "SOLVER__MAX_EPOCH": 1, "SOLVER__BASE_LR": 1e-6}
    results, weights = {}, {}
    for is_sorted in (False, True):
        folder = str(tmp_path / f"sorted_{is_sorted}")
        cfg = make_cfg(tiny_overrides(MUTUAL__SORT_CHANNELS=is_sorted, OUTPUT_DIR=folder, **start))
        weights[is_sorted] = load_checkpoint(run_train(cfg))["model_state"]
        log = Path(folder, "log.txt").read_text()
        assert f"started from weights of {path} (this project's)" in log
        assert ("sorted the channels of" in log) is is_sorted
        losses = records_of(cfg)[0]["losses"]
        results[is_sorted] = losses
        resumed = len(log.splitlines())
        run_train(cfg)  # at its end: it resumes from its own checkpoint, and starts from no weights again
        assert "started from" not in "".join(Path(folder, "log.txt").read_text().splitlines()[resumed:])
    # The full network starts where it was, a narrow one does not.
    assert results[True]["w1.0-s32-t4"] == pytest.approx(results[False]["w1.0-s32-t4"], rel=1e-4)
    name = "blocks.1.res_blocks.0.branch2.conv_a.weight"
    assert not torch.allclose(weights[True][name], weights[False][name], atol=1e-3)
    assert weights[True][name].sum().item() == pytest.approx(weights[False][name].sum().item(), abs=1e-3)


def test_weights_of_another_number_of_classes(tiny_overrides, tmp_path):
    path = run_train(make_cfg(tiny_overrides(MUTUAL__ENABLE=False, OUTPUT_DIR=str(tmp_path / "static"))))
    more = make_cfg(tiny_overrides(MODEL__NUM_CLASSES=5, TRAIN__CHECKPOINT_FILE_PATH=path, SOLVER__MAX_EPOCH=1))
    run_train(more)
    assert "classifier of 2 classes left out; that of 5 starts afresh" in Path(more.OUTPUT_DIR, "log.txt").read_text()
    foreign = tiny_overrides(MODEL__NUM_CLASSES=5, TEST__CHECKPOINT_FILE_PATH=path, OUTPUT_DIR=str(tmp_path / "test"))
    with pytest.raises(ValueError, match=r"its classifier has 2 classes, the model 5; MODEL\.NUM_CLASSES must be that"):
        run_test(make_cfg(foreign))


def test_foreign_weights_are_tested(tiny_overrides, tmp_path):
    """A state dict without anything around it, as pytorchvideo's users save one."""
    cfg = make_cfg(tiny_overrides(MUTUAL__ENABLE=False))
    state = load_checkpoint(run_train(cfg))["model_state"]
    torch.save({"model_state": {f"model.{name}": value for name, value in state.items()}}, tmp_path / "zoo.pyth")
    first = run_test(cfg)
    path = str(tmp_path / "zoo.pyth")
    again = run_test(make_cfg(tiny_overrides(TEST__CHECKPOINT_FILE_PATH=path, OUTPUT_DIR=str(tmp_path / "again"))))
    assert [(row.config, row.top1) for row in again.rows] == [(row.config, row.top1) for row in first.rows]
    assert load_checkpoint(str(tmp_path / "again" / "calibrated.pyth"))["step"] == 0


def test_foreign_weights_of_the_full_network_need_no_training_clips(tiny_overrides, tiny_data, tmp_path):
    """As a user tests a model zoo's file: BN.USE_PRECISE_STATS is on in the recipe, and only test.csv is there."""
    cfg = make_cfg(tiny_overrides(MUTUAL__ENABLE=False))
    torch.save({"model_state": load_checkpoint(run_train(cfg))["model_state"]}, tmp_path / "zoo.pyth")
    (tmp_path / "data").mkdir()
    lines = (tiny_data / "test.csv").read_text().splitlines()
    (tmp_path / "data" / "test.csv").write_text("".join(f"{tiny_data}/{line}\n" for line in lines))
    places = {"DATA__PATH_TO_DATA_DIR": str(tmp_path / "data"), "OUTPUT_DIR": str(tmp_path / "test")}
    settings = {"TEST__CHECKPOINT_FILE_PATH": str(tmp_path / "zoo.pyth"), "TEST__SUBNETS": ["full"]}
    table = run_test(make_cfg(tiny_overrides(BN__USE_PRECISE_STATS=True, **places, **settings)))
    assert [str(row.config) for row in table.rows] == ["w1.0-s32-t4"]


def test_steps_of_the_learning_rate(tiny_overrides):
    steps = {"SOLVER__LR_POLICY": "steps_with_relative_lrs", "SOLVER__STEPS": [0, 2], "SOLVER__LRS": [1, 0.1, 0.01]}
    cfg = make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=3, MUTUAL__ENABLE=False, **steps))
    run_train(cfg)
    lrs = [record["lr"] for record in records_of(cfg)]
    assert lrs == pytest.approx([cfg.SOLVER.BASE_LR] * 8 + [0.1 * cfg.SOLVER.BASE_LR] * 4)

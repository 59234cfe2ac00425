"""Whole trainings in several processes, in other precisions, interrupted and resumed; seconds each."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.engine.checkpoint import CheckpointFolder, load_checkpoint
from mutualnet3d.engine.evaluate import Evaluation
from mutualnet3d.results.view_scores import Accuracy
from mutualnet3d.runner import test as run_test
from mutualnet3d.runner import train as run_train
from tests.copies import Script, run_script

ROOT = Path(__file__).resolve().parents[2]
CFG = "X3D_tiny_mutual.yaml"
# At larger rates, or with the last stage's pictures of one pixel, a training of this size is chaotic: rounding grows to
# 10 % of the losses within ten steps. (In float64 two processes stay within 1e-13 of one.)
CALM = {
    "SOLVER__BASE_LR": 0.002,
    "MODEL__DROPOUT_RATE": 0.0,
    "TEST__ENABLE": False,
    "DATA__TRAIN_CROP_SIZE": 48,
    "DATA__TEST_CROP_SIZE": 48,
    "DATA__TRAIN_JITTER_SCALES": [48, 56],
    "MUTUAL__SIZES": [48],
}


def make_cfg(overrides):
    return m3.load_cfg(CFG, overrides)


def records_of(folder, kind="train"):
    with open(Path(folder, "log.jsonl")) as file:
        return [record for record in map(json.loads, file) if record["kind"] == kind]


def words_of(overrides):
    return ["tools/run_net.py", "--cfg", CFG, *overrides]


def same_weights(first, second):
    return all(torch.equal(value, second["model_state"][name]) for name, value in first["model_state"].items())


def final(folder):
    return load_checkpoint(str(max(Path(folder, "checkpoints").glob("checkpoint_epoch_*"))))


def wait_for_steps(folder, number, process, errors, timeout=60):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and process.poll() is None:
        if Path(folder, "log.jsonl").exists() and len(records_of(folder)) >= number:
            return
        time.sleep(0.02)
    raise AssertionError(f"no {number} steps; status {process.poll()}: {errors.read_text()[-4000:]}")


@pytest.mark.slow
def test_two_processes_train_as_one_and_another_number_goes_on(tiny_overrides, tmp_path):
    """The first steps by two processes, the last ones by one: the losses of one process that does all."""
    common = {**CALM, "BN__NORM_TYPE": "sync_batchnorm", "SOLVER__MAX_EPOCH": 2, "TRAIN__EVAL_PERIOD": 1}
    whole = make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path / "whole"), **common))
    run_train(whole)
    output = tmp_path / "halves"
    halves = tiny_overrides(OUTPUT_DIR=str(output), TRAIN__CHECKPOINT_STEPS=1, TRAIN__CHECKPOINTS_KEPT=9, **common)
    run_script(words_of(halves), tmp_path, num_processes=2)
    expected, found = records_of(whole.OUTPUT_DIR), records_of(output)
    assert [record["step"] for record in found] == list(range(1, 9))
    for one, two in zip(expected, found, strict=True):
        assert two["losses"] == pytest.approx(one["losses"], rel=1e-3, abs=1e-6)
        assert two["top1"] == one["top1"]
    assert [set(record) for record in records_of(output, "validation")] == [
        set(record) for record in records_of(whole.OUTPUT_DIR, "validation")
    ]
    with open(output / "log.jsonl") as file:
        assert all(record["kind"] != "train" or record["clips_per_second"] > 0 for record in map(json.loads, file))

    for path in (output / "checkpoints").iterdir():
        if "step_00000005" not in path.name:
            path.unlink()
    os.remove(output / "log.jsonl")
    run_train(make_cfg(halves))
    (resumed,) = records_of(output, "resumed")
    assert resumed["step"] == 5
    for one, two in zip(expected[5:], records_of(output), strict=True):
        assert two["losses"] == pytest.approx(one["losses"], rel=1e-3, abs=1e-6)
    log = (output / "log.txt").read_text()
    assert "the checkpoint is of 2 processes, here are 1: every step has the clips that it would have had" in log
    assert "2 processes started by torchrun" in log


@pytest.mark.slow
def test_processes_with_bad_videos_and_dropout_go_on_as_if_not_interrupted(tiny_overrides, tiny_data, tmp_path):
    """Two processes, each with bad videos of its own, asked to leave by SIGTERM in the middle of an epoch."""
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    for index in (3, 8):
        (data / f"train_{index}.mp4").write_bytes(b"not a video")
    common = {
        "DATA__PATH_TO_DATA_DIR": str(data),
        "DATA__MAX_BAD_FRACTION": 0.3,
        "MODEL__DROPOUT_RATE": 0.5,
        "SOLVER__MAX_EPOCH": 4,
        "SOLVER__EMA_DECAY": 0.9,
        "TEST__ENABLE": False,
    }
    run_script(words_of(tiny_overrides(OUTPUT_DIR=str(tmp_path / "whole"), **common)), tmp_path, num_processes=2)
    output = tmp_path / "output"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    errors = tmp_path / "torchrun.txt"
    with (
        open(errors, "w") as file,
        subprocess.Popen(
            [*torchrun, *map(str, words_of(tiny_overrides(**common)))],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=file,
        ) as process,
    ):
        try:
            wait_for_steps(output, 6, process, errors)
            process.send_signal(signal.SIGTERM)  # torchrun passes it on
            process.wait(timeout=120)
        finally:
            process.kill()
    left = final_step(output)
    assert left == len(records_of(output)) < 16  # the step was finished and written down
    run_script(words_of(tiny_overrides(**common)), tmp_path, num_processes=2)
    (resumed,) = records_of(output, "resumed")
    assert resumed["step"] == left
    expected, found = final(tmp_path / "whole"), final(output)
    assert same_weights(expected, found)
    assert [each["position"] for each in found["processes"]] == [each["position"] for each in expected["processes"]]
    assert same_weights(expected["averaged"], found["averaged"])
    assert [record["losses"] for record in records_of(output)] == [
        record["losses"] for record in records_of(tmp_path / "whole")
    ]
    bad = (output / "bad_videos.csv").read_text()
    assert bad.count("train_3.mp4: cannot be decoded") == bad.count("train_8.mp4: cannot be decoded") == 1
    assert records_of(output, "trained")[-1]["bad"] == 2


def final_step(folder):
    names = [path.name for path in Path(folder, "checkpoints").glob("checkpoint_*")]
    return max(int(name.split("_step_")[-1].split("step_")[-1].removesuffix(".pyth")) for name in names)


@pytest.mark.slow
def test_killed_at_random_steps_it_ends_where_the_uninterrupted_run_does(tiny_overrides, tmp_path):
    """SIGKILL, twice; every file that is there can be read. benchmarks/killed_runs.py does it ten times."""
    common = {"MODEL__DROPOUT_RATE": 0.5, "SOLVER__MAX_EPOCH": 9, "TEST__ENABLE": False, "TRAIN__CHECKPOINT_STEPS": 3}
    whole = make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path / "whole"), **common))
    expected = load_checkpoint(run_train(whole))
    output, rng = tmp_path / "output", random.Random(0)
    for _ in range(2):
        done = len(records_of(output)) if (output / "log.jsonl").exists() else 0
        process = Script(words_of(tiny_overrides(**common)), tmp_path)
        wait_for_steps(output, done + rng.randint(3, 10), process, process.errors)
        process.send_signal(signal.SIGKILL)
        assert process.finish()[0] == -signal.SIGKILL
        for path in (output / "checkpoints").glob("*.pyth"):
            load_checkpoint(str(path))
    run_train(make_cfg(tiny_overrides(**common)))
    assert len(records_of(output, "resumed")) == 2
    assert same_weights(expected, final(output))


def test_a_signal_leaves_status_75_and_the_command_goes_on(tiny_overrides, tmp_path):
    overrides = tiny_overrides(SOLVER__MAX_EPOCH=50, TRAIN__CHECKPOINT_SECONDS=0, TEST__ENABLE=False)
    process = Script(words_of(overrides), tmp_path)
    wait_for_steps(tmp_path / "output", 5, process, process.errors)
    process.send_signal(signal.SIGUSR2)
    wait_for_steps(tmp_path / "output", len(records_of(tmp_path / "output")) + 2, process, process.errors)  # it goes on
    process.send_signal(signal.SIGUSR1)
    status, errors = process.finish()
    assert status == 75, errors[-4000:]
    assert re.search(r'Current thread .*\n(  File .*\n)*  File "tools/run_net.py", line', errors)
    assert "stopped by SIGUSR1 after step" in errors
    steps = len(records_of(tmp_path / "output"))
    assert final_step(tmp_path / "output") == steps < 200


def test_a_damaged_checkpoint_is_passed_over(tiny_overrides, tmp_path):
    common = {"SOLVER__MAX_EPOCH": 2, "TRAIN__CHECKPOINT_STEPS": 2}
    whole = make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path / "whole"), **common))
    expected = load_checkpoint(run_train(whole))
    cfg = make_cfg(tiny_overrides(**common))
    newest = run_train(cfg)
    with open(newest, "r+b") as file:
        file.truncate(5000)
    run_train(cfg)
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert f"refused: {newest}: cannot be read as a checkpoint, it may be truncated or damaged" in log
    assert "using the one before: " in log
    assert records_of(cfg.OUTPUT_DIR, "resumed")[0]["step"] == 6
    assert same_weights(expected, load_checkpoint(newest))


def test_what_changed_in_the_config_is_said(tiny_overrides):
    run_train(make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=1)))
    cfg = make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=2, SOLVER__MOMENTUM=0.8, LOG_PERIOD=2))
    run_train(cfg)
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert "another one than the checkpoint's: SOLVER.MAX_EPOCH: 1 -> 2; SOLVER.MOMENTUM: 0.9 -> 0.8\n" in log


def test_the_best_checkpoint_is_kept(tiny_overrides, monkeypatch):
    top1 = iter([50.0, 50.0, 90.0, 70.0, 20.0, 20.0])

    def fake(self, model, configs, loader, split, num_views):
        accuracies = {config: Accuracy(next(top1), 100.0, 6, 0.0, 0.0) for config in configs}
        return Evaluation(accuracies, {}, torch.zeros(6), torch.arange(6))

    monkeypatch.setattr("mutualnet3d.runner.session.Session.evaluate", fake)
    cfg = make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=3, TRAIN__EVAL_PERIOD=1, TRAIN__CHECKPOINTS_KEPT=1))
    run_train(cfg)
    best = load_checkpoint(os.path.join(cfg.OUTPUT_DIR, "checkpoints", "best.pyth"))
    assert best["step"] == 8
    assert best["validation"] == {"best": 80.0, "best_step": 8}
    assert len(os.listdir(os.path.join(cfg.OUTPUT_DIR, "checkpoints"))) == 2


@pytest.mark.parametrize("kind", ["bf16", "fp16"])
def test_mixed_precision_trains_near_full_precision(tiny_overrides, tmp_path, kind):
    common = {**CALM, "SOLVER__MAX_EPOCH": 2}
    plain = make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path / "plain"), **common))
    run_train(plain)
    mixed = make_cfg(tiny_overrides(TRAIN__MIXED_PRECISION=True, TRAIN__MIXED_PRECISION_TYPE=kind, **common))
    # By torch's own kernels: with oneDNN's a first step gave, once in some dozen runs, gradients that are no numbers.
    with torch.backends.mkldnn.flags(enabled=False):
        content = load_checkpoint(run_train(mixed))
    assert (content["scaler_state"] is not None) is (kind == "fp16")
    assert all(value.dtype in (torch.float32, torch.int64) for value in content["model_state"].values())
    full = "w1.0-s48-t4"
    for one, two in zip(records_of(plain.OUTPUT_DIR), records_of(mixed.OUTPUT_DIR), strict=True):
        assert two["losses"][full] == pytest.approx(one["losses"][full], rel=0.05)
    assert records_of(mixed.OUTPUT_DIR)[0]["losses"] != records_of(plain.OUTPUT_DIR)[0]["losses"]


def test_parts_clipping_averages_and_scaled_rates_train_and_test(tiny_overrides):
    cfg = make_cfg(
        tiny_overrides(
            TRAIN__ACCUMULATION_STEPS=2,
            SOLVER__CLIP_GRAD_L2NORM=1.0,
            SOLVER__EMA_DECAY=0.5,
            SOLVER__LR_BATCH_SIZE=8,
            MUTUAL__TEACHER="ema",
            TEST__USE_EMA=True,
            TENSORBOARD__ENABLE=True,
            PROFILE_STEPS=1,
        )
    )
    content = load_checkpoint(run_train(cfg))
    assert records_of(cfg.OUTPUT_DIR)[0]["lr"] == pytest.approx(cfg.SOLVER.BASE_LR / 2)
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert "learning rates are multiplied by 0.5: TRAIN.BATCH_SIZE 4 over SOLVER.LR_BATCH_SIZE 8; the peak is" in log
    assert "the training took" in log
    assert "profiled steps 4 to 4" in log
    table = run_test(cfg)
    assert len(table.rows) == 4
    calibrated = load_checkpoint(os.path.join(cfg.OUTPUT_DIR, "calibrated.pyth"))["model_state"]
    name = "blocks.1.res_blocks.0.branch2.conv_a.weight"
    assert torch.equal(calibrated[name], content["averaged"]["model_state"][name])
    assert not torch.equal(calibrated[name], content["model_state"][name])

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(os.path.join(cfg.OUTPUT_DIR, "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {f"train/losses/{place}" for place in ("full", "narrowest", "random_1", "random_2")} <= tags
    losses = [record["losses"]["w1.0-s32-t4"] for record in records_of(cfg.OUTPUT_DIR)]
    assert [event.value for event in events.Scalars("train/losses/full")] == pytest.approx(losses, rel=1e-6)
    assert [event.step for event in events.Scalars("train/lr")] == list(range(1, 9))


def test_the_averaged_teacher_is_another_one(tiny_overrides, tmp_path):
    """From the second step on the averaged weights lag behind; the first step's teacher is the same."""
    losses = []
    for teacher in ("full", "ema"):
        folder = str(tmp_path / teacher)
        cfg = make_cfg(
            tiny_overrides(SOLVER__EMA_DECAY=0.99, MUTUAL__TEACHER=teacher, OUTPUT_DIR=folder, SOLVER__MAX_EPOCH=1)
        )
        run_train(cfg)
        losses.append([record["losses"] for record in records_of(folder)])
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-5)
    narrow = [key for key in losses[0][2] if key.startswith("w0.5-")]
    assert losses[0][2][narrow[0]] != pytest.approx(losses[1][2][narrow[0]], rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"MUTUAL__TEACHER": "ema"},
            r"MUTUAL\.TEACHER is 'ema'; it must be 'full' unless SOLVER\.EMA_DECAY is above 0",
        ),
        ({"TEST__USE_EMA": True}, r"TEST\.USE_EMA is True; it must be False unless SOLVER\.EMA_DECAY"),
        ({"SOLVER__EMA_DECAY": 1.0}, r"SOLVER\.EMA_DECAY is 1\.0; it must be in \[0, 1\)"),
        ({"TRAIN__MIXED_PRECISION_TYPE": "fp8"}, "it must be 'fp16' or 'bf16'"),
        ({"SOLVER__CLIP_GRAD_L2NORM": -1.0}, "CLIP_GRAD_L2NORM is -1.0; it must be at least 0, or PySlowFast's None"),
        ({"TRAIN__ACCUMULATION_STEPS": 0}, r"TRAIN\.ACCUMULATION_STEPS is 0; it must be at least 1"),
    ],
)
def test_settings_that_no_run_can_have(tiny_overrides, settings, message):
    with pytest.raises(ValueError, match=message):
        make_cfg(tiny_overrides(**settings))


def test_a_batch_that_does_not_divide(tiny_overrides):
    with pytest.raises(ValueError, match=r"TRAIN\.BATCH_SIZE is 4, .* a multiple of 3: 1 processes with TRAIN\.ACCUM"):
        run_train(make_cfg(tiny_overrides(TRAIN__ACCUMULATION_STEPS=3)))


def test_a_training_goes_on_where_its_data_was_moved(tiny_overrides, tiny_data, tmp_path):
    run_train(make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=1)))
    shutil.copytree(tiny_data, tmp_path / "faster_disk")
    moved = {"DATA__PATH_TO_DATA_DIR": str(tmp_path / "faster_disk")}
    cfg = make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=2, **moved))
    run_train(cfg)
    assert records_of(cfg.OUTPUT_DIR, "resumed")[0]["step"] == 4
    lines = (tmp_path / "faster_disk" / "train.csv").read_text().splitlines()
    (tmp_path / "faster_disk" / "train.csv").write_text("\n".join(lines[::-1]) + "\n")
    with pytest.raises(
        ValueError, match=r"written with videos \w+, this run has \w+; resume with the same training list"
    ):
        run_train(make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=3, **moved)))


@pytest.mark.slow
def test_three_processes_test_as_one_does(tiny_overrides, tiny_data, tmp_path):
    """To the last digit, of 5 videos with 3 views each, two of them left out as broken; 3 batches of calibration, one
    with a broken clip. Nothing of it divides by three."""
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    lines = (data / "test.csv").read_text().splitlines()
    (data / "test.csv").write_text("\n".join([*lines[:5], "broken.mp4 0", "broken2.mp4 1"]) + "\n")
    for name in ("broken.mp4", "broken2.mp4", "train_3.mp4"):
        (data / name).write_bytes(b"not a video")
    settings = {
        "DATA__PATH_TO_DATA_DIR": str(data),
        "DATA__MAX_BAD_FRACTION": 0.3,
        "BN__NUM_BATCHES_PRECISE": 3,
        "BN__USE_PRECISE_STATS": True,
        "TEST__NUM_ENSEMBLE_VIEWS": 3,
        "SOLVER__MAX_EPOCH": 1,  # so that some are right and some are wrong
    }
    cfg = make_cfg(tiny_overrides(**settings))
    run_train(cfg)
    folders = {}
    for world_size in (1, 3):
        folders[world_size] = str(tmp_path / f"by_{world_size}")
        newest = {"TEST__CHECKPOINT_FILE_PATH": CheckpointFolder(cfg.OUTPUT_DIR).newest(), "TRAIN__ENABLE": False}
        overrides = tiny_overrides(**settings, **newest, OUTPUT_DIR=folders[world_size])
        run_test(make_cfg(overrides)) if world_size == 1 else run_script(words_of(overrides), tmp_path, world_size)
    tables = {world_size: m3.QueryTable.load(f"{folder}/query_table.json") for world_size, folder in folders.items()}
    for one, three in zip(tables[1].rows, tables[3].rows, strict=True):
        assert replace(three, milliseconds=one.milliseconds) == one
    counted = ("num_videos", "num_found", "num_listed")
    assert [tables[3].context[key] for key in counted] == [tables[1].context[key] for key in counted] == [5, 7, 7]
    ones, threes = (load_checkpoint(f"{folder}/calibrated.pyth")["statistics"] for folder in folders.values())
    for key, of_norm in ones.items():
        for name, (mean, variance) in of_norm.items():
            torch.testing.assert_close(threes[key][name][0], mean, rtol=1e-6, atol=1e-7)
            torch.testing.assert_close(threes[key][name][1], variance, rtol=1e-6, atol=1e-7)
    bad = [Path(folder, "bad_videos.csv").read_text().count(".mp4,") for folder in folders.values()]
    assert bad == [3, 3]


def test_testing_averages_that_are_not_there(tiny_overrides):
    run_train(make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=1)))
    with pytest.raises(ValueError, match=r"\.pyth: has no averaged weights; those are of trainings with SOLVER\.EMA"):
        run_test(make_cfg(tiny_overrides(TEST__USE_EMA=True, TRAIN__ENABLE=False)))


def test_without_tensorboard_there_is_a_word(tiny_overrides, monkeypatch, run_tool):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    status, _, errors = run_tool("tools/run_net.py", "--cfg", CFG, *tiny_overrides(TENSORBOARD__ENABLE=True))
    assert status == 2
    assert "TENSORBOARD.ENABLE needs tensorboard: pip install 'mutualnet3d[tensorboard]'" in errors

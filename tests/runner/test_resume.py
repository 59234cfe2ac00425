"""Trainings that were interrupted, killed or moved, and go on."""

from __future__ import annotations

import random
import re
import shutil
import signal
import tarfile
from pathlib import Path

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.data.loader import TrainLoader
from mutualnet3d.data.outage import DataAway
from mutualnet3d.engine.checkpoint import load_checkpoint, save_checkpoint
from mutualnet3d.runner import train as run_train
from tests.copies import Script, run_script
from tests.runner.runs import (
    ROOT,
    make_cfg,
    newest_of_epochs,
    newest_step,
    records_of,
    same_weights,
    wait_for_steps,
    words_of,
)

OLD_FILES = ROOT / "tests" / "old_files" / "format_1.tar.xz"


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
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
    assert records_of(halves.OUTPUT_DIR, "resumed")[0]["step"] == 6
    assert resumed["step"] == expected["step"] == 12
    for name, value in expected["model_state"].items():
        assert torch.equal(value, resumed["model_state"][name]), name
    assert same_momenta(expected, resumed)


def _stop_at(step):
    def after_step(self, loop):
        if loop.step == step:
            raise KeyboardInterrupt

    return after_step


STAGED = {
    "MUTUAL__START": 0.5,
    "MUTUAL__SORT_CHANNELS": True,
    "MUTUAL__LABEL_WEIGHT": 0.5,
    "MUTUAL__SUBNET_DROPOUT": False,
    "MODEL__DROPOUT_RATE": 0.5,
    "SOLVER__EMA_DECAY": 0.9,
    "SOLVER__MAX_EPOCH": 3,
}


def same_momenta(expected, content):
    states = [part["optimizer_state"]["state"] for part in (expected, content)]
    pairs = [(value, states[1][index][kind]) for index, state in states[0].items() for kind, value in state.items()]
    return len(pairs) > 20 and all(torch.equal(*pair) for pair in pairs)


def same_training(expected, content):
    return (
        same_weights(expected, content)
        and same_weights(expected["averaged"], content["averaged"])
        and same_momenta(expected, content)
    )


@pytest.mark.slow
@pytest.mark.parametrize("way", ["step", "waiting"])
def test_a_staged_training_resumes_at_every_step_around_the_switch(tiny_overrides, tmp_path, monkeypatch, way):
    """Sub-networks join, with sorted channels, at step 6 of 12: stopped in the steps around it, or while one
    waits for its clips, the run ends with the bits of an uninterrupted one."""
    whole = make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path / "whole"), **STAGED))
    expected = load_checkpoint(run_train(whole))
    halves = make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path / "halves"), TRAIN__CHECKPOINT_STEPS=1, **STAGED))
    steps = range(5, 8) if way == "step" else range(4, 9)
    for step in steps:
        with monkeypatch.context() as patch:
            if way == "step":
                patch.setattr("mutualnet3d.engine.train_log.TrainLog.after_step", _stop_at(step))
            else:
                patch.setattr("mutualnet3d.data.loader.TrainLoader.__iter__", _away_from(step))
            with pytest.raises(KeyboardInterrupt if way == "step" else DataAway):
                run_train(halves)
        torch.rand(5)  # another process would not have the generator where it was
    resumed = load_checkpoint(run_train(halves))
    assert [record["step"] for record in records_of(halves.OUTPUT_DIR, "resumed")] == list(steps)
    assert same_training(expected, resumed)


@pytest.mark.slow
def test_a_staged_training_of_two_processes_resumes_from_every_checkpoint_around_the_switch(tiny_overrides, tmp_path):
    whole = tmp_path / "whole"
    settings = {**STAGED, "TRAIN__CHECKPOINT_STEPS": 1, "TRAIN__CHECKPOINTS_KEPT": 20, "TEST__ENABLE": False}
    run_script(words_of(tiny_overrides(OUTPUT_DIR=str(whole), **settings)), tmp_path, num_processes=2)
    expected = newest_of_epochs(whole)
    assert expected["step"] == 12
    for step in range(4, 9):
        folder = tmp_path / f"from_{step}"
        (folder / "checkpoints").mkdir(parents=True)
        (checkpoint,) = (whole / "checkpoints").glob(f"*step_{step:08}.pyth")
        shutil.copy(checkpoint, folder / "checkpoints")
        run_script(words_of(tiny_overrides(OUTPUT_DIR=str(folder), **settings)), tmp_path, num_processes=2)
        assert [record["step"] for record in records_of(folder, "resumed")] == [step]
        assert same_training(expected, newest_of_epochs(folder))


@pytest.mark.slow
def test_fine_tuning_resumes_with_its_frozen_parts_and_rates(tiny_overrides, tmp_path, monkeypatch):
    """AdamW, a rate for each stage, frozen batch norms and a frozen stem, channels sorted at the switch: stopped around
    it, the run ends with the bits of an uninterrupted one. Another optimizer's checkpoint is refused by its key."""
    weights = run_train(make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path / "weights"), SOLVER__MAX_EPOCH=1)))
    settings = {
        **STAGED,
        "TRAIN__CHECKPOINT_FILE_PATH": weights,
        "MODEL__FROZEN_BN": True,
        "MODEL__FROZEN_STAGES": 1,
        "SOLVER__OPTIMIZING_METHOD": "adamw",
        "SOLVER__BASE_LR": 0.001,
        "SOLVER__LAYER_DECAY": 0.8,
        "SOLVER__HEAD_LR_FACTOR": 5.0,
        "TRAIN__DATASET": "Kinetics",
    }
    whole = make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path / "whole"), **settings))
    expected, start = load_checkpoint(run_train(whole)), load_checkpoint(weights)
    same = {name for name, value in start["model_state"].items() if torch.equal(value, expected["model_state"][name])}
    assert "blocks.0.conv.conv_xy.weight" not in same  # sorted: of other channels
    stem = [state["model_state"]["blocks.0.norm.running_mean"].sort().values for state in (start, expected)]
    assert torch.equal(*stem)
    halves = make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path / "halves"), TRAIN__CHECKPOINT_STEPS=1, **settings))
    for step in (5, 7):
        with monkeypatch.context() as patch:
            patch.setattr("mutualnet3d.engine.train_log.TrainLog.after_step", _stop_at(step))
            with pytest.raises(KeyboardInterrupt):
                run_train(halves)
    assert same_training(expected, load_checkpoint(run_train(halves)))
    for key, value, text in (
        ("SOLVER__OPTIMIZING_METHOD", "sgd", "adamw in the checkpoint, sgd in the config"),
        ("MODEL__FROZEN_STAGES", 0, "1 in the checkpoint, 0 in the config"),
    ):
        other = make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path / "halves"), **{**settings, key: value}))
        with pytest.raises(ValueError, match=rf"optimizer_state .*{key.replace('__', '.')} {text}"):
            run_train(other)


def _away_from(step):
    """Return an iteration over batches that ends before the batch of `step`, as it does when the disk goes away."""
    batches = TrainLoader.__iter__

    def iterate(self):
        for number, batch in enumerate(batches(self), start=self.batch_sampler.next_step):
            if number == step:
                raise DataAway("the disk of the videos is away")
            yield batch

    return iterate


def test_resume_is_refused_where_it_would_not_be_one(tiny_overrides):
    run_train(make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=1)))
    with pytest.raises(ValueError, match=r"written with steps per epoch 4, this run has 2; resume with the same"):
        run_train(make_cfg(tiny_overrides(TRAIN__BATCH_SIZE=8)))
    with pytest.raises(ValueError, match=r"TRAIN\.AUTO_RESUME is False"):
        run_train(make_cfg(tiny_overrides(TRAIN__AUTO_RESUME=False)))
    keys = r"X3D\.DIM_C5 32 in the checkpoint, 48 in the config \(blocks"
    with pytest.raises(ValueError, match=rf"step_00000004\.pyth: the checkpoint is of another model: {keys}"):
        run_train(make_cfg(tiny_overrides(X3D__DIM_C5=48)))
    for path in Path(make_cfg(tiny_overrides()).OUTPUT_DIR, "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"step_00000004\.pyth: cannot be read as a checkpoint, it may be truncated"):
        run_train(make_cfg(tiny_overrides()))


@pytest.mark.slow
def test_killed_at_random_steps_it_ends_where_the_uninterrupted_run_does(tiny_overrides, tmp_path):
    """SIGKILL, twice; every file that is there can be read. benchmarks/killed_runs.py does it ten times."""
    periods = {"TRAIN__CHECKPOINT_STEPS": 3, "TRAIN__CHECKPOINT_SECONDS": 0.05}
    common = {"MODEL__DROPOUT_RATE": 0.5, "SOLVER__MAX_EPOCH": 9, "TEST__ENABLE": False, **periods}
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
    first, second = (record["step"] for record in records_of(output, "resumed"))
    assert 0 < first <= second < 36
    assert same_weights(expected, newest_of_epochs(output))


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
    assert newest_step(tmp_path / "output") == steps < 200


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


@pytest.mark.parametrize(
    "name",
    ["videos", *(pytest.param(name, marks=pytest.mark.slow) for name in ("optimizer_state", "validation", "cfg"))],
)
def test_a_checkpoint_without_a_part_is_passed_over(tiny_overrides, name):
    cfg = make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=1, TRAIN__CHECKPOINT_STEPS=2))
    newest = run_train(cfg)
    save_checkpoint(newest, {key: value for key, value in load_checkpoint(newest).items() if key != name})
    run_train(cfg)
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert re.search(rf"refused: {newest}: not a checkpoint of a training; it has .*, and not {name}\n", log)
    assert "using the one before: " in log


def test_what_changed_in_the_config_is_said(tiny_overrides):
    run_train(make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=1)))
    cfg = make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=2, SOLVER__MOMENTUM=0.8, LOG_PERIOD=2))
    run_train(cfg)
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert "another one than the checkpoint's: SOLVER.MAX_EPOCH: 1 -> 2; SOLVER.MOMENTUM: 0.9 -> 0.8\n" in log


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


def test_a_checkpoint_of_the_release_before_goes_on(tiny_data, tmp_path):
    """Weights, momentum, averages and random numbers of a file that was written in format 1."""
    with tarfile.open(OLD_FILES) as archive:
        archive.extractall(tmp_path, filter="data")
    words = ["DATA.PATH_TO_DATA_DIR", tiny_data, "OUTPUT_DIR", tmp_path / "run", "SOLVER.MAX_EPOCH", 2]
    cfg = m3.load_cfg(str(tmp_path / "run" / "config.yaml"), list(map(str, words)))
    (path,) = (tmp_path / "run" / "checkpoints").iterdir()
    old = load_checkpoint(str(path))
    content = load_checkpoint(run_train(cfg))
    (resumed,) = records_of(cfg.OUTPUT_DIR, "resumed")
    assert (resumed["step"], content["step"]) == (4, 8)
    assert content["averaged"]["num_steps"] == old["averaged"]["num_steps"] + 4 == 8
    assert content.keys() == old.keys()
    assert content["processes"][0]["position"] == old["processes"][0]["position"] + 16
    assert "the config is another one than the checkpoint's: " in Path(cfg.OUTPUT_DIR, "log.txt").read_text()

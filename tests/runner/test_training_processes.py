"""Whole trainings and tests in several processes, against those of one; seconds each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.engine.checkpoint_folder import CheckpointFolder
from mutualnet3d.models import read_model_file
from mutualnet3d.runner import test as run_test
from mutualnet3d.runner import train as run_train
from tests.copies import run_script
from tests.runner.runs import (
    CALM,
    ROOT,
    make_cfg,
    newest_of_epochs,
    newest_step,
    records_of,
    same_weights,
    wait_for_steps,
    words_of,
)


@pytest.mark.slow
def test_two_processes_train_as_one_and_another_number_goes_on(tiny_overrides, tmp_path):
    """The first steps by two processes, the last ones by one: the losses of one process that does all."""
    common = {**CALM, "BN__NORM_TYPE": "sync_batchnorm", "SOLVER__MAX_EPOCH": 2, "TRAIN__EVAL_PERIOD": 1}
    whole = make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path / "whole"), **common))
    run_train(whole)
    output = tmp_path / "halves"
    halves = tiny_overrides(OUTPUT_DIR=str(output), TRAIN__CHECKPOINT_STEPS=1, TRAIN__CHECKPOINTS_KEPT=9, **common)
    run_script(words_of(halves), tmp_path, num_processes=2)
    expected, records = records_of(whole.OUTPUT_DIR), records_of(output)
    assert [record["step"] for record in records] == list(range(1, 9))
    for single, record in zip(expected, records, strict=True):
        assert record["losses"] == pytest.approx(single["losses"], rel=1e-3, abs=1e-6)
        assert record["top1"] == single["top1"]
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
    for single, record in zip(expected[5:], records_of(output), strict=True):
        assert record["losses"] == pytest.approx(single["losses"], rel=1e-3, abs=1e-6)
    log = (output / "log.txt").read_text()
    assert "the checkpoint is of 2 processes, here are 1: every step has the clips that it would have had" in log
    assert "2 processes started by torchrun" in log


@pytest.mark.slow
def test_two_processes_fine_tune_as_one(tiny_overrides, tmp_path):
    """AdamW with a rate for each stage, frozen batch norms and stem, clips of all classes equally often."""
    start = tiny_overrides(OUTPUT_DIR=str(tmp_path / "weights"), **{**CALM, "SOLVER__MAX_EPOCH": 1})
    settings = {
        **CALM,
        "TRAIN__CHECKPOINT_FILE_PATH": run_train(make_cfg(start)),
        "TRAIN__CLASS_BALANCE": "sampler",
        "BN__NORM_TYPE": "sync_batchnorm",
        "MODEL__FROZEN_BN": True,
        "MODEL__FROZEN_STAGES": 1,
        "SOLVER__OPTIMIZING_METHOD": "adamw",
        "SOLVER__BASE_LR": 0.0002,
        "SOLVER__LAYER_DECAY": 0.8,
        "SOLVER__MAX_EPOCH": 1,
    }
    whole = make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path / "whole"), **settings))
    run_train(whole)
    halves = tmp_path / "halves"
    run_script(words_of(tiny_overrides(OUTPUT_DIR=str(halves), **settings)), tmp_path, num_processes=2)
    expected, records = records_of(whole.OUTPUT_DIR), records_of(halves)
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    for single, record in zip(expected, records, strict=True):
        assert record["losses"] == pytest.approx(single["losses"], rel=1e-3, abs=1e-5)


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
    left = newest_step(output)
    assert left == len(records_of(output)) < 16  # the step was finished and written down
    run_script(words_of(tiny_overrides(**common)), tmp_path, num_processes=2)
    (resumed,) = records_of(output, "resumed")
    assert resumed["step"] == left
    expected, content = newest_of_epochs(tmp_path / "whole"), newest_of_epochs(output)
    assert same_weights(expected, content)
    positions, expected_positions = (
        [process["position"] for process in checkpoint["processes"]] for checkpoint in (content, expected)
    )
    assert positions == expected_positions
    assert same_weights(expected["averaged"], content["averaged"])
    assert [record["losses"] for record in records_of(output)] == [
        record["losses"] for record in records_of(tmp_path / "whole")
    ]
    bad = (output / "bad_videos.csv").read_text()
    assert bad.count("train_3.mp4: cannot be decoded") == bad.count("train_8.mp4: cannot be decoded") == 1
    assert records_of(output, "trained")[-1]["bad"] == 2


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
    for expected, row in zip(tables[1].rows, tables[3].rows, strict=True):
        times = {name: getattr(expected, name) for name in ("milliseconds", "pass_milliseconds")}
        assert replace(row, **times) == expected
    counted = ("num_videos", "num_found", "num_listed")
    assert [tables[3].context[key] for key in counted] == [tables[1].context[key] for key in counted] == [5, 7, 7]
    networks = [read_model_file(f"{folder}/calibrated.pyth").network for folder in folders.values()]
    ones, threes = (network.statistics["statistics"] for network in networks)
    for key, of_norm in ones.items():
        for name, (mean, variance) in of_norm.items():
            torch.testing.assert_close(threes[key][name][0], mean, rtol=1e-6, atol=1e-7)
            torch.testing.assert_close(threes[key][name][1], variance, rtol=1e-6, atol=1e-7)
    bad = [Path(folder, "bad_videos.csv").read_text().count(".mp4,") for folder in folders.values()]
    assert bad == [3, 3]

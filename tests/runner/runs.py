"""Helpers of tests of whole runs: a small config, records, checkpoints."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch

import mutualnet3d as m3
from mutualnet3d.engine.checkpoint import load_checkpoint

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


def words_of(overrides):
    """Return the words of a training's command line."""
    return ["tools/run_net.py", "--cfg", CFG, *overrides]


def records_of(folder, kind="train"):
    with open(Path(folder, "log.jsonl")) as file:
        return [record for record in map(json.loads, file) if record["kind"] == kind]


def same_weights(first, second):
    return all(torch.equal(value, second["model_state"][name]) for name, value in first["model_state"].items())


def newest_of_epochs(folder):
    """Return the content of the newest checkpoint of an epoch."""
    return load_checkpoint(str(max(Path(folder, "checkpoints").glob("checkpoint_epoch_*"))))


def newest_step(folder):
    names = [path.name for path in Path(folder, "checkpoints").glob("checkpoint_*")]
    return max(int(name.split("step_")[-1].removesuffix(".pyth")) for name in names)


def wait_for_steps(folder, number, process, errors, timeout=60):
    """Wait until a process of a training, still running, has written so many records."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and process.poll() is None:
        if Path(folder, "log.jsonl").exists() and len(records_of(folder)) >= number:
            return
        time.sleep(0.02)
    raise AssertionError(f"no {number} steps; status {process.poll()}: {errors.read_text()[-4000:]}")

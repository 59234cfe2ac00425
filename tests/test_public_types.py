"""A user's program against the public API, as mypy sees it: the names have types, in spite of their late import."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PROGRAM = '''\
"""Train, tabulate and predict, as a user would write it."""

from collections.abc import Sequence

import torch

import mutualnet3d as m3
from mutualnet3d.mutual import calibrate, mutual_step


def clips(clip_BCTHW: torch.Tensor, config: m3.SubnetConfig) -> list[torch.Tensor]:
    return [clip_BCTHW[:, :, : config.frames, : config.size, : config.size]]


def train(batches: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> m3.models.SlimmableNet:
    model = m3.create_model("x3d_xs", num_classes=2)
    space = m3.SubnetSpace(width_range=(0.5, 1.0), sizes=(160, 128), frames=(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for step, (clip_BCTHW, label_B) in enumerate(batches):
        full, *subnets = space.at_step(seed=0, step=step)
        mutual_step(model, lambda config: clips(clip_BCTHW, config), label_B, full, subnets)
        optimizer.step()
    calibrate(model, space.grid(widths=(1.0, 0.5)), [clip for clip, _ in batches], prepare=clips)
    return model


def cost(model: m3.models.SlimmableNet, config: m3.SubnetConfig) -> float:
    with model.active(config):
        return m3.multiply_adds(model, config) / 1e9


def cheapest(path: str) -> m3.SubnetConfig:
    row = m3.QueryTable.load(path).best(gflops=1.0)
    return row.config


def names(path: str, video: str) -> list[str]:
    result = m3.Predictor.load(path).predict(video, gflops=1.0)
    return [label.name for label in result.labels if label.score > 0.1]
'''
MISTAKES = """\
import mutualnet3d as m3

m3.SubnetConfig(width="wide", size=160, frames=4)
m3.QueryTable.load("table.json").best(gflop=1.0)
number: int = m3.list_models()
m3.Predictor.load("model.pyth").predict("video.mp4").label
"""


@pytest.mark.slow
def test_mypy_takes_a_users_program_and_sees_its_mistakes(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed (extra [dev])")
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    # The options of `make lint`, whose cache it shares.
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--no-error-summary"]
    done = subprocess.run(
        [*command, str(tmp_path / "program.py"), str(tmp_path / "mistakes.py")],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    errors = re.findall(r"(\w+)\.py:(\d+): error: .*\[([a-z-]+)\]$", done.stdout, flags=re.MULTILINE)
    assert errors == [
        ("mistakes", "3", "arg-type"),
        ("mistakes", "4", "call-arg"),
        ("mistakes", "5", "assignment"),
        ("mistakes", "6", "attr-defined"),
    ], done.stdout + done.stderr

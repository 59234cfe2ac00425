"""Multiply-adds against the paper's figures and against a closed form of our own."""

from __future__ import annotations

import json
from math import ceil

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.models import count_parameters
from mutualnet3d.shapes import SubnetConfig
from tests.conftest import SHARED

PAPER = SHARED / "paper" / "kinetics_tradeoff.json"


@pytest.fixture(scope="module")
def x3d_m():
    return m3.create_model("x3d_m")


def rounded(width: float, full: int) -> int:
    if width == 1:
        return full
    kept = max(8, round(width * full / 8) * 8)
    return min(kept + 8 * (kept < 0.9 * width * full), full)


def x3d_by_hand(width: float, size: int, frames: int, num_classes: int = 400) -> int:
    """X3D-M's multiply-adds from its published table: stages of 3, 5, 11 and 7 blocks, squeeze-excitation in every
    other one, everything halved in space at the stem and at each stage."""
    channels = [24, 24, 48, 96, 192]
    reduced = {54: 8, 108: 8, 216: 16, 432: 32}  # a sixteenth, by X3D's own rounding
    side = ceil(size / 2)
    stem = rounded(width, 24)
    total = frames * side**2 * (3 * stem * 9 + stem * 5)
    for stage, depth in enumerate((3, 5, 11, 7), start=1):
        full_in, full_out = channels[stage - 1], channels[stage]
        inner_full = int(2.25 * full_out)
        inner, out = rounded(width, inner_full), rounded(width, full_out)
        squeezed = rounded(width, reduced[inner_full])
        for block in range(depth):
            before, side = side, ceil(side / 2) if block == 0 else side
            entering = rounded(width, full_in) if block == 0 else out
            total += frames * before**2 * entering * inner
            total += frames * side**2 * (inner * 27 + inner * out)
            total += frames * side**2 * entering * out if block == 0 else 0
            total += 2 * inner * squeezed if block % 2 == 0 else 0
    return total + frames * side**2 * out * inner + inner * 2048 + 2048 * num_classes


@pytest.mark.parametrize("key", ["w1.0-s224-t16", "w0.63-s160-t10", "w0.81-s192-t13", "w0.3-s128-t6", "w0.5-s100-t3"])
def test_multiply_adds_equal_a_closed_form(x3d_m, key):
    config = SubnetConfig.parse(key)
    assert m3.multiply_adds(x3d_m, config) == x3d_by_hand(config.width, config.size, config.frames)


@pytest.mark.skipif(not PAPER.exists(), reason=f"the paper's table is not at {PAPER}")
def test_every_x3d_row_of_the_paper_within_half_a_percent(x3d_m):
    rows = json.loads(PAPER.read_text())["x3d_m"]["rows"]
    assert len(rows) == 11
    for width, size, frames, gflops, _ in rows:
        config = SubnetConfig(width, size, frames)
        assert m3.multiply_adds(x3d_m, config) / 1e9 == pytest.approx(gflops, rel=0.005), str(config)


def test_parameters_of_the_full_network_are_all_of_them(x3d_m):
    assert count_parameters(x3d_m, x3d_m.full) == sum(parameter.numel() for parameter in x3d_m.parameters())


def test_counting_changes_nothing(x3d_m):
    before = {name: value.clone() for name, value in x3d_m.state_dict().items()}
    rng, training = torch.get_rng_state(), x3d_m.training
    m3.multiply_adds(x3d_m, SubnetConfig(0.63, 128, 6))
    assert all(torch.equal(before[name], value) for name, value in x3d_m.state_dict().items())
    assert torch.equal(rng, torch.get_rng_state())
    assert x3d_m.training == training
    assert not any(module._forward_hooks for module in x3d_m.modules())

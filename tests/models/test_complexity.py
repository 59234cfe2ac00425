"""Multiply-adds against the paper's figures and against a closed form of our own."""

from __future__ import annotations

import json
import re
from math import ceil
from pathlib import Path

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.models import count_parameters
from mutualnet3d.shapes import SubnetConfig
from tests.conftest import SHARED

PAPER = Path(m3.__file__).parent / "results" / "kinetics_tradeoff.json"


@pytest.fixture(scope="module")
def x3d_m():
    return m3.create_model("x3d_m")


def rounded(width: float, full: int) -> int:
    if width == 1:
        return full
    channels = max(8, round(width * full / 8) * 8)
    return min(channels + 8 * (channels < 0.9 * width * full), full)


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


def resnet_stages(width: float, size: int, frames: int, temporal: tuple[int, ...], laterals: bool, stem: int) -> tuple:
    """Multiply-adds of a ResNet-50 pathway without its stem's convolution and classifier, and what it ends with:
    channels, (frames, side). Stages of 3, 4, 6, 3 blocks; a block is temporal x 1 x 1, 1 x 3 x 3, 1 x 1 x 1; with
    laterals every stage's input has a quarter of its full channels more."""
    side = ceil(ceil(size / 2) / 2)
    full_in, entering, total = stem, rounded(width, stem), 0
    for stage, depth in enumerate((3, 4, 6, 3)):
        full_out = stem * 4 * 2**stage
        inner, out = rounded(width, full_out // 4), rounded(width, full_out)
        if laterals:
            entering += full_in // 4
        for block in range(depth):
            before = side
            side = ceil(side / 2) if block == 0 and stage else side
            total += frames * before**2 * entering * inner * temporal[stage]
            total += frames * side**2 * (inner * inner * 9 + inner * out)
            total += frames * side**2 * entering * out if block == 0 else 0
            entering = out
        full_in = full_out
    return total, entering


def slow_by_hand(width: float, size: int, frames: int, num_classes: int = 400) -> int:
    total, out = resnet_stages(width, size, frames, (1, 1, 3, 3), laterals=False, stem=64)
    stem = frames * ceil(size / 2) ** 2 * rounded(width, 64) * 3 * 49
    return stem + total + out * num_classes


def slowfast_by_hand(width: float, size: int, frames: int, num_classes: int = 400) -> int:
    """SlowFast-4x16: Fast has an eighth of the channels, 32 frames of 224 pixels; laterals of 5 frames, stride 8."""
    slow, slow_out = resnet_stages(width, size, frames, (1, 1, 3, 3), laterals=True, stem=64)
    fast, fast_out = resnet_stages(1.0, 224, 32, (3, 3, 3, 3), laterals=False, stem=8)
    stems = frames * ceil(size / 2) ** 2 * rounded(width, 64) * 3 * 49 + 32 * 112**2 * 8 * 3 * 5 * 49
    sides, channels = (56, 56, 28, 14), (8, 32, 64, 128)
    laterals = sum(4 * side**2 * c * 2 * c * 5 for side, c in zip(sides, channels, strict=True))
    return stems + slow + fast + laterals + (slow_out + fast_out) * num_classes


@pytest.mark.parametrize("key", ["w1.0-s224-t8", "w0.63-s144-t3", "w0.81-s182-t5", "w0.2-s100-t1"])
def test_slow_equals_a_closed_form(key):
    config = SubnetConfig.parse(key)
    with torch.device("meta"):
        model = m3.create_model("slow_8x8_r50")
    assert m3.multiply_adds(model, config) == slow_by_hand(config.width, config.size, config.frames)


@pytest.mark.parametrize("key", ["w1.0-s224-t4", "w0.63-s144-t2", "w0.81-s182-t3", "w0.2-s100-t1"])
def test_slowfast_equals_a_closed_form(key):
    config = SubnetConfig.parse(key)
    with torch.device("meta"):
        model = m3.create_model("slowfast_4x16_r50")
    assert m3.multiply_adds(model, config) == slowfast_by_hand(config.width, config.size, config.frames)


@pytest.mark.parametrize(
    ("key", "name", "count", "tolerance"),
    [
        pytest.param("x3d_m", "x3d_m", 11, 0.005, marks=pytest.mark.slow),
        ("slow_8x8", "slow_8x8_r50", 9, 0.005),
        pytest.param("slowfast_4x16", "slowfast_4x16_r50", 10, 0.01, marks=pytest.mark.slow),
    ],
)
def test_every_row_of_the_paper(key, name, count, tolerance):
    rows = json.loads(PAPER.read_text())[key]["rows"]
    assert len(rows) == count
    with torch.device("meta"):
        model = m3.create_model(name)
    for width, size, frames, gflops, _ in rows:
        config = SubnetConfig(width, size, frames)
        assert m3.multiply_adds(model, config) / 1e9 == pytest.approx(gflops, rel=tolerance), str(config)


@pytest.mark.skipif(not (SHARED / "paper").exists(), reason=f"the paper's table is not at {SHARED / 'paper'}")
def test_the_papers_table_is_the_one_that_was_given():
    results = json.loads(PAPER.read_text())
    for network in (results[name] for name in ("x3d_m", "slow_8x8", "slowfast_4x16")):
        clips, crops = map(int, re.findall(r"\d+", network["views"]))
        assert network.pop("num_views") == clips * crops  # the same, for programs
    assert results == json.loads((SHARED / "paper" / "kinetics_tradeoff.json").read_text())


def test_parameters_of_the_full_network_are_all_of_them(x3d_m):
    assert count_parameters(x3d_m, x3d_m.full) == sum(parameter.numel() for parameter in x3d_m.parameters())

"""Kernels of the output and of both gradients against torch, and what Triton compiles of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.ops.depthwise_cases import CASES, WIDE_CASES, compare, needs_triton

ROOT = Path(__file__).resolve().parents[2]


def check(comparison):
    assert max(comparison.output, comparison.input_gradient, comparison.weight_gradient) < 1e-5
    assert comparison.is_channels_last
    assert comparison.is_repeatable


@needs_triton
@pytest.mark.parametrize("name", CASES)
def test_output_and_gradients(name, monkeypatch):
    check(compare(CASES[name], monkeypatch))


# The interpreter takes up to a minute for each; a GPU has them all in `test_triton_depthwise.py`.
INTERPRETED = ("stride everywhere", "an odd width", "even kernel")


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("name", WIDE_CASES if torch.cuda.is_available() else INTERPRETED)
def test_output_and_gradients_of_wide_layers(name, monkeypatch):
    check(compare(WIDE_CASES[name], monkeypatch))


def compiled(what, folder):
    """Answer of `compiled_depthwise.py`, in a new process: in this one Triton may be loaded to interpret."""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-m", "tests.ops.compiled_depthwise", what]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@needs_triton
def test_new_sizes_compile_nothing(tmp_path):
    """X3D's three kinds of layers need three kernels each, whatever the width, the clips and their number."""
    assert compiled("kernels", tmp_path) == [3, 3, 3]


@needs_triton
@pytest.mark.slow
def test_kernels_compile_for_a_gpu_and_keep_to_its_registers(tmp_path):
    assert compiled("stack", tmp_path) == [0] * 9

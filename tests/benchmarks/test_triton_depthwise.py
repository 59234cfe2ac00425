from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ops.depthwise_cases import needs_triton

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "triton_depthwise.py"


@needs_triton
@pytest.mark.slow
def test_it_goes_through_in_the_interpreter():
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(PROGRAM), "--device", "cpu", "--tiny"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    errors = re.findall(r"^\| .+ \| float32 \| (.+) \|$", done.stdout, re.MULTILINE)
    assert len(errors) == 2
    assert all(float(error) < 1e-6 for row in errors for error in row.split(" | "))
    assert len(re.findall(r"\*\*\d+\.\d{3}\*\*", done.stdout)) == 6


@pytest.mark.slow
def test_without_a_gpu_it_says_so():
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TRITON_INTERPRET": "0"}
    command = [sys.executable, str(PROGRAM), "--device", "cpu"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1
    assert "ValueError: MODEL.TRITON is True, and " in done.stderr

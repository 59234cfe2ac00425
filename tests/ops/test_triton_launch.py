"""Direct start of compiled kernels: when it is taken, and that it hands over what Triton's own launch hands over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from mutualnet3d.ops import triton_launch
from mutualnet3d.ops.triton_launch import Kernel, Work
from tests.ops.depthwise_cases import needs_triton

ROOT = Path(__file__).resolve().parents[2]
A, B = torch.zeros(8), torch.zeros(8, dtype=torch.float64)
WORK = Work((2, 3, 1), (5, 0.5), (16, True), num_warps=8)


class StandIn:
    """Kernel, its compiled form, the driver and Triton's settings; `ways` are the launches, "own" and "direct"."""

    device, function, packed_metadata = 0, 7, "metadata"

    def __init__(self):
        self.ways, self.arguments = [], None
        self.runtime = types.SimpleNamespace(
            launch_enter_hook=types.SimpleNamespace(calls=[]), launch_exit_hook=types.SimpleNamespace(calls=[])
        )

    def __getitem__(self, grid):
        def launch(*arguments, **options):
            self.ways.append("own")
            self.arguments = (grid, arguments, options)
            return self

        return launch

    def run(self, *arguments):
        self.ways.append("direct")
        self.arguments = arguments

    def get_current_device(self):
        return self.device

    def get_current_stream(self, device):
        return 100 + device


@pytest.fixture
def stand_in(monkeypatch):
    made = StandIn()
    module = types.ModuleType("module_of_a_kernel")
    module.kernel = made
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(triton_launch, "_is_direct", lambda kernel: kernel is made)
    monkeypatch.setattr(
        triton_launch,
        "_entry",
        lambda kernel: triton_launch._Compiled(
            kernel, kernel.run, kernel.function, kernel.packed_metadata, kernel.device, kernel, kernel.runtime
        ),
    )
    made.kernel = Kernel(module.__name__, "kernel")
    return made


def test_a_kernel_that_was_compiled_is_started_directly(stand_in):
    stand_in.kernel(WORK, A, B)
    options = {"num_warps": 8, "enable_fp_fusion": True}
    assert stand_in.arguments == ((2, 3, 1), (A, B, 5, 0.5, 16, True), options)
    stand_in.kernel(WORK, A, B)
    assert stand_in.ways == ["own", "direct"]
    pointers = (A.data_ptr(), B.data_ptr())
    assert stand_in.arguments == (2, 3, 1, 100, 7, "metadata", None, None, None, *pointers, 5, 0.5, 16, True)


def test_other_sizes_start_the_same_kernel(stand_in):
    stand_in.kernel(WORK, A, B)
    stand_in.kernel(Work((9, 1, 1), (1, 0.25), (16, True), num_warps=8), B.float(), B)
    assert stand_in.ways == ["own", "direct"]
    assert stand_in.arguments[:3] == (9, 1, 1)


@pytest.mark.parametrize(
    ("work", "tensors"),
    [
        (WORK, (B, A)),
        (WORK, (A.half(), B)),
        (Work((2, 3, 1), (5, 0.5), (32, True), num_warps=8), (A, B)),
        (Work((2, 3, 1), (5, 0.5), (16, True), num_warps=4), (A, B)),
        (Work((2, 3, 1), (5, 1), (16, True), num_warps=8), (A, B)),
        (Work((2, 3, 1), (2**31, 0.5), (16, True), num_warps=8), (A, B)),
        (Work((2, 3, 1), (-(2**31), 0.5), (16, True), num_warps=8), (A, B)),
        (WORK, (A[1:], B)),
        (WORK, (A, B[1:])),
    ],
    ids=["types", "half", "constant", "warps", "whole number", "64 bits", "below", "first pointer", "second pointer"],
)
def test_what_a_kernel_is_compiled_for_is_triton_to_find(stand_in, work, tensors):
    stand_in.kernel(WORK, A, B)
    stand_in.kernel(work, *tensors)
    assert stand_in.ways == ["own", "own"]
    stand_in.kernel(WORK, A, B)
    assert stand_in.ways[-1] == "direct"


def test_pointers_of_odd_places_never_start_a_kernel_directly(stand_in):
    for _ in range(3):
        stand_in.kernel(WORK, A[1:], B)
    assert stand_in.ways == ["own"] * 3


def test_another_device_and_hooks_go_triton_s_way(stand_in):
    stand_in.kernel(WORK, A, B)
    stand_in.device = 1
    stand_in.kernel(WORK, A, B)
    stand_in.device = 0
    for hook in (stand_in.runtime.launch_enter_hook, stand_in.runtime.launch_exit_hook):
        hook.calls.append(print)
        stand_in.kernel(WORK, A, B)
        hook.calls.clear()
    stand_in.kernel(WORK, A, B)
    assert stand_in.ways == ["own", "own", "own", "own", "direct"]


def test_the_interpreter_keeps_nothing(stand_in, monkeypatch):
    monkeypatch.setattr(triton_launch, "_is_direct", lambda kernel: False)
    for _ in range(2):
        stand_in.kernel(WORK, A, B)
    assert stand_in.ways == ["own", "own"]


@pytest.mark.slow
@needs_triton
def test_a_direct_start_hands_over_what_triton_does(tmp_path):
    """All kernels of norms and of depthwise layers, compiled for an H100, by a launch that notes its arguments."""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-m", "tests.ops.compiled_launch"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    # Norms with an activation: 3 + 2; a shortcut: 3 + 2; a gate: 4 + 2; a depthwise layer: 1 + 2.
    assert answer["launches"] == 19
    assert answer["direct"] == 19
    assert answer["same"] == 19
    assert answer["direct, unaligned"] == 0

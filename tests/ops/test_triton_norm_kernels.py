from __future__ import annotations

import ast
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mutualnet3d.ops import triton_norm_launch as launch
from mutualnet3d.ops.triton_norm import ACTIVATIONS
from tests.ops.hopper import Compiled, Hopper, needs_compiler, stack_bytes

RELU, SWISH = ACTIVATIONS["relu"], ACTIVATIONS["swish"]
ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "mutualnet3d/ops/triton_norm_kernels.py"
FEATURES = {"x", "y", "grad", "shortcut", "grad_shortcut", "grad_x"}
VECTORS = {"partial", "statistics", "weight", "bias", "gate", "sums", "means", "normalised_means", "grad_means"}
VECTORS |= {"running_mean", "running_var"}


def kernels() -> dict[str, ast.FunctionDef]:
    """The kernels' definitions; helpers, which other kernels call, have names that begin with an underscore."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"}


@pytest.mark.parametrize("name", kernels())
def test_no_number_of_a_shape_is_compiled_in(name):
    """Each of them would have kernels compiled for its value 1, for multiples of 16 and for others."""
    kernel = kernels()[name]
    numbers = {
        argument.arg
        for argument in kernel.args.args
        if argument.annotation is None and argument.arg not in FEATURES | VECTORS
    }
    (decorator,) = kernel.decorator_list
    assert isinstance(decorator, ast.Call)
    (unspecialized,) = decorator.keywords
    assert unspecialized.arg == "do_not_specialize"
    assert set(ast.literal_eval(unspecialized.value)) == numbers != set()


def run_kernels(x: torch.Tensor, activation: int, follows: str = "", tracks: bool = True) -> None:
    """Launch every kernel that a norm of x needs, forward and backward."""
    channels, by_sample = x.shape[1], follows == "gate"
    layout = launch.layout_of(x, by_sample)
    accumulator = launch.accumulator(x)
    vector, pair = torch.empty(channels, dtype=accumulator), torch.empty(2, channels, dtype=accumulator)
    partial, _ = launch.statistics(x, layout, 1e-5, launch.Tracking(vector, vector, 0.1) if tracks else None)
    parameters = (pair, vector, vector)
    gate, extra = (torch.empty(len(x), channels) if by_sample else None), (x if follows == "shortcut" else None)
    if by_sample:
        launch.group_means(partial, layout, parameters)
    launch.normalized(x, layout, parameters, activation, extra, gate)
    launch.partial_gradients(x, x, layout, parameters, activation, extra, extra, gate)
    launch.input_gradient(x, x, layout, parameters, activation, pair, gate, gate)


def features(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.bfloat16).to(memory_format=torch.channels_last_3d)


@needs_compiler
def test_new_sizes_compile_nothing(monkeypatch):
    import triton
    from triton.runtime import driver

    compiled = set()

    def note(**facts):
        compiled.add((facts["fn"].name, facts["key"]))
        return True  # "compiled already": Triton goes no further

    monkeypatch.setattr(driver, "_active", Hopper())
    monkeypatch.setattr(triton.knobs.runtime, "jit_cache_hook", note)
    draw = random.Random(0)

    def run(channels: int) -> int:
        """Take clips of any shape; return the number of kernels that are new."""
        before = len(compiled)
        sizes = draw.randint(1, 16), draw.randint(1, 40), draw.randint(1, 40)
        run_kernels(features(draw.randint(1, 8), channels, *sizes), RELU)
        return len(compiled) - before

    # Statistics of chunks, their sum, output, sums of gradients, input's gradient.
    assert run(40) == 5
    assert [run(channels) for channels in (40, 48, 56, 64, 40, 64)] == [0] * 6
    assert run(72) == 4  # the next power of two: 128 columns
    assert [run(channels) for channels in (80, 96, 128, 120, 72)] == [0] * 5
    assert run(54) == 4  # rows begin at multiples of 2 channels
    assert [run(channels) for channels in (54, 50, 34, 62)] == [0] * 4
    run_kernels(features(2, 40, 3, 5, 5), RELU, "shortcut")
    run_kernels(features(2, 40, 3, 5, 5), SWISH, "gate")
    before = len(compiled)
    for follows, activation in (("shortcut", RELU), ("gate", SWISH)):
        run_kernels(features(5, 64, 1, 7, 9), activation, follows)
    assert len(compiled) == before


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("channels", [24, 54, 432])
@pytest.mark.parametrize(("follows", "activation"), [("", RELU), ("shortcut", RELU), ("gate", SWISH)])
def test_kernels_compile_for_a_gpu_and_keep_to_its_registers(channels, follows, activation, monkeypatch, tmp_path):
    from triton.runtime import driver

    from mutualnet3d.ops import triton_norm_kernels

    monkeypatch.setattr(driver, "_active", Hopper())
    stand_ins = {name: Compiled(getattr(triton_norm_kernels, name)) for name in kernels()}
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(triton_norm_kernels, name, stand_in)
    run_kernels(features(2, channels, 2, 8, 8), activation, follows)
    for name, stand_in in stand_ins.items():
        if name == "group_means" and follows != "gate":
            continue
        (kernel,) = stand_in.kernels
        assert stack_bytes(kernel, tmp_path) == 0, name
        if channels % 8 == 0 and name not in ("pooled_statistics", "group_means"):
            assert "ld.global.v4" in kernel.asm["ptx"], name  # 16 bytes at once


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="the tests that compile run in this process")
@pytest.mark.parametrize("marker", ["not slow", "slow"])
def test_tests_that_compile_pass_in_a_process_of_their_own(marker, tmp_path):
    """Kernels of one process are either compiled or interpreted."""
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        marker,
        "-k",
        "compile",
        "tests/ops/test_triton_norm_kernels.py",
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) == (7 if marker == "not slow" else 9)
    assert "TRITON_INTERPRET" not in done.stdout, "skipped for want of a compiler"

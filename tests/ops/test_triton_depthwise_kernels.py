"""Kernels of output and input's gradient, in Triton's interpreter, against torch; what all of the kernels compile."""

from __future__ import annotations

import random

import pytest
import torch

from mutualnet3d.ops import triton_depthwise
from mutualnet3d.ops.triton_depthwise_plan import Geometry
from tests.ops.hopper import Compiled, Hopper, needs_compiler, stack_bytes
from tests.ops.interpreted_depthwise import CASES, WIDE_CASES, needs_triton, results


@needs_triton
@pytest.mark.parametrize("name", CASES)
def test_output_and_input_gradient(name):
    assert max(results()[name]["errors"][:2]) < 1e-5
    assert results()[name]["channels last"]


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("name", WIDE_CASES)
def test_wide_output_and_input_gradient(name):
    assert max(results(is_slow=True)[name]["errors"][:2]) < 1e-5
    assert results(is_slow=True)[name]["channels last"]


@needs_compiler
def test_new_sizes_compile_nothing(monkeypatch):
    """X3D's three kinds of layers need three kernels each, whatever the width, the clips and their number."""
    import triton
    from triton.runtime import driver

    kernels = set()

    def note(**facts):
        kernels.add((facts["fn"].name, facts["key"]))
        return True  # "compiled already": Triton goes no further

    monkeypatch.setattr(driver, "_active", Hopper())
    monkeypatch.setattr(triton.knobs.runtime, "jit_cache_hook", note)
    draw = random.Random(0)
    layers = [Geometry((3, 3, 3), stride, (1, 1, 1)) for stride in ((1, 1, 1), (1, 2, 2))]
    for geometry in (*layers, Geometry((5, 1, 1), (1, 1, 1), (2, 0, 0))):
        num_before = len(kernels)
        for channels in (16, 24, 48, 56, 64, 80, 432):
            shape = (draw.randint(1, 8), channels, draw.randint(1, 16), draw.randint(1, 40), draw.randint(1, 40))
            x = torch.empty(shape, dtype=torch.bfloat16).to(memory_format=torch.channels_last_3d)
            weight = torch.empty(channels, 1, *geometry.kernel)
            grad = triton_depthwise.output(x, weight, geometry)
            triton_depthwise.input_gradient(grad, x, weight, geometry)
            triton_depthwise.weight_gradient(grad, x, weight, geometry)
        assert len(kernels) - num_before == 3


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "stride"), [((3, 3, 3), (1, 1, 1)), ((3, 3, 3), (1, 2, 2)), ((5, 1, 1), (1, 1, 1))])
def test_kernels_compile_for_a_gpu_and_keep_to_its_registers(monkeypatch, tmp_path, kernel, stride):
    from triton.runtime import driver

    from mutualnet3d.ops import triton_depthwise_kernels, triton_depthwise_weight

    monkeypatch.setattr(driver, "_active", Hopper())
    compiled = []
    for module, name in (
        (triton_depthwise_kernels, "forward"),
        (triton_depthwise_kernels, "input_gradient"),
        (triton_depthwise_weight, "weight_gradient"),
    ):
        compiled.append(Compiled(getattr(module, name)))
        monkeypatch.setattr(module, name, compiled[-1])
    geometry = Geometry(kernel, stride, tuple(length // 2 for length in kernel))
    x = torch.empty(1, 54, 4, 8, 8, dtype=torch.bfloat16).to(memory_format=torch.channels_last_3d)
    weight = torch.empty(54, 1, *kernel)
    grad = triton_depthwise.output(x, weight, geometry)
    triton_depthwise.input_gradient(grad, x, weight, geometry)
    triton_depthwise.weight_gradient(grad, x, weight, geometry)
    assert [[stack_bytes(binary, tmp_path) for binary in stand_in.kernels] for stand_in in compiled] == [[0], [0], [0]]

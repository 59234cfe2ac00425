"""Results of Triton's depthwise kernels in Triton's interpreter, which must be asked for before triton is imported.

`results()` runs this file in a process of its own, once for all tests.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mutualnet3d.ops import SlimConv3d, triton_depthwise, triton_depthwise_plan, triton_switch

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")
CPU = torch.device("cpu")
ONES = (1, 1, 1)


@dataclass(frozen=True)
class Case:
    """Input's shape, kernel, stride, padding (None: half the kernel), programs at most (None: as a GPU has them)."""

    shape: tuple[int, int, int, int, int]
    kernel: tuple[int, int, int] = (3, 3, 3)
    stride: tuple[int, int, int] = ONES
    padding: tuple[int, int, int] | None = None
    num_programs: int | None = None

    @property
    def settings(self) -> tuple[Any, Any]:
        return self.stride, self.padding or tuple(length // 2 for length in self.kernel)


# The interpreter needs a millisecond for every operation of every program: small kernels where that is enough.
CASES = {
    "one tile": Case((1, 3, 2, 2, 3)),
    "stride 2, two blocks of channels": Case((1, 40, 1, 3, 4), stride=(1, 2, 2)),
    "time alone": Case((1, 24, 4, 3, 3), kernel=(5, 1, 1)),
    "two segments of frames": Case((1, 2, 8, 2, 2), kernel=(3, 1, 1)),
    "few programs": Case((2, 4, 1, 5, 5), kernel=(1, 1, 3), num_programs=2),
    "stride in time": Case((1, 2, 4, 2, 3), kernel=(3, 1, 3), stride=(2, 1, 2)),
}
WIDE_CASES = {
    "one frame, two tiles": Case((1, 3, 1, 3, 9)),
    "two clips, two blocks of channels": Case((2, 40, 3, 5, 6), stride=(1, 2, 2)),
    "two segments, whole kernel": Case((1, 2, 9, 3, 3)),
    "few programs, whole kernel": Case((2, 4, 2, 5, 5), num_programs=2),
    "stride everywhere": Case((1, 8, 6, 4, 3), stride=(2, 2, 2)),
    "X3D's stage 2": Case((2, 54, 5, 14, 14)),
    "its first": Case((1, 54, 5, 20, 20), stride=(1, 2, 2)),
    "a narrow width": Case((2, 34, 4, 10, 10)),
    "an odd width": Case((1, 43, 3, 11, 7)),
    "many channels": Case((1, 432, 3, 5, 5)),
    "large stride": Case((1, 8, 7, 6, 5), kernel=(3, 1, 3), stride=(3, 2, 1), padding=(0, 0, 1)),
    "even kernel": Case((1, 8, 5, 6, 6), kernel=(2, 2, 2), stride=(2, 2, 2), padding=(0, 0, 0)),
    "pictures": Case((1, 8, 3, 6, 6), kernel=(1, 3, 3), stride=(1, 2, 2)),
    "wide padding": Case((1, 6, 5, 6, 6), padding=(2, 2, 2)),
}


def compare(case: Case) -> dict[str, Any]:
    """Return relative errors of output, input's and weight's gradient, and whether a second run has the same bits."""
    torch.manual_seed(0)
    usual = triton_depthwise_plan.NUM_PROGRAMS
    triton_depthwise.NUM_PROGRAMS = triton_depthwise_plan.NUM_PROGRAMS = case.num_programs or usual
    x, weight = leaves(case, torch.float32)
    expected = F.conv3d(x, weight, None, *case.settings, 1, x.shape[1])
    grad = torch.randn_like(expected)
    right = [expected, *torch.autograd.grad(expected, (x, weight), grad)]
    runs = []
    for _ in range(2):
        y = triton_depthwise.depthwise_conv3d(x, weight, *case.settings)
        runs.append([y, *torch.autograd.grad(y, (x, weight), grad)])
    is_last = all(tensor.is_contiguous(memory_format=torch.channels_last_3d) for tensor in runs[0][:2])
    triton_depthwise.NUM_PROGRAMS = triton_depthwise_plan.NUM_PROGRAMS = usual
    same = all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    errors = [((a - b).norm() / b.norm()).item() for a, b in zip(runs[0], right, strict=True)]
    return {"errors": errors, "same bits": same, "channels last": is_last}


def leaves(case: Case, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(case.shape, dtype=dtype).to(memory_format=torch.channels_last_3d)
    return x.requires_grad_(), torch.randn(case.shape[1], 1, *case.kernel, dtype=dtype).requires_grad_()


def gradcheck(fast: bool) -> bool:
    """Return whether the gradients are those of small differences, in float64."""
    torch.manual_seed(0)
    case = Case((1, 2, 3, 3, 2), kernel=(2, 2, 1), stride=(1, 2, 1))
    return torch.autograd.gradcheck(
        lambda x, weight: triton_depthwise.depthwise_conv3d(x, weight, *case.settings),
        leaves(case, torch.float64),
        fast_mode=fast,
    )


def second_gradients() -> list[float]:
    """Return relative errors of gradients of a gradient's norm."""
    torch.manual_seed(0)
    case = Case((1, 2, 2, 3, 2), kernel=(3, 1, 1))
    x, weight = leaves(case, torch.float64)
    norms = []
    for conv in (
        F.conv3d,
        lambda x, weight, bias, *settings: triton_depthwise.depthwise_conv3d(x, weight, *settings[:2]),
    ):
        y = conv(x, weight, None, *case.settings, 1, 2)
        first = torch.autograd.grad(y.square().sum(), (x, weight), create_graph=True)
        norms.append(torch.autograd.grad(sum(gradient.square().sum() for gradient in first), (x, weight)))
    return [((a - b).norm() / b.norm()).item() for a, b in zip(norms[1], norms[0], strict=True)]


def layer() -> dict[str, Any]:
    """A slimmable layer at half its width, under autocast, with the switch on; beside it the arithmetic in float32."""
    torch.manual_seed(0)
    conv = SlimConv3d(16, 16, (3, 1, 1), padding=(1, 0, 0), groups=16, bias=False)
    x, _ = leaves(Case((1, 8, 3, 3, 3)), torch.float32)
    with triton_switch.switched(True, CPU), torch.autocast("cpu", torch.bfloat16):
        y = conv(x)
    y.float().square().sum().backward()
    names = [type(y.grad_fn).__name__, str(y.dtype), str(x.grad.dtype), str(conv.weight.grad.dtype)]
    x_rounded = x.detach().bfloat16().float().requires_grad_()
    weight = conv.weight.detach()[:8].bfloat16().float().requires_grad_()
    expected = F.conv3d(x_rounded, weight, None, 1, (1, 0, 0), 1, 8)
    grads = torch.autograd.grad(expected, (x_rounded, weight), 2 * y.detach().float())
    pairs = ((y, expected), (x.grad, grads[0]), (conv.weight.grad[:8], grads[1]))
    errors = [((a.float() - b).norm() / b.norm()).item() for a, b in pairs]
    return {"names": names, "errors": errors, "others": conv.weight.grad[8:].abs().sum().item()}


def frozen() -> list[bool]:
    """Return which gradients there are: of a frozen weight's input, and of a weight whose input needs none."""
    case = Case((1, 2, 1, 2, 2), kernel=(1, 1, 1))
    there = []
    for i in range(2):
        tensors = leaves(case, torch.float32)
        tensors[1 - i].requires_grad_(False)
        triton_depthwise.depthwise_conv3d(*tensors, *case.settings).sum().backward()
        there += [tensor.grad is not None for tensor in tensors]
    return there


def measure(is_slow: bool) -> dict[str, Any]:
    """Return all results of the fast tests, or of the slow ones."""
    if is_slow:
        return {**{name: compare(case) for name, case in WIDE_CASES.items()}, "gradcheck": gradcheck(fast=False)}
    others = {"layer": layer(), "frozen": frozen(), "second": second_gradients(), "gradcheck": gradcheck(fast=True)}
    return {**others, **{name: compare(case) for name, case in CASES.items()}}


@functools.cache
def results(is_slow: bool = False) -> dict[str, Any]:
    """Return `measure` of a process whose kernels run in the interpreter."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.ops.interpreted_depthwise", "slow" if is_slow else "fast"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1] == "slow")))

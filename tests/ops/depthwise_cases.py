"""Depthwise convolutions by Triton's kernels against torch's: on a GPU, or in Triton's interpreter."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mutualnet3d.ops import triton_depthwise, triton_depthwise_plan

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
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
    "stride in time": Case((1, 2, 4, 2, 3), kernel=(3, 1, 3), stride=(2, 1, 2)),
}
# Every program goes through several tiles and clips.
FEW_PROGRAMS = Case((2, 4, 1, 5, 5), kernel=(1, 1, 3), num_programs=2)
WIDE_CASES = {
    "one frame, two tiles": Case((1, 3, 1, 2, 9)),
    "two clips, two blocks of channels": Case((2, 40, 2, 3, 4), stride=(1, 2, 2)),
    "two segments, whole kernel": Case((1, 2, 8, 2, 2)),
    "few programs, whole kernel": Case((2, 4, 1, 5, 5), num_programs=2),
    "stride everywhere": Case((1, 8, 4, 4, 3), stride=(2, 2, 2)),
    "X3D's stage 2": Case((1, 54, 3, 6, 9)),
    "its first": Case((1, 54, 3, 8, 10), stride=(1, 2, 2)),
    "a narrow width": Case((1, 34, 2, 5, 6)),
    "an odd width": Case((1, 43, 2, 3, 5)),
    "many channels": Case((1, 432, 1, 2, 2)),
    "large stride": Case((1, 8, 7, 6, 5), kernel=(3, 1, 3), stride=(3, 2, 1), padding=(0, 0, 1)),
    "even kernel": Case((1, 8, 5, 6, 6), kernel=(2, 2, 2), stride=(2, 2, 2), padding=(0, 0, 0)),
    "pictures": Case((1, 8, 3, 6, 6), kernel=(1, 3, 3), stride=(1, 2, 2)),
    "wide padding": Case((1, 6, 3, 3, 3), padding=(2, 2, 2)),
}


@dataclass(frozen=True)
class Comparison:
    """Relative errors of output, input's and weight's gradient; both first in channels_last_3d; the same bits again."""

    output: float
    input_gradient: float
    weight_gradient: float
    is_channels_last: bool
    is_repeatable: bool


def compare(case: Case, monkeypatch: pytest.MonkeyPatch) -> Comparison:
    if case.num_programs:
        monkeypatch.setattr(triton_depthwise_plan, "NUM_PROGRAMS", case.num_programs)
    x, weight = leaves(case, torch.float32)
    expected = F.conv3d(x, weight, None, *case.settings, 1, x.shape[1])
    grad = torch.randn_like(expected)
    right = [expected, *torch.autograd.grad(expected, (x, weight), grad)]
    y = triton_depthwise.depthwise_conv3d(x, weight, *case.settings)
    mine = [y, *torch.autograd.grad(y, (x, weight), grad, retain_graph=True)]
    again = torch.autograd.grad(y, weight, grad)[0]
    is_last = all(tensor.is_contiguous(memory_format=torch.channels_last_3d) for tensor in mine[:2])
    return Comparison(*relative_errors(mine, right), is_last, torch.equal(again, mine[2]))


def relative_errors(mine: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> list[float]:
    pairs = zip(mine, right, strict=True)
    return [((a.to(b.dtype) - b).norm() / b.norm()).item() for a, b in pairs]


def leaves(case: Case, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(case.shape, dtype=dtype, device=DEVICE).to(memory_format=torch.channels_last_3d)
    weight = torch.randn(case.shape[1], 1, *case.kernel, dtype=dtype, device=DEVICE)
    return x.requires_grad_(), weight.requires_grad_()

"""Kernel of the weight's gradient against torch."""

from __future__ import annotations

import pytest

from tests.ops.depthwise_cases import FEW_PROGRAMS, WIDE_CASES, compare, needs_triton


@needs_triton
def test_weight_gradient_by_few_programs(monkeypatch):
    comparison = compare(FEW_PROGRAMS, monkeypatch)
    assert comparison.weight_gradient < 1e-5
    assert comparison.is_repeatable


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("name", ["few programs, whole kernel", "two clips, two blocks of channels"])
def test_weight_gradient_of_a_whole_kernel(name, monkeypatch):
    comparison = compare(WIDE_CASES[name], monkeypatch)
    assert comparison.weight_gradient < 1e-5
    assert comparison.is_repeatable

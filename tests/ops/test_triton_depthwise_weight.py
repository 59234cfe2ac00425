"""Kernel of the weight's gradient, in Triton's interpreter, against torch."""

from __future__ import annotations

import pytest

from tests.ops.interpreted_depthwise import CASES, WIDE_CASES, needs_triton, results


@needs_triton
@pytest.mark.parametrize("name", CASES)
def test_weight_gradient(name):
    assert results()[name]["errors"][2] < 1e-5
    assert results()[name]["same bits"]


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("name", WIDE_CASES)
def test_wide_weight_gradient(name):
    assert results(is_slow=True)[name]["errors"][2] < 1e-5
    assert results(is_slow=True)[name]["same bits"]

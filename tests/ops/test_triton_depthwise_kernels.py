"""Kernels of the output and of the input's gradient, in Triton's interpreter, against torch."""

from __future__ import annotations

import pytest

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

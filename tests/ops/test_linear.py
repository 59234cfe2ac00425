from __future__ import annotations

import pytest
import torch
from torch import nn

from mutualnet3d.ops import SlimLinear
from tests.ops.layers import assert_equal


def test_linear_with_and_without_parts():
    slim = SlimLinear(20, 10, in_parts=(16, 4), slim_output=False)
    small = nn.Linear(12, 10)
    columns = [*range(8), *range(16, 20)]
    small.weight.data, small.bias.data = slim.weight.data[:, columns].clone(), slim.bias.data.clone()
    cuts = {"weight": lambda grad: grad[:, columns], "bias": lambda grad: grad}
    assert_equal(slim, small, torch.randn(5, 3, 12), cuts)
    slim = SlimLinear(20, 10, bias=False)
    slim.out_width = 8
    small = nn.Linear(6, 8, bias=False)
    small.weight.data = slim.weight.data[:8, :6].clone()
    assert_equal(slim, small, torch.randn(5, 6), {"weight": lambda grad: grad[:8, :6]})


def test_conversion_shares_parameters_and_bits():
    linear = nn.Linear(8, 12)
    slim, x = SlimLinear.from_linear(linear), torch.randn(2, 8)
    assert slim.weight is linear.weight
    assert slim.bias is linear.bias
    assert torch.equal(slim(x), linear(x))


def test_parts_that_do_not_make_up_the_input_are_refused():
    with pytest.raises(ValueError, match=r"input parts \(8, 4\) do not make up"):
        SlimLinear(16, 4, in_parts=(8, 4))

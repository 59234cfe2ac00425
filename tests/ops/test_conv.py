from __future__ import annotations

import pytest
import torch
from torch import nn

from mutualnet3d.ops import SlimConv3d
from tests.ops.layers import assert_equal


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 1, 1), ((1, 2, 2), (1, 1, 1), 1), (2, (2, 2, 2), 2)])
def test_dense_conv(bias, stride, padding, dilation):
    slim = SlimConv3d(16, 24, 3, stride=stride, padding=padding, dilation=dilation, bias=bias)
    slim.out_width = 8
    small = nn.Conv3d(10, 8, 3, stride=stride, padding=padding, dilation=dilation, bias=bias)
    small.weight.data = slim.weight.data[:8, :10].clone()
    if bias:
        small.bias.data = slim.bias.data[:8].clone()
    cuts = {"weight": lambda grad: grad[:8, :10], "bias": lambda grad: grad[:8]}
    assert_equal(slim, small, torch.randn(2, 10, 5, 7, 7), cuts)


def test_depthwise_conv_follows_its_input():
    slim = SlimConv3d(24, 24, 3, padding=1, groups=24, bias=False)
    small = nn.Conv3d(16, 16, 3, padding=1, groups=16, bias=False)
    small.weight.data = slim.weight.data[:16].clone()
    assert_equal(slim, small, torch.randn(2, 16, 4, 6, 6), {"weight": lambda grad: grad[:16]})


def test_grouped_conv_keeps_whole_groups():
    slim = SlimConv3d(24, 48, 3, padding=1, groups=6)
    small = nn.Conv3d(16, 32, 3, padding=1, groups=4)
    small.weight.data, small.bias.data = slim.weight.data[:32].clone(), slim.bias.data[:32].clone()
    assert_equal(
        slim, small, torch.randn(2, 16, 4, 6, 6), {name: lambda grad: grad[:32] for name in ("weight", "bias")}
    )


@pytest.mark.parametrize("in_width", [15, 0, 28])
def test_grouped_conv_refuses_broken_groups(in_width):
    slim = SlimConv3d(24, 48, 1, groups=6)
    with pytest.raises(
        ValueError, match=f"input has {in_width} channels; a convolution of 6 groups takes 1 to 6 whole groups of 4"
    ):
        slim(torch.zeros(1, in_width, 1, 1, 1))


def test_conv_of_a_concatenated_input():
    slim = SlimConv3d(16, 24, 1, in_parts=(12, 4))
    slim.out_width = 16
    small = nn.Conv3d(8 + 4, 16, 1)
    columns = [*range(8), *range(12, 16)]
    small.weight.data, small.bias.data = slim.weight.data[:16, columns].clone(), slim.bias.data[:16].clone()
    cuts = {"weight": lambda grad: grad[:16, columns], "bias": lambda grad: grad[:16]}
    assert_equal(slim, small, torch.randn(2, 12, 3, 4, 4), cuts)


def test_full_width_uses_the_parameters_themselves():
    conv = SlimConv3d(16, 24, 3)
    weight, bias, groups = conv.sliced(16, 24)
    assert weight is conv.weight
    assert bias is conv.bias
    assert groups == 1


def test_conversion_shares_parameters_and_bits():
    conv = nn.Conv3d(8, 12, 3, padding=1, groups=4)
    slim, x = SlimConv3d.from_conv(conv), torch.randn(2, 8, 4, 5, 5)
    assert slim.weight is conv.weight
    assert slim.bias is conv.bias
    assert torch.equal(slim(x), conv(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SlimConv3d(4, 4, 3, padding=1, padding_mode="replicate"),
            "padding_mode must be 'zeros', got 'replicate'",
        ),
        (
            lambda: SlimConv3d(16, 4, 1, in_parts=(8, 4)),
            r"input parts \(8, 4\) do not make up the layer's 16 input channels",
        ),
        (lambda: SlimConv3d(16, 16, 1, in_parts=(12, 4), groups=4), "a convolution of 4 groups takes one input part"),
        (lambda: SlimConv3d(16, 4, 1)(torch.zeros(1, 17, 1, 1, 1)), r"input has 17 channels; .* takes 1 to 16"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()

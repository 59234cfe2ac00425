"""Every slimmed layer equals a small ordinary layer with copied weights, forward and gradient."""

from __future__ import annotations

import copy

import pytest
import torch
from fvcore.nn.squeeze_excitation import SqueezeExcitation
from pytorchvideo.layers.swish import Swish as PytorchvideoSwish
from torch import nn

from mutualnet3d.ops import SlimConv3d, SlimLinear, SlimSqueezeExcitation, Swish


def run(layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Output, and the input's gradient of a fixed weighting of it; the parameters' go to their `.grad`."""
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(torch.linspace(-1, 1, y.numel()).view_as(y))
    return y.detach(), x.grad


def assert_equal(slim, small, x, slim_to_small):
    """`slim_to_small`: parameter name -> function that cuts the slim layer's gradient to the small layer's."""
    (y, grad), (y_small, grad_small) = run(slim, x), run(small, x)
    torch.testing.assert_close(y, y_small)
    torch.testing.assert_close(grad, grad_small)
    for name, parameter in small.named_parameters():
        whole = slim.get_parameter(name).grad
        torch.testing.assert_close(slim_to_small[name](whole), parameter.grad)
        assert whole.abs().sum() == pytest.approx(parameter.grad.abs().sum().item(), rel=1e-5), (
            f"{name}: outside the cut"
        )


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


def test_squeeze_excitation():
    slim = SlimSqueezeExcitation.from_squeeze_excitation(SqueezeExcitation(24, 16, is_3d=True))
    slim.block[0].out_width = 8
    small = SqueezeExcitation(16, 8, is_3d=True)
    for mine, other, rows, columns in ((small.block[0], slim.block[0], 8, 16), (small.block[2], slim.block[2], 16, 8)):
        mine.weight.data, mine.bias.data = other.weight.data[:rows, :columns].clone(), other.bias.data[:rows].clone()
    cuts = {
        "block.0.weight": lambda grad: grad[:8, :16],
        "block.0.bias": lambda grad: grad[:8],
        "block.2.weight": lambda grad: grad[:16, :8],
        "block.2.bias": lambda grad: grad[:16],
    }
    assert_equal(slim, small, torch.randn(2, 16, 3, 4, 4), cuts)


def test_full_width_uses_the_parameters_themselves():
    conv = SlimConv3d(16, 24, 3)
    weight, bias, groups = conv.sliced(16, 24)
    assert weight is conv.weight
    assert bias is conv.bias
    assert groups == 1


def test_conversion_shares_parameters_and_bits():
    for plain, slim_of, x in (
        (nn.Conv3d(8, 12, 3, padding=1, groups=4), SlimConv3d.from_conv, torch.randn(2, 8, 4, 5, 5)),
        (nn.Linear(8, 12), SlimLinear.from_linear, torch.randn(2, 8)),
    ):
        slim = slim_of(plain)
        assert slim.weight is plain.weight
        assert slim.bias is plain.bias
        assert torch.equal(slim(x), plain(x))


def test_swish_has_pytorchvideos_bits_and_gradient():
    x = torch.randn(1000) * 4
    (y, grad), (y_theirs, grad_theirs) = run(Swish(), x), run(PytorchvideoSwish(), x)
    assert torch.equal(y, y_theirs)
    assert torch.equal(Swish()(x), y)  # without a gradient it takes another path
    torch.testing.assert_close(grad, grad_theirs)
    torch.autograd.gradcheck(copy.deepcopy(Swish()), torch.randn(7, dtype=torch.float64, requires_grad=True))


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
        (lambda: SlimLinear(16, 4, in_parts=(8, 4)), r"input parts \(8, 4\) do not make up"),
        (lambda: SlimSqueezeExcitation.from_squeeze_excitation(SqueezeExcitation(8, 4)), "must be 3D"),
        (lambda: SlimConv3d(16, 4, 1)(torch.zeros(1, 17, 1, 1, 1)), r"input has 17 channels; .* takes 1 to 16"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "groups"),
    [
        ((1, 1, 1), (1, 1, 1), (0, 0, 0), 1),
        ((1, 1, 1), (1, 2, 2), (0, 0, 0), 1),
        ((1, 1, 1), (2, 1, 1), (0, 0, 0), 1),
        ((1, 3, 3), (1, 2, 2), (0, 1, 1), 1),
        ((3, 1, 1), (1, 1, 1), (1, 0, 0), 1),
        ((3, 3, 3), (1, 1, 1), (1, 1, 1), 24),
    ],
)
def test_fast_inference_computes_the_convolution(kernel, stride, padding, groups, bias, memory_format):
    """Without `exact_bits`, other kernels, the same numbers; and the format that the next layer is fast with."""
    conv = SlimConv3d(24, 24, kernel, stride=stride, padding=padding, groups=groups, bias=bias)
    conv.to(memory_format=memory_format)
    conv.out_width = 16
    x = torch.randn(1, 16, 3, 7, 6).to(memory_format=memory_format)
    expected = conv(x)
    conv.exact_bits = False
    assert torch.equal(conv(x), expected)  # with gradients nothing changes
    with torch.no_grad():
        y = conv(x)
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(conv.double()(x.double()), expected.double(), rtol=1e-5, atol=1e-5)
    if memory_format is torch.channels_last_3d:
        assert y.is_contiguous(memory_format=memory_format)

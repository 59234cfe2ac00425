from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from mutualnet3d.ops import SlimConv3d
from mutualnet3d.ops.cpu_kernels import depthwise_conv3d, is_depthwise_training
from mutualnet3d.ops.kernels import conv3d


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        ((3, 3, 3), (1, 1, 1), (1, 1, 1)),
        ((3, 3, 3), (1, 2, 2), (1, 1, 1)),
        ((3, 3, 3), (2, 2, 2), (1, 1, 1)),
        ((5, 1, 1), (1, 1, 1), (2, 0, 0)),
        ((5, 1, 1), (2, 1, 1), (2, 0, 0)),
        ((1, 3, 3), (1, 1, 1), (0, 0, 0)),
        ((3, 5, 2), (1, 3, 2), (0, 2, 1)),
        ((5, 3, 3), (2, 1, 1), (3, 1, 1)),
    ],
)
@pytest.mark.parametrize("size", [(5, 9, 7), (6, 8, 8), (3, 5, 4)])
def test_forward_has_torchs_bits_and_gradients_its_values(memory_format, kernel, stride, padding, size):
    results = []
    for conv in (
        lambda x, w: F.conv3d(x, w, None, stride, padding, 1, 8),
        lambda x, w: depthwise_conv3d(x, w, stride, padding),
    ):
        torch.manual_seed(0)
        x = torch.randn(2, 8, *size).to(memory_format=memory_format).requires_grad_()
        w = torch.randn(8, 1, *kernel, requires_grad=True)
        y = conv(x, w)
        y.backward(torch.randn(y.shape))
        results.append((y, x.grad, w.grad))
    expected, mine = results
    assert torch.equal(mine[0], expected[0])
    torch.testing.assert_close(mine[1], expected[1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mine[2], expected[2], rtol=1e-5, atol=1e-4)
    assert mine[1].shape == (2, 8, *size)


def test_it_stands_in_for_float_training_without_bias_alone():
    x, weight = torch.randn(1, 8, 2, 4, 4), torch.randn(8, 1, 3, 3, 3)
    assert is_depthwise_training(x, weight, None, (1, 1, 1))
    assert not is_depthwise_training(x, weight, torch.zeros(8), (1, 1, 1))
    assert not is_depthwise_training(x, weight, None, "same")
    assert not is_depthwise_training(x.double(), weight.double(), None, (1, 1, 1))
    assert not is_depthwise_training(x, torch.randn(16, 1, 3, 3, 3), None, (1, 1, 1))
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_depthwise_training(x, weight, None, (1, 1, 1))


def test_slim_convolutions_use_it_with_gradients(monkeypatch):
    calls = []
    original = depthwise_conv3d
    kernel = "mutualnet3d.ops.cpu_kernels.depthwise_conv3d"
    monkeypatch.setattr(kernel, lambda *args: calls.append(1) or original(*args))
    conv = SlimConv3d(16, 16, 3, padding=1, groups=16, bias=False)
    conv(torch.randn(1, 8, 2, 4, 4, requires_grad=True)).sum().backward()
    assert len(calls) == 1
    assert conv.weight.grad[8:].abs().sum() == 0
    with torch.no_grad():
        conv(torch.randn(1, 8, 2, 4, 4))
        conv.eval()(torch.randn(1, 8, 2, 4, 4))
    SlimConv3d(16, 16, 3, padding=1, groups=16, dilation=2, bias=False)(torch.randn(1, 16, 4, 8, 8))
    assert len(calls) == 1


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
@pytest.mark.parametrize("width", [16, 24])
def test_inference_computes_the_convolution(width, kernel, stride, padding, groups, bias, memory_format):
    """Other kernels, the same numbers, of a slice and of the whole layer; and the format that the next layer is fast
    with. With gradients and in training mode the bits are torch's."""
    conv = SlimConv3d(24, 24, kernel, stride=stride, padding=padding, groups=groups, bias=bias)
    conv.to(memory_format=memory_format)
    conv.out_width = width
    x = torch.randn(1, width, 3, 7, 6).to(memory_format=memory_format)
    groups = width if groups > 1 else 1
    weight = conv.weight[:width] if groups > 1 else conv.weight[:width, :width]
    cut_bias = conv.bias[:width] if bias else None
    expected = F.conv3d(x, weight, cut_bias, stride, padding, 1, groups)
    with torch.no_grad():
        assert torch.equal(conv(x), expected)
    assert torch.equal(conv.eval()(x), expected)
    with torch.no_grad():
        y = conv(x)
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(conv.double()(x.double()), expected.double(), rtol=1e-5, atol=1e-5)
    if memory_format is torch.channels_last_3d:
        assert y.is_contiguous(memory_format=memory_format)


class _Convolution(torch.nn.Module):
    def __init__(self, convolve: Callable[..., torch.Tensor]):
        super().__init__()
        self.convolve, self.weight = convolve, torch.nn.Parameter(torch.randn(8, 8, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolve(x, self.weight, None, (1, 1, 1), (0, 0, 0), (1, 1, 1), 1, False)


def test_exporters_see_torchs_convolution():
    x = torch.randn(1, 8, 2, 4, 4).to(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        program = torch.export.export(_Convolution(conv3d), (x,))
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert called == {"aten.conv3d.default"}

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mutualnet3d.ops import SlimConv3d
from mutualnet3d.ops.cpu_kernels import depthwise_conv3d, is_accelerated


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
    ],
)
@pytest.mark.parametrize("size", [(5, 9, 7), (6, 8, 8)])
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


def test_it_stands_in_for_plain_float_training_alone():
    x, weight = torch.randn(1, 8, 2, 4, 4), torch.randn(8, 1, 3, 3, 3)
    assert is_accelerated(x, weight, None, (1, 1, 1))
    assert not is_accelerated(x, weight, torch.zeros(8), (1, 1, 1))
    assert not is_accelerated(x, weight, None, "same")
    assert not is_accelerated(x.double(), weight.double(), None, (1, 1, 1))
    assert not is_accelerated(x, torch.randn(16, 1, 3, 3, 3), None, (1, 1, 1))
    with torch.no_grad():
        assert not is_accelerated(x, weight, None, (1, 1, 1))
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_accelerated(x, weight, None, (1, 1, 1))


def test_slim_convolutions_use_it(monkeypatch):
    calls = []
    real = depthwise_conv3d
    monkeypatch.setattr("mutualnet3d.ops.conv.depthwise_conv3d", lambda *args: calls.append(1) or real(*args))
    conv = SlimConv3d(16, 16, 3, padding=1, groups=16, bias=False)
    conv(torch.randn(1, 8, 2, 4, 4, requires_grad=True)).sum().backward()
    assert len(calls) == 1
    assert conv.weight.grad[8:].abs().sum() == 0
    SlimConv3d(16, 16, 3, padding=1, groups=16, dilation=2, bias=False)(torch.randn(1, 16, 4, 8, 8))
    assert len(calls) == 1

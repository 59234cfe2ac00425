from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mutualnet3d.ops import SlimConv3d, kernels


@pytest.fixture
def depthwise():
    """A call's arguments: input in channels_last_3d, weight, bias, and the settings."""
    x = torch.randn(2, 8, 4, 6, 6).to(memory_format=torch.channels_last_3d).requires_grad_()
    weight = torch.randn(8, 1, 3, 3, 3).to(memory_format=torch.channels_last_3d).requires_grad_()
    return x, weight, torch.randn(8), (1, 2, 2), (1, 1, 1), (1, 1, 1), 8


def test_the_way_by_contiguous_has_torchs_values_gradients_and_format(depthwise):
    x, weight = depthwise[:2]
    results = []
    for conv in (F.conv3d, kernels.depthwise_by_contiguous):
        y = conv(*depthwise)
        grads = torch.autograd.grad(y, (x, weight), torch.arange(y.numel()).remainder(7.0).view(y.shape))
        results.append((y, *grads))
        assert y.is_contiguous(memory_format=torch.channels_last_3d)
    for mine, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.needs_cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_depthwise_layers_on_a_gpu(memory_format, dtype):
    """They keep the memory format and never reach cuDNN."""
    torch.manual_seed(0)
    conv = SlimConv3d(16, 16, 3, padding=1, groups=16, bias=False).to("cuda", memory_format=memory_format)
    x = torch.randn(2, 8, 4, 8, 8, device="cuda").to(memory_format=memory_format).requires_grad_()
    with torch.profiler.profile() as profile, torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        y = conv(x)
        y.sum().backward()
    assert y.is_contiguous(memory_format=memory_format)
    assert not [event.key for event in profile.key_averages() if "cudnn" in event.key]
    expected = F.conv3d(x.detach().cpu(), conv.weight.detach().cpu()[:8], None, 1, 1, 1, 8)
    torch.testing.assert_close(y.detach().cpu().float(), expected, rtol=2e-2, atol=2e-2)
    assert conv.weight.grad[8:].abs().sum() == 0

from __future__ import annotations

import pytest
import torch
from torch import nn

from mutualnet3d.ops import BatchStatistics, SlimBatchNorm3d


@pytest.fixture
def norm() -> SlimBatchNorm3d:
    layer = SlimBatchNorm3d(24)
    for tensor in (layer.weight.data, layer.running_var):
        tensor.uniform_(0.5, 1.5)
    for tensor in (layer.bias.data, layer.running_mean):
        tensor.normal_()
    return layer


def small_copy(norm: SlimBatchNorm3d, channels: int) -> nn.BatchNorm3d:
    small = nn.BatchNorm3d(channels)
    small.load_state_dict({k: v[:channels] if v.ndim else v for k, v in norm.state_dict().items()})
    return small


def test_subnet_training_equals_a_small_norm_and_tracks_nothing(norm):
    small, before = small_copy(norm, 16), {k: v.clone() for k, v in norm.state_dict().items()}
    norm.in_subnet = True
    x = torch.randn(3, 16, 2, 4, 4)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    ya, yb = norm(a), small(b)
    torch.testing.assert_close(ya, yb)
    weights = torch.randn_like(ya)
    ya.backward(weights)
    yb.backward(weights)
    torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(norm.weight.grad[:16], small.weight.grad)
    torch.testing.assert_close(norm.bias.grad[:16], small.bias.grad)
    assert norm.weight.grad[16:].abs().sum() == 0
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())


def test_subnet_evaluation_uses_its_own_statistics(norm):
    mean, variance = torch.randn(16), torch.rand(16) + 0.5
    small = small_copy(norm, 16).eval()
    small.running_mean, small.running_var = mean, variance
    norm.eval()
    norm.in_subnet, norm.statistics = True, (mean, variance)
    x = torch.randn(3, 16, 2, 4, 4)
    assert torch.equal(norm(x), small(x))


def test_alone_it_is_torchs_own(norm):
    other = small_copy(norm, 24)
    x = torch.randn(3, 24, 2, 4, 4)
    assert torch.equal(norm(x), other(x))
    assert all(torch.equal(a, b) for a, b in zip(norm.state_dict().values(), other.state_dict().values(), strict=True))
    assert torch.equal(norm.eval()(x), other.eval()(x))


def test_evaluation_without_statistics_is_refused(norm):
    norm.eval()
    norm.in_subnet = True
    with pytest.raises(ValueError, match="no statistics for the active sub-network: calibrate it first"):
        norm(torch.randn(3, 16, 2, 4, 4))


def test_too_many_channels_are_refused(norm):
    norm.in_subnet = True
    with pytest.raises(ValueError, match="input has 25 channels; this batch norm has 24"):
        norm(torch.randn(3, 25, 2, 4, 4))


def test_statistics_of_unequal_batches_equal_those_of_one(norm):
    """Calibration over batches of 2, 5 and 1 clips equals torch's batch norm over the 8 joined."""
    x = 3 * torch.randn(8, 16, 2, 3, 3) + 1
    joined = nn.BatchNorm3d(16, momentum=1.0)
    joined(x)
    norm.eval()
    norm.batch_statistics = BatchStatistics()
    for batch in x.split([2, 5, 1]):
        norm(batch)
    mean, variance = norm.batch_statistics.statistics()
    torch.testing.assert_close(mean, joined.running_mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(variance, joined.running_var, rtol=1e-5, atol=1e-6)
    assert norm.batch_statistics.count == x.numel() // 16


def test_frozen_it_trains_the_full_network_by_its_tracked_statistics(norm):
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    reference = small_copy(norm, 24).eval()
    norm.frozen = True
    x = torch.randn(3, 24, 2, 4, 4)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    weights = torch.randn_like(x)
    norm(a).backward(weights)
    reference(b).backward(weights)
    assert torch.equal(a.grad, b.grad)
    assert torch.equal(norm.weight.grad, reference.weight.grad)
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())
    norm.in_subnet, norm.in_full = True, False  # a sub-network: by its batch's
    torch.testing.assert_close(norm(x), small_copy(norm, 24)(x))
    norm.in_subnet, norm.in_full, norm.batch_statistics = False, True, BatchStatistics()
    norm(x)  # calibration collects them, frozen or not
    assert norm.batch_statistics.count == x.numel() // 24

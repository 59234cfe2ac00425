from __future__ import annotations

import pytest
import torch

from mutualnet3d.ops import BatchStatistics
from mutualnet3d.ops.batch_statistics import PIECE, local_statistics


def test_pooled_batches_are_as_one():
    values = 1e4 + torch.randn(8, 5, 3, 4, 4, dtype=torch.float64)
    pooled = BatchStatistics()
    for batch in values.split([3, 1, 4]):
        variance, mean = torch.var_mean(batch, (0, 2, 3, 4), correction=0)
        pooled.add(mean, variance, batch.numel() // 5)
    mean, variance = pooled.statistics()
    assert pooled.count == values.numel() // 5
    torch.testing.assert_close(mean, values.mean((0, 2, 3, 4)).float())
    torch.testing.assert_close(variance, values.var((0, 2, 3, 4)).float(), rtol=1e-5, atol=0)


def test_statistics_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least 2 values per channel, got 0"):
        BatchStatistics().statistics()


@pytest.mark.parametrize("center", [0, 1000])
def test_long_sums_in_float32_are_sound(center):
    """Added up one after the other in float32, so many values give a variance that is off by 6e-5."""
    x = torch.randn(4, 8, 16, 64, 64, generator=torch.Generator().manual_seed(0)) + center
    x = x.contiguous(memory_format=torch.channels_last_3d)
    assert x.numel() > PIECE
    variance, mean = torch.var_mean(x.double(), (0, 2, 3, 4), correction=0)
    local_mean, local_variance = local_statistics(x)
    assert local_mean.dtype == local_variance.dtype == torch.float32
    assert (local_mean - mean).abs().max() < 1e-6 + center * 2**-24
    assert (local_variance - variance).abs().max() / variance.abs().max() < 1e-5

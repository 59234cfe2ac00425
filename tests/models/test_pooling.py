from __future__ import annotations

import pytest
import torch
from torch import nn

from mutualnet3d.models.pooling import ClippedAvgPool3d, ClippedMaxPool3d, clip_pooling


@pytest.mark.parametrize(
    "layer",
    [
        nn.AvgPool3d((2, 7, 7), stride=1),
        nn.AvgPool3d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
        nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        nn.MaxPool3d(3, dilation=2, padding=1),
    ],
)
def test_where_torchs_runs_it_is_torchs_and_on_smaller_maps_it_runs(layer):
    network = nn.Sequential(nn.Sequential(layer))
    x = torch.randn(2, 3, 8, 8, 9)
    expected = layer(x)
    clip_pooling(network)
    clipped = network[0][0]
    assert type(clipped) in (ClippedAvgPool3d, ClippedMaxPool3d)
    assert torch.equal(clipped(x), expected)
    assert min(clipped(torch.randn(1, 3, 1, 2, 1)).shape[2:]) == 1


def test_a_kernel_over_the_whole_map_is_its_mean_and_its_largest_value():
    network = nn.ModuleList([nn.AvgPool3d((2, 7, 7), stride=1), nn.MaxPool3d(4)])
    clip_pooling(network)
    x = torch.randn(2, 3, 2, 3, 3)
    torch.testing.assert_close(network[0](x), x.mean((2, 3, 4), keepdim=True))
    assert torch.equal(network[1](x), x.amax((2, 3, 4), keepdim=True))
    # One dimension at a time: 7 of 9 columns fit.
    y = torch.randn(1, 1, 2, 3, 9)
    torch.testing.assert_close(network[0](y), y.mean((2, 3)).unfold(2, 7, 1).mean(3)[:, :, None, None])

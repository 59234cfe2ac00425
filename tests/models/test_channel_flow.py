from __future__ import annotations

import pytest
import torch
from torch import nn

from mutualnet3d.models.channel_flow import channel_flow, is_depthwise
from mutualnet3d.models.network import VideoNet


class Residual(nn.Module):
    """Two branches that are added, then a concatenation with the input, as the laterals of SlowFast are."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv3d(3, 8, 1), nn.BatchNorm3d(8)
        self.second, self.shortcut = nn.Conv3d(8, 8, 3, padding=1, groups=8), nn.Conv3d(3, 8, 1)
        self.last = nn.Conv3d(11, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(self.norm(self.first(x))) + self.shortcut(x)
        return self.last(torch.cat([y, x], dim=1))


def test_layers_that_share_channels_are_found():
    flow = channel_flow(VideoNet(nn.ModuleList([Residual()])))
    gives = {name.removeprefix("blocks.0."): runs[0].root() for name, runs in flow.gives.items()}
    # What is added is the same run, through the norm and the depthwise convolution too.
    assert gives["first"] is gives["norm"] is gives["second"] is gives["shortcut"]
    assert gives["last"] is not gives["first"]
    assert flow.in_parts("blocks.0.last") == (8, 3)
    assert flow.in_parts("blocks.0.first") == (3,)
    assert flow.norm_of == {"blocks.0.first": "blocks.0.norm"}


def test_depthwise_is_a_group_for_every_channel():
    assert is_depthwise(nn.Conv3d(8, 8, 3, groups=8))
    assert not is_depthwise(nn.Conv3d(8, 16, 3, groups=8))
    assert not is_depthwise(nn.Conv3d(8, 8, 3))
    assert not is_depthwise(nn.Conv3d(1, 1, 3))
    assert not is_depthwise(nn.BatchNorm3d(8))


class Split(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.chunk(2, dim=1)[0]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.Conv3d(3, 8, 1), nn.InstanceNorm3d(8)], r"cannot make blocks\.1 slimmable: .* type InstanceNorm3d"),
        ([nn.Sequential(Split(), nn.ReLU())], "cannot make blocks.0.0 slimmable: .* type Split"),
    ],
)
def test_what_has_no_rule_is_named(layers, message):
    with pytest.raises(ValueError, match=message):
        channel_flow(VideoNet(nn.ModuleList(layers)))

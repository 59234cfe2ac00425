from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mutualnet3d.models.network import GlobalAvgPool3d, OwnNet, VideoNet
from tests.models.families import clips, tiny


def test_pooling_takes_whatever_comes():
    for shape in ((2, 3, 4, 7, 7), (1, 3, 1, 2, 5)):
        x = torch.randn(shape)
        expected = x.mean((2, 3, 4), keepdim=True)
        torch.testing.assert_close(GlobalAvgPool3d()(x), expected)
        last = x.to(memory_format=torch.channels_last_3d)
        assert torch.equal(GlobalAvgPool3d()(last), GlobalAvgPool3d()(x))


def test_blocks_are_applied_one_after_the_other_and_keep_their_names():
    network = VideoNet(nn.ModuleList([nn.Conv3d(3, 4, 1), nn.ReLU()]))
    x = torch.randn(1, 3, 2, 4, 4)
    assert torch.equal(network([x]), network.blocks[1](network.blocks[0](x)))
    assert list(network.state_dict()) == ["blocks.0.weight", "blocks.0.bias"]


def test_slowfast_is_fast_then_slow():
    model = tiny("slowfast")
    slow, fast = clips(model, model.full)
    with torch.no_grad():
        features = model.fast_features(fast)
        assert len(features) == 5  # four laterals and the pooled features
        assert torch.equal(model.slow_logits(slow, features), model([slow, fast]))


def test_a_network_of_any_structure_keeps_its_names_and_its_parts():
    own = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4))
    network = OwnNet(own)
    x = torch.randn(2, 3, 2, 4, 4)
    assert torch.equal(network.eval()([x]), own(x))
    assert not own.training
    assert list(network.state_dict()) == list(own.state_dict())
    assert [name for name, _ in network.named_modules()] == ["", "0", "1"]
    other = copy.deepcopy(network).double()
    other.set_submodule("0", nn.Conv3d(3, 5, 1).double())
    assert other.content[0] is other.get_submodule("0")  # replaced in both
    assert own[0].weight.dtype == torch.float32
    assert own[0].out_channels == 4
    clash = nn.ModuleDict({"content": nn.Linear(2, 2)})
    with pytest.raises(ValueError, match="the network's part 'content' has the name of a part of OwnNet: rename it"):
        OwnNet(clash)

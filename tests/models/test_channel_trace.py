from __future__ import annotations

import pytest
import torch
from torch import nn

from mutualnet3d.models.channel_trace import is_followed, trace_channels
from mutualnet3d.models.network import OwnNet, VideoNet
from mutualnet3d.ops import WidthRule
from mutualnet3d.shapes import ClipShape

CLIP = ClipShape(4, 16)


class Residual(nn.Module):
    """Two branches that are added, then a concatenation with the input, as the laterals of SlowFast are."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv3d(3, 8, 1), nn.BatchNorm3d(8)
        self.second, self.shortcut = nn.Conv3d(8, 8, 3, padding=1, groups=8), nn.Conv3d(3, 8, 1)
        self.last = nn.Conv3d(11, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(self.norm(self.first(x))) + self.shortcut(x)
        return self.last(torch.cat([y, x], dim=1)).mean((2, 3, 4))


def test_layers_that_share_channels_are_found():
    network = VideoNet(nn.ModuleList([Residual()]))
    flow = trace_channels(network, [CLIP])
    gives = {name.removeprefix("blocks.0."): runs[0].root() for name, runs in flow.gives.items()}
    # What is added is the same run, through the norm and the depthwise convolution too.
    assert gives["first"] is gives["norm"] is gives["second"] is gives["shortcut"]
    assert gives["last"] is not gives["first"]
    assert flow.in_parts("blocks.0.last") == (8, 3)
    assert flow.in_rules("blocks.0.last") == (WidthRule(8), WidthRule(3, slims=False))
    assert flow.in_parts("blocks.0.first") == (3,)
    assert flow.norm_of == {"blocks.0.first": "blocks.0.norm"}
    assert flow.classifiers() == ["blocks.0.last"]
    assert flow.logits[0].is_fixed
    assert network.training  # and nothing is left of the run
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert not any(parameter.is_meta for parameter in network.parameters())


class Net(nn.Module):
    """Convolution of 8 channels, `middle`, linear layer."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.conv, self.middle, self.fc = nn.Conv3d(3, 8, 3, padding=1), middle, nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        y = self.middle(y) if x.shape[2] > 1 else y  # a branch by shapes
        return self.fc(y.mean((2, 3, 4)) if y.ndim == 5 else y)


class Function(nn.Module):
    """A function that is called by a layer of its own."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def gated(x: torch.Tensor) -> torch.Tensor:
    gate = x.mean(1, keepdim=True).sigmoid()  # one channel, of the mean over all
    y = torch.maximum(x * gate, 0.5 * x)
    y += x
    return torch.stack([y, y], dim=2).amax(2)


def folded(x: torch.Tensor) -> torch.Tensor:
    batch, channels, frames, height, width = x.shape
    y = x.permute(0, 2, 1, 3, 4).reshape(batch * frames, channels, height, width).relu()
    y = y.unflatten(0, (batch, frames)).transpose(1, 2)
    return torch.cat([y[:, :, :1], y[:, :, 1:]], dim=2)[..., None].squeeze(-1)


@pytest.mark.parametrize("function", [gated, folded, lambda x: x.chunk(2, dim=2)[1].float()])
def test_operations_that_leave_the_channels_in_order_are_followed(function):
    flow = trace_channels(OwnNet(Net(Function(function))), [CLIP])
    assert flow.reads["fc"][0].root() is flow.gives["conv"][0].root()
    assert flow.in_rules("fc") == (WidthRule(8),)


def test_positions_that_are_flattened_follow_their_channels():
    network = Net(Function(lambda x: nn.functional.adaptive_avg_pool3d(x, (1, 2, 2)).flatten(1)))
    network.fc = nn.Linear(32, 2)
    flow = trace_channels(OwnNet(network), [CLIP])
    assert flow.in_rules("fc") == (WidthRule(32, base=8),)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


@pytest.mark.parametrize(
    ("middle", "problem"),
    [
        (nn.InstanceNorm3d(8), "no rule for the operation 'instance_norm', in a layer of type InstanceNorm3d"),
        (nn.GroupNorm(2, 8), "no rule for the operation 'group_norm', in a layer of type GroupNorm"),
        (nn.PReLU(8), "no rule for the operation 'prelu': it has a number for each channel"),
        (Attention(), "'mul': it meets a tensor that comes whole at every width, in a layer of type Attention"),
        (Function(lambda x: x.flip(1)), "no rule for the operation 'flip', in a layer of type Function"),
        (Function(lambda x: x[:, :4].repeat(1, 2, 1, 1, 1)), "'getitem': it cuts the channels"),
        (Function(lambda x: x.chunk(2, 1)[0].repeat(1, 2, 1, 1, 1)), "'chunk': it cuts the channels"),
        (Function(lambda x: x.softmax(1)), "'softmax': it turns channels into probabilities"),
        (Function(lambda x: x.view(2, 2, 4, 4, 16, 16).flatten(1, 2)), "'view': it joins the channels with other"),
        (Function(lambda x: nn.functional.pad(x, (0,) * 6 + (0, 1))[:, 1:]), "'pad': it changes the number of cha"),
        (Function(lambda x: x + torch.cat([x[:, :, :1], x[:, :, :1]], 2).repeat(1, 1, 2, 1, 1)), "'repeat'"),
        (nn.Conv3d(8, 8, 3, padding=1, padding_mode="circular"), "no rule for the operation 'pad'|'conv3d'"),
    ],
)
def test_what_has_no_rule_is_named_with_a_way_out(middle, problem):
    network = OwnNet(Net(middle))
    with pytest.raises(ValueError, match=rf"cannot make middle slimmable: .*{problem}") as info:
        trace_channels(network, [CLIP])
    assert str(info.value).endswith("To keep what it reads at full width: fixed=['conv']")
    for fixed in (["conv"], ["middle"]):
        flow = trace_channels(network, [CLIP], fixed)
        assert flow.in_rules("fc") == (WidthRule(8, slims=False),)


def test_groups_stay_whole():
    network = Net(nn.Conv3d(8, 16, 1, groups=2))
    network.conv, network.fc = nn.Conv3d(3, 8, 1), nn.Linear(16, 2)
    flow = trace_channels(OwnNet(network), [CLIP])
    assert flow.in_rules("middle") == (WidthRule(8, divisor=8),)
    assert flow.in_rules("fc") == (WidthRule(16, base=8),)


def test_a_layer_that_runs_twice_has_the_channels_of_both_runs():
    shared = nn.Conv3d(8, 8, 1)
    flow = trace_channels(OwnNet(Net(nn.Sequential(shared, nn.ReLU(), shared))), [CLIP])
    assert flow.reads["middle.0"][0].root() is flow.gives["middle.0"][0].root() is flow.gives["conv"][0].root()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Net(Function(lambda x: x @ torch.ones(3, 3))), r"does not run on a clip of 4 x 16 x 16: middle: "),
        (Function(lambda x: [x]), r"one tensor of logits \(B, K\), for 2 clips it returned list"),
        (Function(lambda x: x), r"for 2 clips it returned \(2, 3, 4, 16, 16\)"),
    ],
)
def test_a_network_that_gives_no_logits(network, message):
    with pytest.raises(ValueError, match=message):
        trace_channels(OwnNet(network), [CLIP])


def test_layers_that_compute_something_else_are_not_followed():
    class Standardised(nn.Conv3d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.conv3d(x, self.weight / self.weight.std(), self.bias)

    assert is_followed(nn.Conv3d(3, 8, 1))
    assert not is_followed(Standardised(3, 8, 1))
    assert not is_followed(nn.Conv3d(3, 8, 1, padding_mode="reflect"))
    assert not is_followed(nn.utils.parametrizations.weight_norm(nn.Conv3d(3, 8, 1)))
    assert not is_followed(nn.SyncBatchNorm(8))
    assert not is_followed(nn.BatchNorm2d(8))

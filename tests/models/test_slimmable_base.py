from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mutualnet3d.models import SlimmableNet
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.ops import round_channels
from mutualnet3d.shapes import SubnetConfig
from tests.models.families import FULL_CLIP, X3D, calibrated, pytorchvideos_x3d, state_of

SUBNET = SubnetConfig(width=0.6, size=32, frames=2)


@pytest.fixture
def model() -> SlimmableNet:
    model = build_x3d(full_clip=FULL_CLIP, num_classes=7, **X3D)
    model.load_state_dict(pytorchvideos_x3d().state_dict())
    return model.eval()


def clip(config: SubnetConfig, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, config.frames, config.size, config.size)


def ordinary_subnet(model: SlimmableNet, config: SubnetConfig) -> nn.Module:
    """An ordinary network of the sub-network's shapes with copied weights: what the slimmed one must equal.

    Written on its own terms: each layer's slice is found from the shapes that a clip makes on its way.
    """
    ordinary = copy.deepcopy(pytorchvideos_x3d())
    ordinary.blocks[-1].pool.pool = nn.AdaptiveAvgPool3d(1)
    state, statistics = model.state_dict(), model.statistics[config]
    for name, layer in list(ordinary.named_modules()):
        if not isinstance(layer, nn.Conv3d | nn.BatchNorm3d | nn.Linear):
            continue
        rows = layer.weight.shape[0]
        num_outputs = rows if name.endswith(("post_conv", "proj")) else round_channels(config.width, rows)
        if isinstance(layer, nn.BatchNorm3d):
            new = nn.BatchNorm3d(num_outputs)
            new.running_mean, new.running_var = statistics[name]
        elif isinstance(layer, nn.Linear):
            new = nn.Linear(layer.in_features, num_outputs)
        else:
            depthwise = layer.groups > 1
            fan_in = layer.in_channels if layer.in_channels == 3 else round_channels(config.width, layer.in_channels)
            new = nn.Conv3d(
                fan_in, num_outputs, layer.kernel_size, layer.stride, layer.padding,
                groups=num_outputs if depthwise else 1, bias=layer.bias is not None,
            )  # fmt: skip
        new.weight.data = state[f"{name}.weight"][tuple(slice(0, n) for n in new.weight.shape)].clone()
        if new.bias is not None:
            new.bias.data = state[f"{name}.bias"][: len(new.bias)].clone()
        parent, _, leaf = name.rpartition(".")
        setattr(ordinary.get_submodule(parent), leaf, new)
    return ordinary.eval()


def test_slimmed_network_equals_a_small_ordinary_one(model):
    calibrated(model, SUBNET)
    x = clip(SUBNET)
    with torch.no_grad(), model.active(SUBNET):
        logits = model([x])
    with torch.no_grad():
        expected = ordinary_subnet(model, SUBNET)(x)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width", [1.0, 0.9, 0.63, 0.3, 0.01])
@pytest.mark.parametrize(("size", "frames"), [(64, 4), (48, 3), (32, 1), (37, 5)])
def test_any_width_size_and_frame_count_trains(model, width, size, frames):
    config = SubnetConfig(width, size, frames)
    model.train()
    with model.active(config):
        logits = model([clip(config)])
    logits.sum().backward()
    assert logits.shape == (2, 7)
    assert torch.isfinite(logits).all()


def test_gradient_falls_on_the_slice_alone(model):
    model.train()
    with model.active(SUBNET):
        model([clip(SUBNET)]).sum().backward()
    conv = model.blocks[2].res_blocks[0].branch2.conv_a
    rows, columns = round_channels(0.6, conv.out_channels), round_channels(0.6, conv.in_channels)
    assert conv.weight.grad[:rows, :columns].abs().min() > 0
    assert conv.weight.grad[rows:].abs().sum() == 0
    assert conv.weight.grad[:, columns:].abs().sum() == 0


def test_active_gives_back_the_state_before_it(model):
    calibrated(model, SUBNET)
    x, before = torch.randn(2, 3, 4, 64, 64), state_of(model)
    with torch.no_grad():
        expected = model([x])
    with model.active(SUBNET):
        inside = state_of(model)
        with model.active(SubnetConfig(0.8, 64, 4)):
            assert state_of(model) != inside
        assert state_of(model) == inside
    assert state_of(model) == before
    with pytest.raises(RuntimeError, match="on purpose"), model.active(SUBNET):
        raise RuntimeError("on purpose")
    assert state_of(model) == before
    with pytest.raises(RuntimeError, match="on purpose"), model.active(SUBNET), model.collecting({}):
        raise RuntimeError("on purpose")
    assert state_of(model) == before
    with torch.no_grad():
        assert torch.equal(model([x]), expected)


def test_uncalibrated_subnet_is_refused_in_evaluation_alone(model):
    refused = pytest.raises(ValueError, match=r"w0\.6-s32-t2 has no batch-norm statistics. Calibrate it first")
    with refused, model.active(SUBNET):
        model([clip(SUBNET)])
    with model.train().active(SUBNET):
        model([clip(SUBNET)])


def test_full_config_evaluates_with_the_tracked_statistics(model):
    x = torch.randn(2, 3, 4, 64, 64)
    with torch.no_grad(), model.active(model.full):
        inside = model([x])
    with torch.no_grad():
        assert torch.equal(inside, model([x]))


def test_subnets_leave_tracked_statistics_alone(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with model.train().active(model.full):
        model([clip(model.full)])
    calibrated(model, SUBNET, model.full)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    model.train()([clip(model.full)])
    assert not torch.equal(before["blocks.0.norm.running_mean"], model.state_dict()["blocks.0.norm.running_mean"])


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (torch.zeros(1, 3, 4, 64, 64), "a list of 1 clip tensor .* got Tensor"),
        ([torch.zeros(1, 3, 4, 64, 64)] * 2, "a list of 1 clip tensor .* got 2 of them"),
        ([torch.zeros(3, 4, 64, 64)], r"\(B, C, T, H, W\), got shape \(3, 4, 64, 64\)"),
    ],
)
def test_wrong_inputs_are_refused(model, clips, message):
    with pytest.raises(ValueError, match=message):
        model(clips)


def test_clip_of_another_shape_than_the_config_is_refused(model):
    calibrated(model, SUBNET)
    message = r"w0\.6-s32-t2 takes clips of \(T, H, W\) \(2, 32, 32\), got \(4, 64, 64\)"
    with pytest.raises(ValueError, match=message), model.active(SUBNET):
        model([torch.zeros(1, 3, 4, 64, 64)])


def test_statistics_that_change_inside_a_block_are_those_of_the_next_forward(model):
    calibrated(model, SUBNET)
    x, statistics = clip(SUBNET), model.statistics[SUBNET]
    with torch.no_grad(), model.active(SUBNET):
        before = model([x])
        model.statistics.set(SUBNET, {name: (mean, 4 * variance) for name, (mean, variance) in statistics.items()})
        assert not torch.allclose(model([x]), before)
        model.statistics.clear()
        with pytest.raises(ValueError, match="no batch-norm statistics"):
            model([x])

from __future__ import annotations

import copy
import operator

import pytest
import torch
from pytorchvideo.models.resnet import BottleneckBlock, ResBlock
from torch import nn

import mutualnet3d as m3
from mutualnet3d.models.fused_blocks import FusedBottleneck, FusedResBlock, fuse_blocks, normalize_activate
from mutualnet3d.models.slowfast import build_slowfast
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.ops import (
    SlimBatchNorm3d,
    SlimConv3d,
    SlimSqueezeExcitation,
    triton_depthwise,
    triton_norm,
    triton_switch,
)
from mutualnet3d.shapes import ClipShape

CPU = torch.device("cpu")


def channels_last(*shape: int) -> torch.Tensor:
    return torch.randn(*shape).contiguous(memory_format=torch.channels_last_3d)


def keep_format(network: nn.Module) -> nn.Module:
    """Make convolutions keep channels_last_3d; on CPUs torch has kernels, for small features, that do not."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | SlimConv3d):
            module.register_forward_hook(lambda layer, x, y: y.contiguous(memory_format=torch.channels_last_3d))
    return network


def bottleneck() -> BottleneckBlock:
    return BottleneckBlock(
        conv_a=nn.Conv3d(4, 8, 1),
        norm_a=nn.BatchNorm3d(8),
        act_a=nn.ReLU(),
        conv_b=nn.Conv3d(8, 8, 3, padding=1),
        norm_b=nn.BatchNorm3d(8),
        act_b=nn.SiLU(),
        conv_c=nn.Conv3d(8, 4, 1),
        norm_c=nn.BatchNorm3d(4),
    )


@pytest.fixture(autouse=True)
def _depthwise_by_torch(monkeypatch) -> None:
    """In the interpreter those kernels would take minutes."""
    monkeypatch.setattr(triton_depthwise, "fits", lambda *arguments: False)


@pytest.fixture
def calls(monkeypatch) -> list[tuple[str, bool, bool]]:
    """The calls of fused norms: activation, whether there was a shortcut, whether there was a gate. Without kernels."""
    made = []
    fused = SlimBatchNorm3d.fused

    def record(norm, x, activation="none", shortcut=None, gate=None):
        made.append((activation, shortcut is not None, gate is not None))
        return fused(norm, x, activation, shortcut, gate)

    monkeypatch.setattr(SlimBatchNorm3d, "fused", record)
    return made


def slim_x3d() -> nn.Module:
    torch.manual_seed(0)
    network = build_x3d(
        full_clip=ClipShape(2, 32),
        num_classes=3,
        width_factor=1.0,
        depth_factor=0.3,
        dim_c1=8,
        dim_c5=32,
        dropout_rate=0.0,
        zero_init_final_bn=False,
    )
    return keep_format(network)


def step(network: nn.Module, clips: list[torch.Tensor], on: bool) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """Logits of the full network and of a narrow one, gradients, and statistics."""
    network = copy.deepcopy(network).train()
    logits = []
    with triton_switch.switched(on, CPU):
        logits.append(network(clips))
        with network.active(m3.SubnetConfig(width=0.5, size=32, frames=2)):
            logits.append(network(clips))
        sum(y.square().sum() for y in logits).backward()
    gradients = {name: value.grad for name, value in network.named_parameters()}
    return logits, {**gradients, **dict(network.named_buffers())}


def test_blocks_become_fused_ones_with_the_same_parameters():
    block = ResBlock(branch2=bottleneck(), activation=nn.ReLU(), branch_fusion=operator.add)
    names = list(block.state_dict())
    network = nn.Sequential(block)
    x = channels_last(2, 4, 2, 5, 5)
    before = network(x)
    fuse_blocks(network)
    assert type(block) is FusedResBlock
    assert type(block.branch2) is FusedBottleneck
    assert list(block.state_dict()) == names
    assert torch.equal(network(x), before)
    assert torch.equal(copy.deepcopy(network)(x), before)


def test_with_the_switch_on_plain_norms_stay_torchs(monkeypatch):
    """An extracted network has such."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    block = ResBlock(branch2=bottleneck(), activation=nn.ReLU(), branch_fusion=operator.add)
    x = channels_last(2, 4, 2, 5, 5)
    expected = block(x)
    fuse_blocks(block)
    with triton_switch.switched(True, CPU):
        assert torch.equal(block(x), expected)


@pytest.mark.slow
@pytest.mark.skipif(
    torch.cuda.is_available(), reason="Triton compiles for the GPU; tests/engine/test_cuda.py has its test"
)
def test_a_networks_step_is_that_of_torch_but_for_rounding(calls):
    pytest.importorskip("triton")
    network, clips = slim_x3d(), [channels_last(2, 3, 2, 32, 32)]
    logits, values = step(network, clips, on=True)
    norms = sum(isinstance(module, SlimBatchNorm3d) for module in network.modules())
    assert len(calls) == 2 * norms
    gates = sum(isinstance(module, SlimSqueezeExcitation) for module in network.modules())
    assert calls.count(("swish", False, True)) == 2 * gates > 0
    blocks = sum(isinstance(module, FusedResBlock) for module in network.modules())
    assert calls.count(("relu", True, False)) == 2 * blocks > 0
    calls.clear()
    expected, right = step(network, clips, on=False)
    assert calls == []
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    assert values.keys() == right.keys()
    for name, value in values.items():
        error = (value.double() - right[name].double()).norm() / (1e-4 + right[name].double().norm())
        assert error < 1e-3, name


def test_slowfasts_norms_are_fused_too(calls, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    # torch's operations stand for the kernels.
    monkeypatch.setattr(triton_norm, "normalize_activate", stand_in)
    network = build_slowfast(full_clip=ClipShape(4, 32), num_classes=2, alpha=2, width_per_group=16)
    keep_format(network).train()
    clips = [channels_last(1, 3, shape.frames, 32, 32) for shape in network.input_shapes(network.full)]
    with triton_switch.switched(True, CPU):
        network(clips)
    assert len(calls) == sum(isinstance(module, SlimBatchNorm3d) for module in network.modules())
    assert calls.count(("none", False, False)) == 8  # of the shortcuts that have a convolution


def stand_in(x, weight, bias, eps, activation, shortcut, tracking):
    y = nn.functional.batch_norm(x, None, None, weight, bias, True, 0.0, eps)
    y = y if shortcut is None else y + shortcut
    return {"none": nn.Identity(), "relu": nn.ReLU()}[activation](y)


@pytest.mark.parametrize(
    "activation", [nn.GELU(), nn.LeakyReLU(), nn.Sequential(nn.ReLU())], ids=lambda layer: type(layer).__name__
)
def test_other_activations_are_called(activation, calls, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(triton_norm, "normalize_activate", stand_in)
    norm, x = SlimBatchNorm3d(4), channels_last(2, 4, 2, 3, 3)
    with triton_switch.switched(True, CPU):
        y = normalize_activate(norm, activation, x)
    assert calls == [("none", False, False)]
    torch.testing.assert_close(y, activation(norm.eval().train()(x)))


def test_hooks_are_called(calls, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(triton_norm, "normalize_activate", stand_in)
    norm, activation, x, seen = SlimBatchNorm3d(4), nn.ReLU(), channels_last(2, 4, 2, 3, 3), []
    handle = activation.register_forward_hook(lambda layer, inputs, output: seen.append(type(layer)))
    with triton_switch.switched(True, CPU):
        normalize_activate(norm, activation, x)
        handle.remove()
        normalize_activate(norm, activation, x)
    assert seen == [nn.ReLU]
    assert calls == [("none", False, False), ("relu", False, False)]


def test_shortcuts_of_other_types_are_added_by_torch(calls, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(triton_norm, "normalize_activate", stand_in)
    inner = bottleneck()
    for name in ("norm_a", "norm_b", "norm_c"):
        setattr(inner, name, SlimBatchNorm3d.from_norm(getattr(inner, name)))
    inner.act_b = nn.ReLU()
    block = ResBlock(branch2=inner, activation=nn.ReLU(), branch_fusion=operator.add)
    fuse_blocks(keep_format(block))
    x = channels_last(2, 4, 2, 5, 5)
    with triton_switch.switched(True, CPU):
        block(x)
        assert calls[-1] == ("relu", True, False)
        inner.conv_a.register_forward_pre_hook(lambda layer, inputs: (inputs[0].float(),))
        assert block(x.double()).dtype == torch.float64
    assert calls[-1] == ("none", False, False)

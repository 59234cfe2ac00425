from __future__ import annotations

import copy

import pytest
import torch
from pytorchvideo.models.x3d import create_x3d
from torch import nn

import mutualnet3d as m3
from mutualnet3d.models import SlimmableNet
from mutualnet3d.models.convert import make_slimmable
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.mutual import calibrate
from mutualnet3d.ops import round_channels
from mutualnet3d.shapes import ClipBatch, ClipShape, SubnetConfig
from tests.models.families import randomise, state_of

NATIVE = ClipShape(frames=4, size=64)
SETTINGS = {"width_factor": 1.0, "depth_factor": 0.7, "dim_c5": 64}
SUBNET = SubnetConfig(width=0.6, size=32, frames=2)


def pytorchvideos(num_classes: int = 7) -> nn.Module:
    torch.manual_seed(2)
    model = create_x3d(
        input_clip_length=NATIVE.frames,
        input_crop_size=NATIVE.size,
        model_num_class=num_classes,
        stem_dim_in=12,
        head_dim_out=SETTINGS["dim_c5"],
        width_factor=SETTINGS["width_factor"],
        depth_factor=SETTINGS["depth_factor"],
        head_activation=None,
    )
    randomise(model)
    return model


@pytest.fixture
def model() -> SlimmableNet:
    model = build_x3d(full_clip=NATIVE, num_classes=7, **SETTINGS)
    model.load_state_dict(pytorchvideos().state_dict())
    return model.eval()


def clip(config: SubnetConfig, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, config.frames, config.size, config.size)


def calibrated(model: SlimmableNet, *configs: SubnetConfig) -> SlimmableNet:
    batches = [ClipBatch({}, torch.zeros(4, dtype=torch.long), torch.arange(4)) for _ in range(2)]
    calibrate(model, configs, batches, lambda batch, config: [clip(config, len(batch))])
    return model


def plain_subnet(model: SlimmableNet, config: SubnetConfig) -> nn.Module:
    """An ordinary network of the sub-network's shapes with copied weights: what the slimmed one must equal.

    Written on its own terms: each layer's slice is found from the shapes that a clip makes on its way.
    """
    plain = copy.deepcopy(pytorchvideos())
    plain.blocks[-1].pool.pool = nn.AdaptiveAvgPool3d(1)
    state, statistics = model.state_dict(), model.statistics[config]
    for name, layer in list(plain.named_modules()):
        if not isinstance(layer, nn.Conv3d | nn.BatchNorm3d | nn.Linear):
            continue
        rows = layer.weight.shape[0]
        kept = rows if name.endswith(("post_conv", "proj")) else round_channels(config.width, rows)
        if isinstance(layer, nn.BatchNorm3d):
            new = nn.BatchNorm3d(kept)
            new.running_mean, new.running_var = statistics[name]
        elif isinstance(layer, nn.Linear):
            new = nn.Linear(layer.in_features, kept)
        else:
            depthwise = layer.groups > 1
            fan_in = layer.in_channels if layer.in_channels == 3 else round_channels(config.width, layer.in_channels)
            new = nn.Conv3d(
                fan_in, kept, layer.kernel_size, layer.stride, layer.padding,
                groups=kept if depthwise else 1, bias=layer.bias is not None,
            )  # fmt: skip
        new.weight.data = state[f"{name}.weight"][tuple(slice(0, n) for n in new.weight.shape)].clone()
        if new.bias is not None:
            new.bias.data = state[f"{name}.bias"][: len(new.bias)].clone()
        parent, _, leaf = name.rpartition(".")
        setattr(plain.get_submodule(parent), leaf, new)
    return plain.eval()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_full_network_has_pytorchvideos_bits(model, training, memory_format):
    theirs = pytorchvideos().train(training).to(memory_format=memory_format)
    model.train(training).to(memory_format=memory_format)
    x = torch.randn(2, 3, 4, 64, 64).to(memory_format=memory_format)
    outputs = []
    for run in (lambda: theirs(x), lambda: model([x])):
        torch.manual_seed(3)  # dropout
        outputs.append(run())
    assert torch.equal(*outputs)
    assert list(model.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(model.state_dict()[name], value) for name, value in theirs.state_dict().items())


@pytest.mark.slow
def test_the_full_network_may_have_the_kernels_of_others(model):
    model.eval().to(memory_format=torch.channels_last_3d)
    clip = torch.randn(1, 3, 4, 64, 64).to(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        wanted = model([clip])
        model.exact_full = False
        with model.active(model.full):
            assert not model._convs[0].exact_bits
            got = model([clip])
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    assert model._convs[0].exact_bits  # outside of `active` it is any network


@pytest.mark.parametrize(("name", "frames", "size", "depth"), [("x3d_xs", 4, 160, 2.2), ("x3d_s", 13, 160, 2.2)])
def test_published_networks_have_pytorchvideos_bits(name, frames, size, depth):
    theirs = create_x3d(input_clip_length=frames, input_crop_size=size, depth_factor=depth, head_activation=None).eval()
    randomise(theirs)
    model = m3.create_model(name).eval()
    model.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, frames, size, size)
    with torch.no_grad():
        assert torch.equal(model([x]), theirs(x))


def test_slimmed_network_equals_a_small_ordinary_one(model):
    calibrated(model, SUBNET)
    x = clip(SUBNET)
    with torch.no_grad(), model.active(SUBNET):
        logits = model([x])
    with torch.no_grad():
        expected = plain_subnet(model, SUBNET)(x)
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


def test_layers_that_keep_their_outputs(model):
    kept = [name for name, layer in model.named_modules() if getattr(layer, "slim_output", True) is False]
    assert kept == ["blocks.5.pool.post_conv", "blocks.5.proj"]


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


def test_statistics_follow_the_parameters(model):
    calibrated(model, SUBNET)
    model.double()
    with torch.no_grad(), model.active(SUBNET):
        assert model([clip(SUBNET).double()]).dtype == torch.float64


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


def test_statistics_of_another_network_are_refused(model):
    with pytest.raises(ValueError, match=r"statistics of w0\.6-s32-t2 are not of this network's batch norms"):
        model.set_statistics(SUBNET, {"blocks.9.norm": (torch.zeros(8), torch.ones(8))})
    calibrated(model, SUBNET)
    wide = {name: (torch.zeros(999), torch.ones(999)) for name in model.statistics[SUBNET]}
    with pytest.raises(ValueError, match=r"have 999 and 999 channels; the layer has 16"):
        model.set_statistics(SUBNET, wide)


def test_a_layer_without_a_rule_is_named():
    network = pytorchvideos()
    network.blocks[0].norm = nn.GroupNorm(4, 16)
    with pytest.raises(
        ValueError, match=r"cannot make blocks\.0\.norm slimmable: no rule for layers of type GroupNorm"
    ):
        make_slimmable(network)


def test_unknown_model_lists_the_known():
    with pytest.raises(ValueError, match=r"unknown model 'x3d_xl'; known: c2d_8x8_r101, .*, x3d_l, x3d_m, x3d_s"):
        m3.create_model("x3d_xl")


def test_too_small_a_native_clip_is_refused():
    with pytest.raises(ValueError, match="at least 32 x 32 pixels, got 4 x 16 x 16"):
        build_x3d(full_clip=ClipShape(frames=4, size=16), num_classes=2)

from __future__ import annotations

import pytest
import torch

from mutualnet3d.models.interpolate import inputs_of_norms, interpolated, neighbours
from mutualnet3d.models.slowfast import SlimmableSlowFast, build_slowfast
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.ops import round_channels
from mutualnet3d.shapes import ClipShape, SubnetConfig

FULL_CLIP = ClipShape(4, 32)
NARROW, MIDDLE, WIDE = (SubnetConfig(width, 32, 4) for width in (0.5, 0.75, 1.0))


def by_rule(model, config, value):
    """Statistics of the right lengths: `value` everywhere, plus the channel's number in the mean."""
    statistics = {}
    with torch.no_grad(), model.active(config), model.collecting(batch_statistics := {}):
        model([torch.randn(2, 3, shape.frames, shape.size, shape.size) for shape in model.input_shapes(config)])
    for name, pooled in batch_statistics.items():
        channels = len(pooled.mean_C)
        statistics[name] = torch.arange(float(channels)) + value, torch.full((channels,), value)
    return statistics


@pytest.fixture(params=["x3d", pytest.param("slowfast", marks=pytest.mark.slow)])
def model(request):
    if request.param == "x3d":
        model = build_x3d(full_clip=FULL_CLIP, num_classes=5, width_factor=2.0, depth_factor=0.3, dim_c5=32)
    else:  # all of whose widths are whole multiples of 8 channels
        model = build_slowfast(full_clip=FULL_CLIP, alpha=2, num_classes=5, width_per_group=32, beta_inv=4)
    model.statistics.set(NARROW, by_rule(model, NARROW, 1.0))
    model.statistics.set(WIDE, by_rule(model, WIDE, 3.0))
    return model


def test_statistics_lie_between_those_of_the_neighbours(model):
    """Variances of 1 and 3: half way where the input channels are half way, and so everywhere in SlowFast."""
    model.statistics.interpolation_losses[FULL_CLIP] = 0.1
    model.interpolate_statistics(MIDDLE)
    assert model.statistics.interpolated == [MIDDLE]
    counts = [inputs_of_norms(model, config) for config in (NARROW, MIDDLE, WIDE)]
    lengths = {name: len(mean) for name, (mean, _) in by_rule(model, MIDDLE, 0.0).items()}
    has_more = set()
    for name, (mean, variance) in model.statistics[MIDDLE].items():
        assert len(mean) == len(variance) == lengths[name]
        few, some, many = (inputs[name] for inputs in counts)
        expected = 1 + 2 * ((some - few) / (many - few) if many > few else 0.5)
        torch.testing.assert_close(variance, torch.full_like(variance, expected))
        common = min(len(model.statistics[NARROW][name][0]), len(mean))
        torch.testing.assert_close(mean[:common], torch.arange(float(common)) + expected)
        has_more.add(common < len(mean))
        if isinstance(model, SlimmableSlowFast):
            assert expected == 2
    assert True in has_more
    clips = [torch.randn(2, 3, shape.frames, shape.size, shape.size) for shape in model.input_shapes(MIDDLE)]
    with torch.no_grad(), model.eval().active(MIDDLE):
        assert model(clips).isfinite().all()


def test_inputs_are_those_of_the_convolution_before():
    model = build_x3d(full_clip=FULL_CLIP, num_classes=5, width_factor=2.0, depth_factor=0.3, dim_c5=32)
    inputs = inputs_of_norms(model, SubnetConfig(0.63, 32, 4))
    block = "blocks.1.res_blocks.0.branch2"
    assert inputs["blocks.0.norm"] == 1  # after the stem's depthwise convolution in time
    assert inputs[f"{block}.norm_a"] == round_channels(0.63, 24)
    assert inputs[f"{block}.norm_b.0"] == 1
    assert inputs[f"{block}.norm_c"] == round_channels(0.63, model.blocks[1].res_blocks[0].branch2.conv_c.in_channels)


def test_the_nearest_widths_of_the_same_size_and_frames():
    calibrated = [SubnetConfig(width, 32, 4) for width in (0.5, 0.6, 0.7, 0.9, 1.0)] + [SubnetConfig(0.78, 32, 2)]
    pair = neighbours(SubnetConfig(0.8, 32, 4), calibrated)
    assert pair == (SubnetConfig(0.7, 32, 4), SubnetConfig(0.9, 32, 4))
    assert neighbours(SubnetConfig(0.7, 32, 4), calibrated) == (SubnetConfig(0.6, 32, 4), SubnetConfig(0.9, 32, 4))
    assert neighbours(SubnetConfig(0.8, 48, 4), calibrated) is None
    assert neighbours(SubnetConfig(1.0, 32, 4), calibrated) is None


def test_without_neighbours_or_measurement_it_is_refused():
    model = build_x3d(full_clip=FULL_CLIP, num_classes=5, width_factor=1.0, depth_factor=0.3, dim_c5=32)
    model.statistics.set(NARROW, by_rule(model, NARROW, 1.0))
    with pytest.raises(
        ValueError, match=r"w0\.75-s32-t4 can be interpolated .* size 32 and 4 frames; calibrated widths: 0\.5"
    ):
        interpolated(model, MIDDLE)
    model.statistics.set(WIDE, by_rule(model, WIDE, 3.0))
    with pytest.raises(ValueError, match=r"w0\.75-s32-t4 cost has not been measured at size 32 with 4 frames"):
        model.interpolate_statistics(MIDDLE)
    model.statistics.interpolation_losses[FULL_CLIP] = 0.51
    with pytest.raises(ValueError, match=r"cost 0\.51 points .* more than the 0\.5 that are allowed: calibrate w0\.75"):
        model.interpolate_statistics(MIDDLE)
    assert MIDDLE not in model.statistics
    model.interpolate_statistics(MIDDLE, max_loss=0.51)
    channels = round_channels(0.75, model.blocks[0].norm.num_features)
    assert len(model.statistics[MIDDLE]["blocks.0.norm"][0]) == channels

"""Tests that hold for every family: X3D, Slow, C2D, I3D, SlowFast."""

from __future__ import annotations

import pytest
import torch

from mutualnet3d.models import SlimmableNet
from mutualnet3d.mutual import SubnetSpace, mutual_step
from mutualnet3d.shapes import SubnetConfig
from tests.models.families import FAMILIES, FULL_CLIP, NUM_CLASSES, calibrated, clips, relative, state_of, tiny

SUBNET = SubnetConfig(width=0.6, size=48, frames=2)


@pytest.fixture(params=list(FAMILIES))
def model(request: pytest.FixtureRequest) -> SlimmableNet:
    return tiny(request.param)


@pytest.mark.parametrize(
    "model",
    [pytest.param(name, marks=pytest.mark.slow) if name in ("c2d", "i3d") else name for name in FAMILIES],
    indirect=True,
)
def test_trains_mutually_then_calibrates_evaluates_and_extracts(model):
    torch.manual_seed(3)
    space = SubnetSpace((0.6, 1.0), (64, 48), (4, 2))
    label_B = torch.arange(4) % 2
    # Two kinds of clips that a network can tell apart: dark and bright.
    shapes = {shape for config in space.grid([1.0]) for shape in model.input_shapes(config)}
    batch = {
        shape: label_B[:, None, None, None, None] + 0.1 * torch.randn(4, 3, shape.frames, shape.size, shape.size)
        for shape in shapes
    }
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    full_losses = []
    model.train()
    for step in range(3):
        full, *subnets = space.at_step(0, step)
        optimizer.zero_grad()
        losses = mutual_step(
            model, lambda config: [batch[shape] for shape in model.input_shapes(config)], label_B, full, subnets
        ).losses
        assert len(losses) == 4
        assert all(torch.isfinite(loss) for loss in losses.values())
        full_losses.append(losses[str(full)].item())
        optimizer.step()
    assert full_losses[-1] < full_losses[0]

    calibrated(model.eval(), SUBNET, space.full)
    for config in (SUBNET, space.full):
        x = clips(model, config)
        with torch.no_grad(), model.active(config):
            logits = model(x)
        assert logits.shape == (2, NUM_CLASSES)
        with torch.no_grad():
            assert relative(model.extract(config)(x), logits) < 1e-5


def test_two_forwards_on_one_list_are_equal_and_leave_it_alone(model):
    calibrated(model, SUBNET)
    x = clips(model, SUBNET)
    copies = [clip.clone() for clip in x]
    with torch.no_grad(), model.active(SUBNET):
        first, second = model(x), model(x)
    assert torch.equal(first, second)
    assert len(x) == len(copies)
    assert all(torch.equal(clip, copy) for clip, copy in zip(x, copies, strict=True))


def test_state_comes_back_after_an_exception(model):
    calibrated(model, SUBNET)
    x = clips(model, model.full)
    with torch.no_grad():
        expected = model(x)
    before = state_of(model)
    with pytest.raises(RuntimeError, match="on purpose"), model.shared_fast_features(), model.active(SUBNET):
        _fail()
    assert state_of(model) == before
    with torch.no_grad():
        assert torch.equal(model(x), expected)
    # And a batch that was broken off leaves nothing for the next one.
    model.train()
    with pytest.raises(RuntimeError, match="on purpose"), model.shared_fast_features():
        _fail(model(x))
    with model.shared_fast_features():
        model(clips(model, model.full)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def _fail(*_: object) -> None:
    raise RuntimeError("on purpose")


@pytest.mark.parametrize("config", [SubnetConfig(0.63, 40, 3), SubnetConfig(0.01, 33, 2), SubnetConfig(1.0, 96, 5)])
def test_any_width_size_and_frame_count_trains(model, config):
    model.train()
    with model.active(config):
        logits = model(clips(model, config))
    logits.sum().backward()
    assert logits.shape == (2, NUM_CLASSES)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("config", [SUBNET, SubnetConfig(1.0, 64, 4)], ids=str)
def test_inference_equals_the_training_arithmetic(model, config):
    """Without gradients pointwise convolutions are matrix products (ops/cpu_kernels.py): the same numbers."""
    calibrated(model.to(memory_format=torch.channels_last_3d), config).double()
    x = [clip.double().to(memory_format=torch.channels_last_3d) for clip in clips(model, config)]
    with model.active(config):
        as_in_training = model(x)
        with torch.no_grad():
            logits = model(x)
    assert relative(logits, as_in_training) < 1e-10


def test_gradients_of_the_step_flow_to_every_parameter(model):
    model.train()
    full = model.full
    x = {config: clips(model, config) for config in (full, SUBNET)}
    mutual_step(model, x.__getitem__, torch.tensor([0, 1]), full, [SUBNET])
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_clip_that_the_network_cannot_take(model):
    pathway = " on pathway 0" if model.num_pathways > 1 else ""
    message = rf"w0\.6-s48-t2 takes clips of \(T, H, W\) \(2, 48, 48\){pathway}, got \(4, 64, 64\)"
    calibrated(model, SUBNET)
    with pytest.raises(ValueError, match=message), model.active(SUBNET):
        model(clips(model, model.full))
    with pytest.raises(ValueError, match=r"the network takes a list of \d clip tensors? .* got 3 of them"):
        model([torch.zeros(1, 3, 4, 64, 64)] * 3)


def test_natives_are_those_of_the_builders(model):
    assert model.full == SubnetConfig(1.0, FULL_CLIP.size, FULL_CLIP.frames)
    assert model.input_shapes(model.full)[0] == FULL_CLIP
    assert not torch.allclose(model(clips(model, model.full)).sum(1), torch.ones(2))  # logits, not probabilities

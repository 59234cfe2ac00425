from __future__ import annotations

import pytest
import torch
from pytorchvideo.models.x3d import create_x3d

import mutualnet3d as m3
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.shapes import ClipShape
from tests.models.families import FULL_CLIP, X3D, pytorchvideos_x3d, randomise, relative


@pytest.fixture
def model():
    model = build_x3d(full_clip=FULL_CLIP, num_classes=7, **X3D)
    model.load_state_dict(pytorchvideos_x3d().state_dict())
    return model.eval()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_full_network_computes_as_pytorchvideos(model, training, memory_format):
    """Its Swish has other last bits than torch's SiLU; everything else is the same arithmetic where gradients are."""
    original = pytorchvideos_x3d().train(training).to(memory_format=memory_format)
    model.train(training).to(memory_format=memory_format)
    x = torch.randn(2, 3, 4, 64, 64).to(memory_format=memory_format)
    outputs = []
    for run in (lambda: original(x), lambda: model([x])):
        torch.manual_seed(3)  # dropout
        outputs.append(run())
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-6)
    assert list(model.state_dict()) == list(original.state_dict())
    for name, value in original.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_inference_computes_as_pytorchvideos(model, memory_format):
    """Without gradients, by other kernels; inside `active` and outside the same bits."""
    original = pytorchvideos_x3d().eval().to(memory_format=memory_format)
    model.to(memory_format=memory_format)
    x = torch.randn(1, 3, 4, 64, 64).to(memory_format=memory_format)
    with torch.no_grad():
        expected, logits = original(x), model([x])
        with model.active(model.full):
            assert torch.equal(model([x]), logits)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "frames", "size", "depth"), [("x3d_xs", 4, 160, 2.2), ("x3d_s", 13, 160, 2.2)])
def test_published_networks_compute_as_pytorchvideos(name, frames, size, depth):
    original = create_x3d(
        input_clip_length=frames, input_crop_size=size, depth_factor=depth, head_activation=None
    ).eval()
    randomise(original)
    model = m3.create_model(name).eval()
    model.load_state_dict(original.state_dict())
    x = torch.randn(1, 3, frames, size, size)
    with torch.no_grad():
        assert relative(model([x]), original(x)) < 1e-5


def test_layers_that_keep_their_outputs(model):
    whole = [name for name, layer in model.named_modules() if getattr(layer, "slim_output", True) is False]
    assert whole == ["blocks.5.pool.post_conv", "blocks.5.proj"]


def test_too_small_a_native_clip_is_refused():
    with pytest.raises(ValueError, match="at least 32 x 32 pixels, got 4 x 16 x 16"):
        build_x3d(full_clip=ClipShape(frames=4, size=16), num_classes=2)

from __future__ import annotations

import pytest
import torch
from pytorchvideo.models.csn import create_csn
from pytorchvideo.models.r2plus1d import create_r2plus1d
from pytorchvideo.models.resnet import create_resnet
from torch import nn

from mutualnet3d.models import SlimmableNet
from mutualnet3d.models.convert import convert_blocks
from mutualnet3d.shapes import ClipShape, SubnetConfig
from tests.models.families import FULL_CLIP, calibrated, clips, pytorchvideos_x3d, randomise


@pytest.mark.parametrize(
    "create",
    [
        lambda: create_csn(model_num_class=5, stem_dim_out=16),
        lambda: create_r2plus1d(model_num_class=5, stem_dim_out=16, head_activation=None),
    ],
    ids=["csn", "r2plus1d"],
)
def test_another_pytorchvideo_resnet_converts_too(create):
    original = create()
    randomise(original)
    x = torch.randn(2, 3, 8, 64, 64)
    with torch.no_grad():
        features = torch.nn.Sequential(*original.eval().blocks[:-1])(x)
        original.blocks[-1].pool = nn.AvgPool3d(features.shape[2:])  # the original is of one clip shape
        expected = original(x)
    names = list(original.state_dict())
    clip = ClipShape(8, 64)
    blocks, flow = convert_blocks(original, clip)
    model = SlimmableNet(blocks, clip, flow=flow).eval()
    with torch.no_grad():
        assert torch.equal(model([x]), expected)
    assert list(model.state_dict()) == names
    config = SubnetConfig(0.5, 48, 8)
    calibrated(model, config)
    x = clips(model, config)
    with torch.no_grad(), model.active(config):
        logits = model(x)
    assert logits.shape == (2, 5)
    with torch.no_grad():
        torch.testing.assert_close(model.extract(config)(x), logits, rtol=1e-4, atol=1e-4)


def test_a_layer_that_cannot_be_slimmed_is_named():
    network = create_resnet(stem_dim_out=8)
    network.blocks[2].res_blocks[1].branch2.conv_b = nn.ConvTranspose3d(16, 16, 1)
    message = r"cannot make blocks\.2\.res_blocks\.1\.branch2\.conv_b slimmable: .* type ConvTranspose3d"
    with pytest.raises(ValueError, match=message):
        convert_blocks(network, FULL_CLIP)


class Shuffle(nn.Module):
    """No parameters, but other channels."""

    def forward(self, x):
        return x.flip(1)


class Wrapped(nn.Module):
    """Shuffle of channels that the tracer sees: it follows a layer."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(x).flip(1)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Shuffle(), r"cannot make blocks\.0\.activation slim.* type Shuffle"),
        (Wrapped(), r"cannot make blocks\.0\.activation slimmable: no rule for the operation 'flip'.* type Wrapped"),
    ],
)
def test_what_moves_channels_about_is_named(layer, message):
    network = create_resnet(stem_dim_out=8)
    network.blocks[0].activation = layer
    with pytest.raises(ValueError, match=message):
        convert_blocks(network, FULL_CLIP)


def test_a_head_that_gives_probabilities_gives_logits_afterwards():
    original = create_resnet(
        model_num_class=5, stem_dim_out=8, head_activation=nn.Softmax, head_pool_kernel_size=(4, 2, 2)
    )
    x = torch.randn(2, 3, 4, 64, 64)
    with torch.no_grad():
        probabilities = original.eval()(x)
        logits = SlimmableNet(convert_blocks(original, FULL_CLIP)[0], FULL_CLIP).eval()([x])
    torch.testing.assert_close(logits.softmax(1), probabilities)
    assert not torch.allclose(logits, probabilities)


def test_a_layer_without_a_rule_is_named():
    network = pytorchvideos_x3d()
    network.blocks[0].norm = nn.GroupNorm(4, 16)
    with pytest.raises(
        ValueError, match=r"cannot make blocks\.0\.norm slimmable: no rule for .* in a layer of type GroupNorm"
    ):
        convert_blocks(network, FULL_CLIP)

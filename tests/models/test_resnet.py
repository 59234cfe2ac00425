from __future__ import annotations

import pytest
import torch
from pytorchvideo.models.resnet import create_resnet
from torch import nn

from mutualnet3d.models.resnet import build_resnet, temporal_kernels
from mutualnet3d.shapes import ClipShape, SubnetConfig
from tests.models.families import FULL_CLIP, randomise

# What pytorchvideo's hub passes to its factory for these networks.
HUB = {
    "slow": {"stem_conv_kernel_size": (1, 7, 7), "head_pool_kernel_size": (4, 2, 2)},
    "c2d": {
        "stem_conv_kernel_size": (1, 7, 7),
        "stage1_pool": nn.MaxPool3d,
        "stage_conv_a_kernel_size": ((1, 1, 1),) * 4,
        "head_pool_kernel_size": (2, 2, 2),
    },
    "i3d": {
        "stem_conv_kernel_size": (5, 7, 7),
        "stage1_pool": nn.MaxPool3d,
        "stage_conv_a_kernel_size": (
            (3, 1, 1),
            [(3, 1, 1), (1, 1, 1)],
            [(3, 1, 1), (1, 1, 1)],
            [(1, 1, 1), (3, 1, 1)],
        ),
        "head_pool_kernel_size": (2, 2, 2),
    },
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("kind", list(HUB))
def test_full_network_has_pytorchvideos_bits(kind, memory_format, training):
    original = create_resnet(model_num_class=5, stem_dim_out=8, **HUB[kind])
    randomise(original)
    model = build_resnet(kind=kind, full_clip=FULL_CLIP, num_classes=5, width_per_group=8)
    model.load_state_dict(original.state_dict())
    x = torch.randn(2, 3, 4, 64, 64).to(memory_format=memory_format)
    outputs = []
    for network, call in ((original, lambda: original(x)), (model, lambda: model([x]))):
        network.train(training).to(memory_format=memory_format)
        torch.manual_seed(3)  # dropout
        outputs.append(call())
    assert torch.equal(*outputs)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in original.state_dict().items())


def test_temporal_kernels_are_pyslowfasts():
    stages, depths = ((3,), (3, 1), (3, 1), (1, 3)), (3, 4, 6, 3)
    lengths = [[kernel[0] for kernel in stage] for stage in temporal_kernels(stages, depths, None)]
    assert lengths == [[3, 3, 3], [3, 1, 3, 1], [3, 1, 3, 1, 3, 1], [1, 3, 1]]
    lengths = [[kernel[0] for kernel in stage] for stage in temporal_kernels(stages, depths, (2, 1, 3, 0))]
    assert lengths == [[3, 3, 1], [3, 1, 1, 1], [3, 1, 3, 1, 1, 1], [1, 1, 1]]
    for odd in ((3, 4, 6), (3, 4, 23, 3), (-1, 4, 6, 3)):
        with pytest.raises(
            ValueError, match=r"temporal kernels: \(.*\) blocks of the stages, which have \(3, 4, 6, 3\) blocks"
        ):
            temporal_kernels(stages, depths, odd)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "slowfast"}, "unknown kind of ResNet 'slowfast'; known: slow, c2d, slow_c2d, i3d, slow_i3d"),
        ({"depth": 34}, "a ResNet has 50, 101, 152 layers, got 34"),
        ({"full_clip": ClipShape(4, 16)}, "its clips need at least 32 x 32 pixels, got 4 x 16 x 16"),
        ({"kind": "i3d", "full_clip": ClipShape(1, 64)}, "i3d halves time: its clips need at least 2 frames"),
    ],
)
def test_networks_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        build_resnet(**{"kind": "slow", "full_clip": FULL_CLIP, "num_classes": 2, "width_per_group": 8, **changes})


def test_a_subnet_with_too_few_frames_for_the_network():
    model = build_resnet(kind="c2d", full_clip=FULL_CLIP, num_classes=2, width_per_group=8)
    with pytest.raises(ValueError, match=r"w1\.0-s64-t1: this network needs clips of at least 2 frames"):
        model.input_shapes(SubnetConfig(1.0, 64, 1))

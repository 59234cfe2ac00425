"""Tiny networks of every family, as the tests of models use them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pytorchvideo.models.x3d import create_x3d
from torch import nn

from mutualnet3d.models import SlimmableNet
from mutualnet3d.models.resnet import build_resnet
from mutualnet3d.models.slowfast import build_slowfast
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.mutual import calibrate
from mutualnet3d.ops import SlimBatchNorm3d, SlimConv3d, SlimLinear
from mutualnet3d.shapes import ClipBatch, ClipShape, SubnetConfig

FULL_CLIP = ClipShape(frames=4, size=64)
NUM_CLASSES = 7
# Arguments of the tiny X3D.
X3D = {"width_factor": 1.0, "depth_factor": 0.7, "dim_c5": 64}

FAMILIES: dict[str, Callable[[], SlimmableNet]] = {
    "x3d": lambda: build_x3d(full_clip=FULL_CLIP, num_classes=NUM_CLASSES, **X3D),
    "slow": lambda: build_resnet(kind="slow", full_clip=FULL_CLIP, num_classes=NUM_CLASSES, width_per_group=16),
    "c2d": lambda: build_resnet(kind="c2d", full_clip=FULL_CLIP, num_classes=NUM_CLASSES, width_per_group=16),
    "i3d": lambda: build_resnet(kind="i3d", full_clip=FULL_CLIP, num_classes=NUM_CLASSES, width_per_group=16),
    "slowfast": lambda: build_slowfast(full_clip=FULL_CLIP, alpha=4, num_classes=NUM_CLASSES, width_per_group=16),
}


def randomise(model: nn.Module) -> None:
    """Scales, shifts and statistics that are not 0 and 1, so that a mistake in any of them shows."""
    generator = torch.Generator().manual_seed(1)
    for name, value in model.state_dict().items():
        if value.ndim == 1:
            low = 0.5 if name.endswith(("weight", "running_var")) else -0.5
            value.copy_(torch.rand(value.shape, generator=generator) + low)


def pytorchvideos_x3d(num_classes: int = NUM_CLASSES) -> nn.Module:
    """pytorchvideo's own network of the tiny X3D, nothing in it 0 or 1."""
    torch.manual_seed(2)
    network = create_x3d(
        input_clip_length=FULL_CLIP.frames,
        input_crop_size=FULL_CLIP.size,
        model_num_class=num_classes,
        stem_dim_in=12,
        head_dim_out=X3D["dim_c5"],
        width_factor=X3D["width_factor"],
        depth_factor=X3D["depth_factor"],
        head_activation=None,
    )
    randomise(network)
    return network


def tiny(family: str) -> SlimmableNet:
    """Return a tiny network of `family`, in evaluation mode, nothing in it 0 or 1."""
    torch.manual_seed(0)
    model = FAMILIES[family]()
    randomise(model)
    return model.eval()


def clips(model: SlimmableNet, config: SubnetConfig, batch: int = 2) -> list[torch.Tensor]:
    return [torch.randn(batch, 3, shape.frames, shape.size, shape.size) for shape in model.input_shapes(config)]


def calibrated(model: SlimmableNet, *configs: SubnetConfig) -> SlimmableNet:
    batches = [ClipBatch({}, torch.zeros(4, dtype=torch.long), torch.arange(4)) for _ in range(2)]
    calibrate(model, configs, batches, lambda batch, config: clips(model, config, len(batch)))
    return model


def state_of(model: SlimmableNet) -> list[object]:
    """Return the state of every layer that switching changes."""
    state: list[object] = [model._active]
    for module in model.modules():
        if isinstance(module, SlimConv3d | SlimLinear):
            state.append(module.out_width)
        if isinstance(module, SlimBatchNorm3d):
            state += [module.in_subnet, module.statistics is None, module.batch_statistics]
    return state


def relative(value: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference, as a fraction of the largest value expected."""
    return ((value - expected).abs().max() / expected.abs().max()).item()

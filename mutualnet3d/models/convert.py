"""A pytorchvideo network made slimmable: by the types of its layers, as names may lie (X3D's stem has two swapped)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from fvcore.nn.squeeze_excitation import SqueezeExcitation
from pytorchvideo.layers.swish import Swish as PytorchvideoSwish
from pytorchvideo.models.head import ResNetBasicHead
from pytorchvideo.models.net import Net
from pytorchvideo.models.x3d import ProjectedPool
from torch import nn

from mutualnet3d.ops import SlimBatchNorm3d, SlimConv3d, SlimLinear, SlimSqueezeExcitation, Swish


class GlobalAvgPool3d(nn.Module):
    """The mean over (T, H, W) of whatever comes: (B, C, T, H, W) -> (B, C, 1, 1, 1).

    An average pooling over the whole extent: at the extent that a pytorchvideo head's fixed kernel was made for, its
    bits are that head's. (`mean` and `AdaptiveAvgPool3d` sum in another order.) The copy for `channels_last_3d`
    leaves the bits alone and is faster than pooling in that format.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool3d(x.contiguous(), x.shape[2:])


def make_slimmable(network: Net) -> nn.ModuleList:
    """The blocks of `network`, slimmable. Replaces, in place, every layer that has channels by its
    slimmable form; parameters and their names stay.

    Heads pool globally afterwards. Classifiers (`ResNetBasicHead.proj`) and the layer that X3D has after pooling
    (`ProjectedPool.post_conv`) keep all their outputs.

    Raises:
        ValueError: a layer with parameters of a kind that cannot be slimmed; it names the layer and its type.
    """
    keep_outputs = set()
    for module in network.modules():
        if isinstance(module, ResNetBasicHead):
            keep_outputs.add(module.proj)
        if isinstance(module, ProjectedPool):
            keep_outputs.add(module.post_conv)
        if isinstance(module, ResNetBasicHead | ProjectedPool) and isinstance(module.pool, nn.AvgPool3d):
            module.pool = GlobalAvgPool3d()
    _convert_children(network, "", keep_outputs)
    return network.blocks


def _convert_children(parent: nn.Module, prefix: str, keep_outputs: set[nn.Module]) -> None:
    for name, child in parent.named_children():
        path = f"{prefix}{name}"
        converted = _convert_layer(child, slim_output=child not in keep_outputs)
        if converted is not None:
            setattr(parent, name, converted)
            continue
        if next(child.parameters(recurse=False), None) is not None:
            raise ValueError(f"cannot make {path} slimmable: no rule for layers of type {type(child).__name__}")
        _convert_children(child, f"{path}.", keep_outputs)


def _convert_layer(layer: nn.Module, slim_output: bool) -> nn.Module | None:
    """The slimmable form, or None for a layer that has none of its own."""
    if type(layer) is nn.Conv3d:
        return SlimConv3d.from_conv(layer, slim_output=slim_output)
    if type(layer) is nn.Linear:
        return SlimLinear.from_linear(layer, slim_output=slim_output)
    if type(layer) is nn.BatchNorm3d:
        return SlimBatchNorm3d.from_norm(layer)
    if isinstance(layer, SqueezeExcitation):
        return SlimSqueezeExcitation.from_squeeze_excitation(layer)
    if isinstance(layer, PytorchvideoSwish):
        return Swish()
    return None

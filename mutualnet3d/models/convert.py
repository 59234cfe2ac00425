"""A pytorchvideo network made slimmable: by the types of its layers and by the flow of channels between them, because
names may lie (X3D's stem has two swapped)."""

from __future__ import annotations

from fvcore.nn.squeeze_excitation import SqueezeExcitation
from pytorchvideo.layers.swish import Swish as PytorchvideoSwish
from pytorchvideo.models.head import ResNetBasicHead
from pytorchvideo.models.net import MultiPathWayWithFuse, Net
from pytorchvideo.models.slowfast import FuseFastToSlow, PoolConcatPathway
from pytorchvideo.models.x3d import ProjectedPool
from torch import nn

from mutualnet3d.models.channel_flow import ChannelFlow, channel_flow
from mutualnet3d.models.fusion import AdaptiveFusion
from mutualnet3d.models.network import GlobalAvgPool3d, SlowFastNet, VideoNet
from mutualnet3d.ops import SlimBatchNorm3d, SlimConv3d, SlimLinear, SlimSqueezeExcitation


def make_slimmable(network: Net) -> nn.ModuleList:
    """Return the blocks of `network`, slimmable: every layer that has channels is replaced, in place, by its slimmable
    form; parameters and their names stay.

    Heads pool globally afterwards and return logits, whatever activation they had; lateral connections fuse adaptively;
    Swish is torch's. Classifiers (`ResNetBasicHead.proj`), the layer that X3D has after pooling
    (`ProjectedPool.post_conv`), the Fast pathway and the laterals keep all their outputs. A layer that reads a
    concatenation slims the first part of it.

    Raises:
        ValueError: a layer with parameters of a kind that cannot be slimmed, or an operation without a rule for
            channels; it is named. Pathways other than Slow and Fast.
    """
    flow = channel_flow(for_any_clip(network))
    _convert_children(network, "", flow, _layers_that_keep_outputs(network))
    return network.blocks


def for_any_clip(network: Net) -> VideoNet:
    """Return `network`, changed in place, as one that takes clips of any shape and returns logits: global pooling,
    adaptive fusion, no caller's list written to."""
    for module in network.modules():
        if isinstance(module, ResNetBasicHead):
            module.activation = None  # a network returns logits
        if isinstance(module, ResNetBasicHead | ProjectedPool) and isinstance(module.pool, nn.AvgPool3d):
            module.pool = GlobalAvgPool3d()
        if isinstance(module, PoolConcatPathway):
            module.pool = nn.ModuleList(GlobalAvgPool3d() for _ in module.pool)
        if isinstance(module, MultiPathWayWithFuse):
            module.inplace = False
            if isinstance(module.multipathway_fusion, FuseFastToSlow):
                module.multipathway_fusion = AdaptiveFusion.from_fusion(module.multipathway_fusion)
    if not isinstance(network.blocks[0], MultiPathWayWithFuse):
        return VideoNet(network.blocks)
    pathways = len(network.blocks[0].multipathway_blocks)
    if pathways != 2 or not isinstance(network.blocks[-2], PoolConcatPathway):
        raise ValueError(f"networks of several pathways are taken in SlowFast's form, Slow and Fast; got {pathways}")
    return SlowFastNet(network.blocks)


def _layers_that_keep_outputs(network: Net) -> set[nn.Module]:
    kept: set[nn.Module] = set()
    for module in network.modules():
        if isinstance(module, ResNetBasicHead):
            kept.add(module.proj)
        elif isinstance(module, ProjectedPool):
            kept.add(module.post_conv)
        elif isinstance(module, AdaptiveFusion):
            kept |= set(module.modules())
        elif isinstance(module, MultiPathWayWithFuse):
            for pathway in module.multipathway_blocks[1:]:
                kept |= set(pathway.modules())
    return kept


def _convert_children(parent: nn.Module, prefix: str, flow: ChannelFlow, kept: set[nn.Module]) -> None:
    for name, child in parent.named_children():
        path = f"{prefix}{name}"
        converted = _convert_layer(child, path, flow, slim_output=child not in kept)
        if converted is not None:
            setattr(parent, name, converted)
        else:
            _convert_children(child, f"{path}.", flow, kept)


def _convert_layer(layer: nn.Module, path: str, flow: ChannelFlow, slim_output: bool) -> nn.Module | None:
    """Return the slimmable form, or None for a layer that has none of its own."""
    if isinstance(layer, nn.Conv3d):
        return SlimConv3d.from_conv(layer, in_parts=flow.in_parts(path), slim_output=slim_output)
    if isinstance(layer, nn.Linear):
        return SlimLinear.from_linear(layer, in_parts=flow.in_parts(path), slim_output=slim_output)
    if isinstance(layer, nn.BatchNorm3d):
        return SlimBatchNorm3d.from_norm(layer)
    if isinstance(layer, SqueezeExcitation):
        return SlimSqueezeExcitation.from_squeeze_excitation(layer)
    if isinstance(layer, PytorchvideoSwish):
        return nn.SiLU()
    return None

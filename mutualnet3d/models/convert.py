"""Conversion of a network into a slimmable one, by its layers' types and the flow of channels between them.

Names may lie: pytorchvideo's X3D has two swapped in its stem.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fvcore.nn.squeeze_excitation import SqueezeExcitation
from pytorchvideo.layers.swish import Swish as PytorchvideoSwish
from pytorchvideo.models.head import ResNetBasicHead
from pytorchvideo.models.net import MultiPathWayWithFuse, Net
from pytorchvideo.models.slowfast import FuseFastToSlow, PoolConcatPathway
from pytorchvideo.models.x3d import ProjectedPool
from torch import nn

from mutualnet3d.models.channel_flow import ChannelFlow
from mutualnet3d.models.channel_trace import trace_channels
from mutualnet3d.models.fused_blocks import fuse_blocks
from mutualnet3d.models.fusion import AdaptiveFusion
from mutualnet3d.models.network import GlobalAvgPool3d, SlowFastNet, VideoNet
from mutualnet3d.ops import SlimBatchNorm3d, SlimConv3d, SlimLinear, SlimSqueezeExcitation
from mutualnet3d.shapes import ClipShape


def convert(network: VideoNet, clips: Sequence[ClipShape], fixed: Collection[str] = ()) -> ChannelFlow:
    """Make `network` slimmable in place, and return the flow of its channels.

    Every layer that has channels is replaced by its slimmable form; parameters and their names stay.

    The layers that give the logits keep all their outputs. A layer that reads a concatenation slims each part of it
    like the layer that makes the part.

    Args:
        network: ordinary network.
        clips: clip shape of each pathway.
        fixed: names of layers, or of modules with all that is in them, that keep all their outputs.

    Raises:
        ValueError: a layer or an operation cannot be followed; the message names it.
    """
    flow = trace_channels(network, clips, fixed)
    converted: dict[nn.Module, nn.Module] = {}  # a layer may have several places
    names = {module: name for name, module in network.named_modules()}
    for parent in list(network.modules()):
        for leaf, child in list(parent._modules.items()):
            if child is None:
                continue
            if child not in converted:
                converted[child] = _convert_layer(child, names[child], flow)
            if converted[child] is not child:
                setattr(parent, leaf, converted[child])
    return flow


def convert_blocks(network: Net, *clips: ClipShape) -> tuple[nn.ModuleList, ChannelFlow]:
    """Return the blocks of pytorchvideo's `network`, made slimmable in place, and the flow of channels through them.

    Heads pool globally afterwards and return logits, whatever activation they had; lateral connections fuse adaptively;
    Swish is torch's. Classifiers (`ResNetBasicHead.proj`), the layer that X3D has after pooling
    (`ProjectedPool.post_conv`), the Fast pathway and the laterals keep all their outputs.

    Args:
        network: network of pytorchvideo.
        *clips: clip shape of each pathway, Slow's first.

    Raises:
        ValueError: a layer or an operation cannot be followed (the message names it), or there are pathways other than
            Slow and Fast.
    """
    plain = for_any_clip(network)
    modules = _modules_that_keep_outputs(plain)
    flow = convert(plain, clips, [name for name, module in plain.named_modules() if module in modules])
    return network.blocks, flow


def for_any_clip(network: Net) -> VideoNet:
    """Return `network`, changed in place, as one that takes clips of any shape and returns logits.

    It pools globally, fuses adaptively, and does not write into the caller's list.
    """
    for module in network.modules():
        if isinstance(module, ResNetBasicHead):
            module.activation = None  # a network returns logits
        if isinstance(module, ResNetBasicHead | ProjectedPool) and isinstance(module.pool, nn.AvgPool3d):
            module.pool = GlobalAvgPool3d()
        for name, child in module.named_children():
            if isinstance(child, PytorchvideoSwish):
                setattr(module, name, nn.SiLU())
        if isinstance(module, PoolConcatPathway):
            module.pool = nn.ModuleList(GlobalAvgPool3d() for _ in module.pool)
        if isinstance(module, MultiPathWayWithFuse):
            module.inplace = False
            if isinstance(module.multipathway_fusion, FuseFastToSlow):
                module.multipathway_fusion = AdaptiveFusion.from_fusion(module.multipathway_fusion)
    fuse_blocks(network)
    if not isinstance(network.blocks[0], MultiPathWayWithFuse):
        return VideoNet(network.blocks)
    pathways = len(network.blocks[0].multipathway_blocks)
    if pathways != 2 or not isinstance(network.blocks[-2], PoolConcatPathway):
        raise ValueError(f"networks of several pathways are taken in SlowFast's form, Slow and Fast; got {pathways}")
    return SlowFastNet(network.blocks)


def _modules_that_keep_outputs(network: VideoNet) -> set[nn.Module]:
    modules: set[nn.Module] = set()
    for module in network.modules():
        if isinstance(module, ResNetBasicHead):
            modules.add(module.proj)
        elif isinstance(module, ProjectedPool):
            modules.add(module.post_conv)
        elif isinstance(module, AdaptiveFusion):
            modules.add(module)
        elif isinstance(module, MultiPathWayWithFuse):
            modules |= set(module.multipathway_blocks[1:])
    return modules


def _convert_layer(layer: nn.Module, path: str, flow: ChannelFlow) -> nn.Module:
    """Return the slimmable form of a layer; the layer itself where it has none, or did not run."""
    if isinstance(layer, SqueezeExcitation) and f"{path}.block.0" in flow.reads:
        slim = SlimSqueezeExcitation.from_squeeze_excitation(layer)
        for place in (0, 2):
            _set_rules(slim.block[place], f"{path}.block.{place}", flow)  # type: ignore[arg-type]
        return slim
    if path not in flow.reads or isinstance(layer, SlimConv3d):
        return layer
    if isinstance(layer, nn.BatchNorm3d):
        norm = SlimBatchNorm3d.from_norm(layer)
        norm.in_rules = flow.in_rules(path)
        return norm
    assert isinstance(layer, nn.Conv3d | nn.Linear)
    slim_layer = SlimConv3d.from_conv(layer) if isinstance(layer, nn.Conv3d) else SlimLinear.from_linear(layer)
    _set_rules(slim_layer, path, flow)
    return slim_layer


def _set_rules(layer: SlimConv3d | SlimLinear, path: str, flow: ChannelFlow) -> None:
    layer.in_parts, layer.in_rules = flow.in_parts(path), flow.in_rules(path)
    if len(flow.gives[path]) == 1:
        layer.out_rule = flow.gives[path][0].rule()
        layer.slim_output = layer.out_rule.slims

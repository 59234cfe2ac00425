"""The flow of channels through a network: the layers that share them, and those that read a concatenation of several.

Found by tracing (`torch.fx`), so that it holds for any network of known layers; names play no part.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pytorchvideo.layers.swish import Swish as PytorchvideoSwish
from torch import fx, nn

from mutualnet3d.models.fusion import resize
from mutualnet3d.models.network import GlobalAvgPool3d, VideoNet


class Channels:
    """Run of `size` channels: every tensor that holds it has them in the same order."""

    def __init__(self, size: int):
        self.size = size
        self._same: Channels | None = None

    def root(self) -> Channels:
        """Return the run that stands for all that were found to be the same."""
        return self if self._same is None else self._same.root()

    def unite(self, other: Channels) -> None:
        first, second = self.root(), other.root()
        if first is not second:
            assert first.size == second.size, f"{first.size} and {second.size} channels meet"
            second._same = first


Runs = tuple[Channels, ...]


@dataclass
class ChannelFlow:
    """Inputs and outputs of each layer with channels, by its name.

    Attributes:
        reads: runs that make up the layer's input, in order.
        gives: run of its output; a batch norm and a depthwise convolution give the run that they read.
        norm_of: name of the batch norm that alone reads a convolution's output, by the convolution's name.
    """

    reads: dict[str, Runs] = field(default_factory=dict)
    gives: dict[str, Runs] = field(default_factory=dict)
    norm_of: dict[str, str] = field(default_factory=dict)

    def in_parts(self, name: str) -> tuple[int, ...]:
        """Return the channels of each run that the layer reads."""
        return tuple(run.size for run in self.reads[name])


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        if isinstance(module, nn.Identity):  # pytorchvideo hands whole lists through it
            return False
        return super().is_leaf_module(module, qualified_name) or not any(True for _ in module.children())


# Layers that leave every channel where it is.
_KINDS_THAT_KEEP = {f"torch.nn.modules.{kind}" for kind in ("activation", "pooling", "dropout")}
_LAYERS_THAT_KEEP = (GlobalAvgPool3d, PytorchvideoSwish)
# Methods that leave them, but for the order of dimensions.
_KEEP = {"mean", "sum", "contiguous", "permute", "view", "reshape", "flatten"}
# Operations on tensors that must have the same channels.
_MEET = {operator.add, operator.iadd, operator.mul, torch.add, torch.mul, torch.stack}
_SHAPES = {getattr}


def channel_flow(network: VideoNet) -> ChannelFlow:
    """Return the flow of channels through `network`, from the three colours of its clips on.

    Raises:
        ValueError: a layer or an operation without a rule for channels; it is named.
    """
    tracer = _Tracer()
    graph = tracer.trace(network)
    layers = dict(network.named_modules())
    flow = ChannelFlow()
    runs: dict[fx.Node, Runs] = {}
    inputs: dict[int, Runs] = {}

    for node in graph.nodes:
        if node.op == "call_module":
            runs[node] = _through_layer(flow, str(node.target), layers[str(node.target)], runs[_first(node)])
        elif node.op == "call_function" and node.target is operator.getitem:
            source, index = node.args[0], node.args[1]
            if isinstance(source, fx.Node) and source.op == "placeholder":
                runs[node] = inputs.setdefault(index, (Channels(3),))
        elif (node.op == "call_function" and node.target in _SHAPES) or node.op in ("placeholder", "output"):
            continue
        elif node.op == "call_function" and node.target is torch.cat:
            runs[node] = tuple(run for part in _tensors(node) for run in runs[part])
        elif node.op == "call_function" and node.target in _MEET:
            runs[node] = _meet([runs[part] for part in _tensors(node) if part in runs])
        elif (node.op == "call_function" and node.target is resize) or (
            node.op == "call_method" and node.target in _KEEP
        ):
            runs[node] = runs[_first(node)]
        else:
            raise ValueError(f"cannot follow the channels through {node.target!r} ({node.op})")
        if node.op == "call_module" and isinstance(layers[str(node.target)], nn.BatchNorm3d):
            source = _first(node)
            if (
                source.op == "call_module"
                and isinstance(layers[str(source.target)], nn.Conv3d)
                and len(source.users) == 1
            ):
                flow.norm_of[str(source.target)] = str(node.target)
    return flow


def _through_layer(flow: ChannelFlow, name: str, layer: nn.Module, reads: Runs) -> Runs:
    if type(layer).__module__ in _KINDS_THAT_KEEP or isinstance(layer, _LAYERS_THAT_KEEP):
        return reads
    if isinstance(layer, nn.BatchNorm3d):
        gives = reads
    elif isinstance(layer, nn.Conv3d):
        gives = reads if is_depthwise(layer) else (Channels(layer.out_channels),)
    elif isinstance(layer, nn.Linear):
        gives = (Channels(layer.out_features),)
    else:
        raise ValueError(f"cannot make {name} slimmable: no rule for layers of type {type(layer).__name__}")
    flow.reads[name], flow.gives[name] = reads, gives
    return gives


def is_depthwise(layer: nn.Module) -> bool:
    """Return whether a layer is a convolution that keeps every channel to itself."""
    return isinstance(layer, nn.Conv3d) and 1 < layer.groups == layer.in_channels == layer.out_channels


def _meet(parts: Sequence[Runs]) -> Runs:
    """Unite the runs of tensors that are added or multiplied channel by channel, and return them."""
    for others in parts[1:]:
        for run, other in zip(parts[0], others, strict=True):
            run.unite(other)
    return parts[0]


def _tensors(node: fx.Node) -> list[fx.Node]:
    first = node.args[0]
    operands: Any = first if isinstance(first, list | tuple) else node.args
    return [operand for operand in operands if isinstance(operand, fx.Node)]


def _first(node: fx.Node) -> fx.Node:
    first = node.args[0]
    assert isinstance(first, fx.Node)
    return first

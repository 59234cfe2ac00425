"""Choice of the layer whose feature map shows where a network looks, by a run without arithmetic.

It gives the last feature map of more than one pixel that lies on every path from the clip to the logits, before the
average pooling in front of the classifier: of X3D the input of the head's pooling, of a ResNet the last stage, of
SlowFast the Slow pathway's last stage. Where the last stage of a small clip has one pixel left, it is an earlier stage.
Names play no part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import Node

from mutualnet3d.models.dry_run import meta_clips, run_on_meta
from mutualnet3d.models.network import GlobalAvgPool3d
from mutualnet3d.models.receptive_field import MOVING, FieldCentres, field_centres
from mutualnet3d.models.slimmable_base import SlimmableBase
from mutualnet3d.shapes import SubnetConfig

_AVERAGE_POOLING = (GlobalAvgPool3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d)


@dataclass(frozen=True)
class MapLayer:
    """Layer whose output is a feature map.

    Args:
        name: name of the layer.
        centres: centres of the map's places in the clip.
    """

    name: str
    centres: FieldCentres


@dataclass(frozen=True, eq=False)
class _Run:
    """Layer that ran, with its output and (T, H, W) of its input, () for an input that is no feature map."""

    layer: nn.Module
    input_THW: tuple[int, ...]
    output: torch.Tensor


def map_layer(model: SlimmableBase, config: SubnetConfig, name: str | None = None) -> MapLayer:
    """Return the layer that gives the last feature map of more than one pixel, or the layer of a name.

    Of several pathways the first one's layers count.

    Args:
        model: slimmable network.
        config: sub-network.
        name: name of a layer; None: the layer of the last map, see the module.

    Returns:
        The layer and the centres of its map's places.

    Raises:
        ValueError: no layer gives such a map, or the named layer gives none.
    """
    names = {layer: path for path, layer in model.named_modules() if path}
    runs: list[_Run] = []

    def record(layer: nn.Module, args: tuple[Any, ...], _: dict[str, Any], y: object) -> None:
        if isinstance(y, torch.Tensor):
            is_map = bool(args) and isinstance(args[0], torch.Tensor) and args[0].ndim == 5
            runs.append(_Run(layer, tuple(args[0].shape[2:]) if is_map else (), y))

    with torch.inference_mode(False), torch.enable_grad():
        clips = [clip.requires_grad_() for clip in meta_clips(model, config)]
        logits_BK = run_on_meta(model, config, clips, names, record)
    assert logits_BK.grad_fn is not None, "the logits are made of the clip"
    order = _followed_first(logits_BK.grad_fn)
    if name is None:
        chosen = _last_map(runs, _nodes_on_every_path(order, clips[0]))
        if chosen is None:
            raise ValueError(f"no layer that everything passes gives maps of more than one pixel for {config}")
    else:
        chosen = next((run for run in reversed(runs) if names[run.layer] == name), None)
        if chosen is None:
            raise ValueError(f"layer {name} gives no feature map in {config}")
    for clip in clips:  # of SlowFast's Fast pathway the second one
        to_clip = _paths_to(order, clip)
        if to_clip.get(chosen.output.grad_fn):
            break
    assert chosen.output.grad_fn is not None, "a feature map is made of a clip"
    made_of = set(_followed_first(chosen.output.grad_fn))
    moving = [
        run
        for run in runs
        if isinstance(run.layer, MOVING) and run.output.grad_fn in made_of and to_clip[run.output.grad_fn]
    ]
    centres = field_centres(
        ((run.layer, run.input_THW, tuple(run.output.shape[2:])) for run in moving),
        (clip.shape[2], clip.shape[3], clip.shape[4]),
    )
    return MapLayer(names[chosen.layer], centres)


def _last_map(runs: Sequence[_Run], cuts: set[Node]) -> _Run | None:
    """Return the last feature map of more than one pixel before the classifier's pooling; None without any."""
    chosen, is_pooled = None, False
    for run in runs:
        if isinstance(run.layer, nn.Conv3d) and max(run.layer.kernel_size[1:]) > 1:
            is_pooled = False  # the pooling before it was not the classifier's
        if run.output.ndim != 5 or run.output.grad_fn not in cuts:
            continue
        if isinstance(run.layer, _AVERAGE_POOLING):
            is_pooled = True
        elif not is_pooled and has_pixels(run.output):
            chosen = run
    return chosen


def has_pixels(y: torch.Tensor) -> bool:
    """Return True for a feature map (B, C, T, H, W) of more than one pixel."""
    return y.ndim == 5 and y.shape[3] * y.shape[4] > 1


def _nodes_on_every_path(order: Sequence[Node], leaf: torch.Tensor) -> set[Node]:
    """Return the nodes of autograd's graph that lie on every path from the last of `order` to `leaf`.

    As many paths lead through such a node as there are in all.
    """
    to_leaf = _paths_to(order, leaf)
    from_root = dict.fromkeys(order, 0)
    from_root[order[-1]] = 1
    for node in reversed(order):
        for following in _following(node):
            from_root[following] += from_root[node]
    return {node for node in order if from_root[node] * to_leaf[node] == to_leaf[order[-1]]}


def _paths_to(order: Sequence[Node], leaf: torch.Tensor) -> dict[Node | None, int]:
    """Return the number of paths from each node to `leaf`."""
    to_leaf: dict[Node | None, int] = {}
    for node in order:
        is_leaf = getattr(node, "variable", None) is leaf
        to_leaf[node] = 1 if is_leaf else sum(to_leaf[following] for following in _following(node))
    return to_leaf


def _following(node: Node) -> Iterator[Node]:
    return (following for following, _ in node.next_functions if following is not None)


def _followed_first(root: Node) -> list[Node]:
    """Return `root` and all nodes that it leads to, each after the nodes that it leads to itself."""
    order: list[Node] = []
    reached = {root}
    path = [(root, _following(root))]
    while path:
        node, following = path[-1]
        new = next((other for other in following if other not in reached), None)
        if new is None:
            order.append(node)
            path.pop()
        else:
            reached.add(new)
            path.append((new, _following(new)))
    return order

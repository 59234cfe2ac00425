"""Choice of the layer whose feature map tells where a network looks, by a run without arithmetic; names play no part.

It is the last feature map of more than one pixel that everything passes on its way from the clip to the logits, before
the average pooling in front of the classifier: of X3D the input of the head's pooling, of a ResNet the last stage, of
SlowFast the Slow pathway's last stage. Where the last stage of a small clip has one pixel left, it is an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import Node

from mutualnet3d.models.dry_run import meta_clips, run_on_meta
from mutualnet3d.models.network import GlobalAvgPool3d
from mutualnet3d.models.slimmable_base import SlimmableBase
from mutualnet3d.shapes import SubnetConfig

_AVERAGE_POOLING = (GlobalAvgPool3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d)


def last_map_layer(model: SlimmableBase, config: SubnetConfig) -> str:
    """Return the name of the layer that gives the last feature map of more than one pixel, see above.

    Of several pathways the first one's layers are looked at.

    Raises:
        ValueError: no layer gives such a map.
    """
    names = {layer: name for name, layer in model.named_modules() if name}
    outputs: list[tuple[nn.Module, torch.Tensor]] = []

    def record(layer: nn.Module, _: tuple[Any, ...], __: dict[str, Any], y: object) -> None:
        if isinstance(y, torch.Tensor):
            outputs.append((layer, y))

    with torch.inference_mode(False), torch.enable_grad():
        clips = meta_clips(model, config)
        clips[0].requires_grad_()
        logits_BK = run_on_meta(model, config, clips, names, record)
    assert logits_BK.grad_fn is not None, "the logits are made of the clip"
    cuts = _nodes_on_every_path(logits_BK.grad_fn, clips[0])
    chosen, is_pooled = "", False
    for layer, y in outputs:
        if isinstance(layer, nn.Conv3d) and max(layer.kernel_size[1:]) > 1:
            is_pooled = False  # the pooling before it was not the classifier's
        if y.ndim != 5 or y.grad_fn not in cuts:
            continue
        if isinstance(layer, _AVERAGE_POOLING):
            is_pooled = True
        elif not is_pooled and has_pixels(y):
            chosen = names[layer]
    if not chosen:
        raise ValueError(f"no layer that everything passes gives maps of more than one pixel for {config}")
    return chosen


def has_pixels(y: torch.Tensor) -> bool:
    """Return whether a feature map (B, C, T, H, W) has more than one pixel."""
    return y.ndim == 5 and y.shape[3] * y.shape[4] > 1


def _nodes_on_every_path(root: Node, leaf: torch.Tensor) -> set[Node]:
    """Return the nodes of autograd's graph that lie on every path from `root` to `leaf`.

    Such a node has as many paths through it as there are.
    """
    order = _followed_first(root)
    to_leaf: dict[Node, int] = {}
    for node in order:
        is_leaf = getattr(node, "variable", None) is leaf
        to_leaf[node] = 1 if is_leaf else sum(to_leaf[following] for following in _following(node))
    from_root = dict.fromkeys(order, 0)
    from_root[root] = 1
    for node in reversed(order):
        for following in _following(node):
            from_root[following] += from_root[node]
    return {node for node in order if from_root[node] * to_leaf[node] == to_leaf[root]}


def _following(node: Node) -> Iterator[Node]:
    return (following for following, _ in node.next_functions if following is not None)


def _followed_first(root: Node) -> list[Node]:
    """Return all nodes that `root` leads to, and itself, each after those that it leads to."""
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

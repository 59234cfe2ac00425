"""What a sub-network costs: multiply-adds per clip and parameters, without running it."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.ops import SlimBatchNorm3d, SlimConv3d, SlimLinear
from mutualnet3d.shapes import SubnetConfig


def multiply_adds(model: SlimmableNet, config: SubnetConfig) -> int:
    """Multiply-adds of one clip under `config`, over convolutions and linear layers, as the literature counts.

    (X3D-M's full network: 4.73e9 at 16 x 224 x 224.) Shapes are propagated on torch's meta device: no arithmetic is
    done and no statistics are needed.
    """
    return _cost(model, config)[0]


def count_parameters(model: SlimmableNet, config: SubnetConfig) -> int:
    """Parameters that `config` uses: weights, biases and batch norms' scales and shifts."""
    return _cost(model, config)[1]


def _cost(model: SlimmableNet, config: SubnetConfig) -> tuple[int, int]:
    clips_per_batch = 2  # batch norm in training refuses a single value per channel
    totals = [0, 0]

    def count(layer: nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any], y: torch.Tensor) -> None:
        x = args[0]
        if isinstance(layer, SlimConv3d):
            weight, bias, _ = layer.sliced(x.shape[1], y.shape[1])
            totals[0] += y.numel() // clips_per_batch * prod(weight.shape[1:])
        elif isinstance(layer, SlimLinear):
            weight, bias = layer.sliced(x.shape[-1], y.shape[-1])
            totals[0] += y.numel() // clips_per_batch * weight.shape[1]
        else:
            totals[1] += 2 * y.shape[1]
            return
        totals[1] += weight.numel() + (0 if bias is None else bias.numel())

    counted = (SlimConv3d, SlimLinear, SlimBatchNorm3d)
    hooks = [
        layer.register_forward_hook(count, with_kwargs=True) for layer in model.modules() if isinstance(layer, counted)
    ]
    weights = {name: value.to("meta") for name, value in [*model.named_parameters(), *model.named_buffers()]}
    clips = [
        torch.empty(clips_per_batch, 3, shape.frames, shape.size, shape.size, device="meta")
        for shape in model.input_shapes(config)
    ]
    was_training = model.training
    try:
        # In training no statistics are read, and in `active` none are written.
        model.train()
        with torch.no_grad(), model.active(config):
            functional_call(model, weights, (clips,))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return totals[0], totals[1]

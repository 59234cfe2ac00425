"""Costs of a sub-network: multiply-adds per clip and parameters, without running it."""

from __future__ import annotations

from math import prod

import torch
from torch import nn

from mutualnet3d.models.dry_run import BATCH, dry_run
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.ops import SlimBatchNorm3d, SlimConv3d, SlimLinear
from mutualnet3d.shapes import SubnetConfig


def multiply_adds(model: SlimmableNet, config: SubnetConfig) -> int:
    """Return the multiply-adds of a clip under `config`, over convolutions and linear layers, as the literature counts.

    (X3D-M's full network: 4.73e9 at 16 x 224 x 224.) Shapes are propagated on torch's meta device: no arithmetic is
    done and no statistics are needed.
    """
    return costs(model, config)[0]


def count_parameters(model: SlimmableNet, config: SubnetConfig) -> int:
    """Return the number of parameters that `config` uses: weights, biases and batch norms' scales and shifts."""
    return costs(model, config)[1]


def costs(model: SlimmableNet, config: SubnetConfig) -> tuple[int, int]:
    """Return `multiply_adds` and `count_parameters` of `config`, of one dry run."""
    operations = parameters = 0
    slimmable: set[nn.Module] = set()
    with model.active(config):
        for _, layer, input_shape, output_shape in dry_run(model, config):
            weight, bias = _used(layer, input_shape, output_shape)
            if weight is not None:
                # A transposed convolution has products for each of its inputs.
                shape = input_shape if isinstance(layer, nn.modules.conv._ConvTransposeNd) else output_shape
                operations += prod(shape) // BATCH * prod(weight.shape[1:])
            if not isinstance(layer, SlimConv3d | SlimLinear | SlimBatchNorm3d):
                continue
            slimmable.add(layer)
            if weight is None:
                parameters += 2 * output_shape[1]
            else:
                parameters += weight.numel() + (0 if bias is None else bias.numel())
    others = [module for module in model.modules() if module not in slimmable]
    parameters += sum(value.numel() for module in others for value in module.parameters(recurse=False))
    return operations, parameters


def _used(
    layer: nn.Module, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return the weight and the bias that a layer uses of its own; none of a batch norm."""
    if isinstance(layer, SlimConv3d):
        return layer.sliced(input_shape[1], output_shape[1])[:2]
    if isinstance(layer, SlimLinear):
        return layer.sliced(input_shape[-1], output_shape[-1])
    return (None, None) if isinstance(layer, SlimBatchNorm3d) else (layer.weight, layer.bias)  # type: ignore[return-value]

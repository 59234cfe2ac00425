"""Costs of a sub-network: multiply-adds per clip and parameters, without running it."""

from __future__ import annotations

from math import prod

from mutualnet3d.models.dry_run import BATCH, dry_run
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.ops import SlimConv3d, SlimLinear
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
    for _, layer, input_shape, output_shape in dry_run(model, config):
        if isinstance(layer, SlimConv3d):
            weight, bias, _ = layer.sliced(input_shape[1], output_shape[1])
            operations += prod(output_shape) // BATCH * prod(weight.shape[1:])
        elif isinstance(layer, SlimLinear):
            weight, bias = layer.sliced(input_shape[-1], output_shape[-1])
            operations += prod(output_shape) // BATCH * weight.shape[1]
        else:
            parameters += 2 * output_shape[1]
            continue
        parameters += weight.numel() + (0 if bias is None else bias.numel())
    return operations, parameters

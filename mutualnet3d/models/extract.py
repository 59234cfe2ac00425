"""A sub-network cut out: an ordinary network of ordinary layers with copies of its weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from fvcore.nn.squeeze_excitation import SqueezeExcitation
from torch import nn

from mutualnet3d.models.dry_run import dry_run
from mutualnet3d.models.network import VideoNet
from mutualnet3d.models.slimmable_base import SlimmableBase
from mutualnet3d.ops import SlimBatchNorm3d, SlimConv3d, SlimLinear, SlimSqueezeExcitation
from mutualnet3d.shapes import SubnetConfig


@torch.no_grad()
def extract(model: SlimmableBase, config: SubnetConfig, fold_norms: bool = False) -> VideoNet:
    """Return the sub-network `config` of `model` as an ordinary network, in evaluation mode.

    It takes a list of clips, like the model, consists of layers of `torch.nn` (and the network's own modules around
    them), shares no memory with the model, and gives the model's logits but for rounding. Without folding, its
    parameters have the model's names.

    Args:
        model: network that can evaluate `config` (calibrated, or the full network).
        config: sub-network.
        fold_norms: True to fold every batch norm that follows a convolution into it, which is faster but no longer fit
            for training.

    Raises:
        ValueError: `config` has no batch-norm statistics.
    """
    if not model.can_evaluate(config):
        raise ValueError(f"sub-network {config} has no batch-norm statistics: calibrate it before it is extracted")
    extracted: dict[nn.Module, nn.Module] = {}
    with model.active(config):
        for _, layer, input_shape, output_shape in dry_run(model, config):
            if isinstance(layer, SlimConv3d | SlimLinear | SlimBatchNorm3d):
                extracted[layer] = _extracted_layer(layer, input_shape, output_shape)
        for module in model.modules():
            if isinstance(module, SlimSqueezeExcitation):
                extracted[module] = _extracted_squeeze_excitation(module, extracted)
        # deepcopy looks into the memo first, so that every slimmable layer is replaced on the way; a memo also keeps
        # its copies alive, under its own id.
        memo: dict[int, object] = {id(layer): replacement for layer, replacement in extracted.items()}
        content: Any = copy.deepcopy(model.content, memo)
        network = model.extracted_class(content).eval()
    if fold_norms:
        fold_batch_norms(network, model.channel_flow.norm_of)
    return network


def _extracted_layer(layer: nn.Module, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> nn.Module:
    new: nn.Module
    weight: torch.Tensor | None
    bias: torch.Tensor | None
    if isinstance(layer, SlimConv3d):
        weight, bias, groups = layer.sliced(input_shape[1], output_shape[1])
        new = nn.Conv3d(
            input_shape[1],
            output_shape[1],
            layer.kernel_size,  # type: ignore[arg-type]
            stride=layer.stride,  # type: ignore[arg-type]
            padding=layer.padding,  # type: ignore[arg-type]
            dilation=layer.dilation,  # type: ignore[arg-type]
            groups=groups,
            bias=bias is not None,
            device="meta",
        )
    elif isinstance(layer, SlimLinear):
        weight, bias = layer.sliced(input_shape[-1], output_shape[-1])
        new = nn.Linear(input_shape[-1], output_shape[-1], bias=bias is not None, device="meta")
    else:
        assert isinstance(layer, SlimBatchNorm3d)
        assert layer.statistics is not None
        channels = output_shape[1]
        new = nn.BatchNorm3d(channels, layer.eps, layer.momentum, layer.affine, device="meta")
        mean, variance = layer.statistics
        new.running_mean, new.running_var = mean.clone(), variance.clone()
        new.num_batches_tracked = torch.zeros((), dtype=torch.long, device=mean.device)
        weight, bias = layer.sliced(channels)
    new.register_parameter("weight", None if weight is None else nn.Parameter(_dense_copy(weight)))
    new.register_parameter("bias", None if bias is None else nn.Parameter(bias.clone()))
    return new


def _dense_copy(weight: torch.Tensor) -> torch.Tensor:
    """Return a copy of a slice without the gaps between its values.

    A 5D slice whose input channels lie closest together stays `channels_last_3d`.
    """
    last = weight.ndim == 5 and weight.stride(1) == 1 and weight.shape[1] > 1
    return weight.detach().clone(memory_format=torch.channels_last_3d if last else torch.contiguous_format)


def _extracted_squeeze_excitation(module: SlimSqueezeExcitation, extracted: dict[nn.Module, nn.Module]) -> nn.Module:
    reduce, activation, expand, gate = module.block
    small = SqueezeExcitation(8, num_channels_reduced=8, is_3d=True)
    small.block = nn.Sequential(extracted[reduce], copy.deepcopy(activation), extracted[expand], copy.deepcopy(gate))
    return small


@torch.no_grad()
def fold_batch_norms(network: VideoNet, norm_of: Mapping[str, str]) -> None:
    """Fold every batch norm that alone reads a convolution's output into that convolution, in place.

    In evaluation the network computes the same. The fold is computed in double precision and rounded once.

    Args:
        network: ordinary network in evaluation mode.
        norm_of: name of the batch norm, by the name of the convolution.
    """
    for conv_name, norm_name in norm_of.items():
        conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv3d)
        assert isinstance(norm, nn.BatchNorm3d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale_C = (norm.running_var.double() + norm.eps).rsqrt()
        shift_C = -norm.running_mean.double() * scale_C
        if norm.affine:
            scale_C, shift_C = scale_C * norm.weight, shift_C * norm.weight + norm.bias
        if conv.bias is not None:
            shift_C = shift_C + scale_C * conv.bias
        folded = conv.weight.double() * scale_C[:, None, None, None, None]
        conv.bias = nn.Parameter(shift_C.to(conv.weight.dtype))
        conv.weight = nn.Parameter(folded.to(conv.weight.dtype))
        parent, _, leaf = norm_name.rpartition(".")
        setattr(network.get_submodule(parent), leaf, nn.Identity())

"""Batch-norm statistics of a sub-network without data, between those of a narrower and a wider calibrated one.

A batch norm sees sums over its convolution's input channels, so its statistics are interpolated by the number of those
channels. That number, rounded to multiples of 8, is not linear in width (docs/RESULTS.md has the gain). The result is
an approximation: its cost in accuracy is measured where possible (`TEST.MEASURE_INTERPOLATION`), and `interpolate`
refuses where the cost is too high.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from mutualnet3d.models.dry_run import dry_run
from mutualnet3d.models.slimmable_base import SlimmableBase
from mutualnet3d.models.statistics import NormStatistics
from mutualnet3d.ops import SlimBatchNorm3d, SlimConv3d
from mutualnet3d.shapes import SubnetConfig


def interpolate(model: SlimmableBase, configs: Sequence[SubnetConfig], max_loss: float = 0.5) -> None:
    """Give `configs` statistics without data, all of them or none.

    Args:
        model: network with calibrated sub-networks.
        configs: sub-networks without statistics.
        max_loss: most points of top-1 that interpolation may have cost in a test run with TEST.MEASURE_INTERPOLATION,
            which measures it at the calibrated widths between others, at that size and frames.

    Raises:
        ValueError: interpolation has cost more, its cost was not measured, or there are no such widths.
    """
    statistics = {config: interpolated(model, config) for config in configs}
    model.statistics.check_interpolation(configs, max_loss)
    for config, values in statistics.items():
        model.statistics.set(config, values, interpolated=True)


def neighbours(config: SubnetConfig, calibrated: Iterable[SubnetConfig]) -> tuple[SubnetConfig, SubnetConfig] | None:
    """Return the configs of `calibrated` next to `config` in width, of its size and frames, the narrower first.

    `config` itself does not count. None if one of its sides has no such config.
    """
    same_clip = [other for other in calibrated if other.clip_shape == config.clip_shape]
    narrower = max((other for other in same_clip if other.width < config.width), default=None)
    wider = min((other for other in same_clip if other.width > config.width), default=None)
    return None if narrower is None or wider is None else (narrower, wider)


def interpolated(model: SlimmableBase, config: SubnetConfig) -> NormStatistics:
    """Return statistics of `config`, between those of its `neighbours`.

    The weight of the neighbours follows from each layer's number of input channels, or from the width where that number
    does not change. A channel that the narrower neighbour does not have takes the wider one's value, changed as much as
    the others are on average.

    Args:
        model: network with calibrated sub-networks.
        config: sub-network between two calibrated ones.

    Raises:
        ValueError: `config` has no neighbours.
    """
    calibrated = model.statistics.calibrated
    pair = neighbours(config, calibrated)
    if pair is None:
        widths = sorted(other.width for other in calibrated if other.clip_shape == config.clip_shape)
        raise ValueError(
            f"statistics of {config} can be interpolated between a narrower and a wider calibrated sub-network of size "
            f"{config.size} and {config.frames} frames; calibrated widths: {', '.join(map(str, widths)) or 'none'}"
        )
    narrower, wider = pair
    weight_of_width = (config.width - narrower.width) / (wider.width - narrower.width)
    inputs = [inputs_of_norms(model, subnet) for subnet in (narrower, config, wider)]
    statistics = {}
    for name, norm in model.norms():
        low, high = model.statistics[narrower][name], model.statistics[wider][name]
        parts = [[rule.at(subnet.width) for rule in norm.rules] for subnet in (narrower, config, wider)]
        if len(low[0]) == len(high[0]):
            parts = [[len(high[0])]] * 3
        few, some, many = (counts[name] for counts in inputs)
        weight = (some - few) / (many - few) if many > few else weight_of_width
        mean, variance = (_between_parts(a, b, weight, parts) for a, b in zip(low, high, strict=True))
        statistics[name] = mean, variance
    return statistics


def inputs_of_norms(model: SlimmableBase, config: SubnetConfig) -> dict[str, int]:
    """Return the number of channels that the convolution before a batch norm adds up, by batch norm; 1 if depthwise."""
    inputs, last = {}, 1
    for run in dry_run(model, config):
        if isinstance(run.layer, SlimConv3d):
            last = 1 if run.layer.groups > 1 else run.input_shape[1]
        elif isinstance(run.layer, SlimBatchNorm3d):
            inputs[run.name] = last
    return inputs


def _between_parts(
    low_C: torch.Tensor, high_C: torch.Tensor, weight: float, parts: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Return `_between` of each part of concatenated channels.

    Args:
        low_C: values of the narrower network.
        high_C: values of the wider network.
        weight: place between them, in [0, 1].
        parts: channels of each part in the narrower network, in the new one, and in the wider one.
    """
    low, new, high = parts
    pieces = zip(low_C.split(list(low)), high_C.split(list(high)), new, strict=True)
    return torch.cat([_between(a, b, weight, channels) for a, b, channels in pieces])


def _between(low_C: torch.Tensor, high_C: torch.Tensor, weight: float, channels: int) -> torch.Tensor:
    """Return `channels` values that are `weight` of the way from `low_C` to `high_C`, where both have them.

    Of the other channels they are the wider network's, changed as much as the shared ones have changed on average.
    """
    values_C = high_C[:channels].clone()
    common = min(len(low_C), channels)
    values_C[:common] = torch.lerp(low_C[:common], high_C[:common], weight)
    values_C[common:] *= values_C[:common].abs().sum() / high_C[:common].abs().sum().clamp(min=1e-12)
    return values_C

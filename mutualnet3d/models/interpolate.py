"""Batch-norm statistics of a sub-network without data: between those of a narrower and a wider calibrated one.

A batch norm sees sums over its convolution's input channels, so its statistics lie between those of the neighbours as
the number of those channels does: rounded to multiples of 8, it is not linear in width (docs/RESULTS.md has the gain).
Exact they are not. Their cost is measured where it can be (`TEST.MEASURE_INTERPOLATION`), and `interpolate` refuses
where that is too much.
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
        max_loss: most points of top-1 that this may have cost where it was measured: at the calibrated widths between
            others of that size and frames, in a test run with TEST.MEASURE_INTERPOLATION.

    Raises:
        ValueError: it has cost more, was not measured, or there are no such widths.
    """
    statistics = {config: interpolated(model, config) for config in configs}
    model.statistics.check_interpolation(configs, max_loss)
    for config, values in statistics.items():
        model.statistics.set(config, values, interpolated=True)


def neighbours(config: SubnetConfig, calibrated: Iterable[SubnetConfig]) -> tuple[SubnetConfig, SubnetConfig] | None:
    """Return those of `calibrated` next to `config` in width, of its size and frames, the narrower first; without
    `config` itself. None without any on one of its sides.
    """
    same_clip = [other for other in calibrated if other.clip_shape == config.clip_shape]
    narrower = max((other for other in same_clip if other.width < config.width), default=None)
    wider = min((other for other in same_clip if other.width > config.width), default=None)
    return None if narrower is None or wider is None else (narrower, wider)


def interpolated(model: SlimmableBase, config: SubnetConfig) -> NormStatistics:
    """Return statistics of `config`, between its `neighbours`' as the input channels of each layer are (where these do
    not change, as its width is). A channel that the narrower one does not have has the wider one's, changed as much as
    the others are on average.

    Raises:
        ValueError: it has no neighbours.
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
    """Return, by batch norm, the number of channels that its convolution adds up; 1 after a depthwise one."""
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
        low_C, high_C: values of the narrower and the wider network.
        weight: place between them, in [0, 1].
        parts: channels of each part in the narrower network, in the new one, and in the wider one.
    """
    low, new, high = parts
    pieces = zip(low_C.split(list(low)), high_C.split(list(high)), new, strict=True)
    return torch.cat([_between(a, b, weight, channels) for a, b, channels in pieces])


def _between(low_C: torch.Tensor, high_C: torch.Tensor, weight: float, channels: int) -> torch.Tensor:
    """Return `channels` values: `weight` of the way from `low_C` to `high_C` where both have them; of the others the
    wider one's, changed as much as those have changed on average.
    """
    values_C = high_C[:channels].clone()
    common = min(len(low_C), channels)
    values_C[:common] = torch.lerp(low_C[:common], high_C[:common], weight)
    values_C[common:] *= values_C[:common].abs().sum() / high_C[:common].abs().sum().clamp(min=1e-12)
    return values_C

"""Batch-norm statistics of a sub-network without data: between those of a narrower and a wider calibrated one.

A batch norm sees sums over its convolution's input channels, so its statistics lie between those of the neighbours as
the number of those channels does: rounded to multiples of 8, it is not linear in width (docs/RESULTS.md has what that
is worth). Exact they are not. What they cost is measured where it can be (`TEST.MEASURE_INTERPOLATION`), and
`SlimmableNet.interpolate_statistics` refuses them where that is too much.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from mutualnet3d.models.dry_run import dry_run
from mutualnet3d.ops import SlimBatchNorm3d, SlimConv3d, round_channels
from mutualnet3d.shapes import SubnetConfig

if TYPE_CHECKING:
    from mutualnet3d.models.slimmable_net import SlimmableNet, Statistics


def neighbours(config: SubnetConfig, calibrated: Iterable[SubnetConfig]) -> tuple[SubnetConfig, SubnetConfig] | None:
    """Of `calibrated`, those of `config`'s size and frames that are next to it, the narrower one first; without
    `config` itself. None if there is none on one of its sides."""
    same = [one for one in calibrated if one.clip_shape == config.clip_shape]
    narrower = max((one for one in same if one.width < config.width), default=None)
    wider = min((one for one in same if one.width > config.width), default=None)
    return None if narrower is None or wider is None else (narrower, wider)


def interpolated(model: SlimmableNet, config: SubnetConfig) -> Statistics:
    """Statistics of `config`, between its `neighbours`' as the input channels of each layer are (where these do not
    change, as its width is). A channel that the narrower one does not have has the wider one's, changed as much as the
    others are on average.

    Raises:
        ValueError: it has no neighbours.
    """
    found = neighbours(config, model.calibrated)
    if found is None:
        same = sorted(one.width for one in model.calibrated if one.clip_shape == config.clip_shape)
        raise ValueError(
            f"statistics of {config} can be interpolated between a narrower and a wider calibrated sub-network of size "
            f"{config.size} and {config.frames} frames; calibrated widths: {', '.join(map(str, same)) or 'none'}"
        )
    narrower, wider = found
    of_width = (config.width - narrower.width) / (wider.width - narrower.width)
    inputs = [inputs_of_norms(model, one) for one in (narrower, config, wider)]
    statistics = {}
    for name, norm in model.norms():
        low, high = model.statistics[narrower][name], model.statistics[wider][name]
        is_slimmed = len(low[0]) < len(high[0])
        channels = round_channels(config.width, norm.num_features) if is_slimmed else len(high[0])
        few, some, many = (each[name] for each in inputs)
        share = (some - few) / (many - few) if many > few else of_width
        mean, variance = (_between(a, b, share, channels) for a, b in zip(low, high, strict=True))
        statistics[name] = mean, variance
    return statistics


def inputs_of_norms(model: SlimmableNet, config: SubnetConfig) -> dict[str, int]:
    """By batch norm, over how many channels its convolution adds up; 1 behind a depthwise one."""
    inputs, last = {}, 1
    for run in dry_run(model, config):
        if isinstance(run.layer, SlimConv3d):
            last = 1 if run.layer.groups > 1 else run.input_shape[1]
        elif isinstance(run.layer, SlimBatchNorm3d):
            inputs[run.name] = last
    return inputs


def _between(low_C: torch.Tensor, high_C: torch.Tensor, share: float, channels: int) -> torch.Tensor:
    """`channels` values: `share` of the way from `low_C` to `high_C` where both have them; of the others the wider
    one's, changed as much as those have changed on average."""
    values_C = high_C[:channels].clone()
    common = min(len(low_C), channels)
    values_C[:common] = torch.lerp(low_C[:common], high_C[:common], share)
    values_C[common:] *= values_C[:common].abs().sum() / high_C[:common].abs().sum().clamp(min=1e-12)
    return values_C

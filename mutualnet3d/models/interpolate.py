"""Batch-norm statistics of a sub-network without data: between those of a narrower and a wider calibrated one.

Exact they are not: a layer's statistics depend on all channels before it. What they cost is measured where it can be
(`TEST.MEASURE_INTERPOLATION`), and `SlimmableNet.interpolate_statistics` refuses them where that is too much.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from mutualnet3d.ops import round_channels
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
    """Statistics of `config`, linear in width between its `neighbours`'; a channel that the narrower one does not have
    has the wider one's.

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
    share = (config.width - narrower.width) / (wider.width - narrower.width)
    statistics = {}
    for name, norm in model.norms():
        low, high = model.statistics[narrower][name], model.statistics[wider][name]
        is_slimmed = len(low[0]) < len(high[0])
        channels = round_channels(config.width, norm.num_features) if is_slimmed else len(high[0])
        mean, variance = (_between(a, b, share, channels) for a, b in zip(low, high, strict=True))
        statistics[name] = mean, variance
    return statistics


def _between(low_C: torch.Tensor, high_C: torch.Tensor, share: float, channels: int) -> torch.Tensor:
    """`channels` values: `share` of the way from `low_C` to `high_C`, where both have them."""
    values_C = high_C[:channels].clone()
    common = min(len(low_C), channels)
    values_C[:common] = torch.lerp(low_C[:common], high_C[:common], share)
    return values_C

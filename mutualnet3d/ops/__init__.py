"""Slimmable layers: the leading channels of each make a smaller layer of the same weights. No model, no cfg, no I/O."""

from mutualnet3d.ops.batch_statistics import BatchStatistics
from mutualnet3d.ops.conv import SlimConv3d
from mutualnet3d.ops.linear import SlimLinear
from mutualnet3d.ops.norm import SlimBatchNorm3d
from mutualnet3d.ops.normalize import Normalize
from mutualnet3d.ops.squeeze_excitation import SlimSqueezeExcitation
from mutualnet3d.ops.width import WidthRule, part_widths, round_channels, select_columns, split_is_in_the_tensor

__all__ = [
    "BatchStatistics",
    "Normalize",
    "SlimBatchNorm3d",
    "SlimConv3d",
    "SlimLinear",
    "SlimSqueezeExcitation",
    "WidthRule",
    "part_widths",
    "round_channels",
    "select_columns",
    "split_is_in_the_tensor",
]

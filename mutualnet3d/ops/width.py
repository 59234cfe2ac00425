"""Channel arithmetic of slimmable layers: the channels that a width leaves, and their columns of a weight."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch

DIVISOR = 8


@functools.lru_cache(maxsize=65536)
def round_channels(width: float, full: int, divisor: int = DIVISOR) -> int:
    """Return the number of channels that a layer of `full` channels keeps at `width`.

    It is `round(width * full / 8) * 8`, at least 8, never under 0.9 of `width * full`, never over `full`; always from
    the layer's full count. At width 1 the layer keeps its channels, a multiple of 8 or not. This rule gives the
    multiply-adds of the paper's 3D results (tests/models/test_complexity.py).

    Args:
        width: fraction of the channels, 0 < width <= 1.
        full: channels at width 1.
        divisor: number in the place of 8, for channels that come in groups.

    Returns:
        Channels at `width`.

    Raises:
        ValueError: a width outside (0, 1] or a layer without channels.
    """
    if not 0.0 < width <= 1.0:
        raise ValueError(f"width must be in (0, 1], got {width!r}")
    if full < 1:
        raise ValueError(f"a layer needs at least one channel, got {full!r}")
    if width == 1.0:
        return full
    exact = width * full
    channels = max(divisor, round(exact / divisor) * divisor)
    if channels < 0.9 * exact:
        channels += divisor
    return min(channels, full)


@dataclass(frozen=True)
class WidthRule:
    """Number of channels that a run of channels keeps at each width.

    Args:
        full: channels at width 1.
        slims: False for a run that comes whole at every width.
        base: channels of the run that it follows, as the outputs of a grouped convolution follow its inputs; 0: none.
        divisor: number whose multiple the kept channels are, in the run that it follows if there is one.
    """

    full: int
    slims: bool = True
    base: int = 0
    divisor: int = DIVISOR

    def at(self, width: float) -> int:
        """Return the number of channels at `width`."""
        if not self.slims:
            return self.full
        if not self.base:
            return round_channels(width, self.full, self.divisor)
        return round_channels(width, self.base, self.divisor) * self.full // self.base


def first_slims(parts: tuple[int, ...]) -> tuple[WidthRule, ...]:
    """Return the rules of a concatenated input whose first part slims, and whose others come whole."""
    return tuple(WidthRule(full, slims=index == 0) for index, full in enumerate(parts))


def split_is_in_the_tensor(rules: tuple[WidthRule, ...]) -> bool:
    """Return whether the total of channels determines those of each part: no part but the first slims."""
    return not any(rule.slims for rule in rules[1:])


def check_parts(parts: tuple[int, ...], total: int) -> None:
    """Refuse input parts that do not add up to a layer's input.

    Args:
        parts: full channels of each part.
        total: channels of the layer's input.

    Raises:
        ValueError: they do not, or a part is empty.
    """
    if not parts or min(parts) < 1 or sum(parts) != total:
        raise ValueError(f"input parts {parts} do not make up the layer's {total} input channels")


def part_widths(parts: tuple[int, ...], in_width: int) -> tuple[int, ...]:
    """Return the channels of each part of a concatenated input that has `in_width` channels in all.

    The first part slims, the others always come whole. Networks concatenate such parts (SlowFast: the slimmed Slow
    features and the lateral's, which never slim), and the total alone determines the split.

    Args:
        parts: full channels of each part.
        in_width: channels of the input.

    Returns:
        Channels of each part, which add up to `in_width`.

    Raises:
        ValueError: no split of that kind gives `in_width`.
    """
    whole = sum(parts[1:])
    if not whole < in_width <= sum(parts):
        allowed = f"{whole + 1} to {sum(parts)}" if in_width != sum(parts) else str(in_width)
        raise ValueError(f"input has {in_width} channels; a layer with input parts {parts} takes {allowed}")
    return (in_width - whole, *parts[1:])


def select_columns(
    weight: torch.Tensor, parts: tuple[int, ...], in_width: int, widths: tuple[int, ...] | None = None, dim: int = 1
) -> torch.Tensor:
    """Return the columns (dimension `dim`) of `weight` for an input of `in_width` channels: a prefix of each part.

    A view for one part; for several, a concatenation of views. The weight itself when nothing is cut.

    Args:
        weight: any tensor with the channels of all parts in its dimension `dim`.
        parts: full channels of each part.
        in_width: channels of the input.
        widths: channels of each part of the input; None: the first part slims, the others come whole.
        dim: dimension of the channels.

    Raises:
        ValueError: no split gives `in_width`.
    """
    if in_width == weight.shape[dim]:
        return weight
    if widths is None:
        widths = part_widths(parts, in_width)
    elif sum(widths) != in_width:
        raise ValueError(
            f"input has {in_width} channels; a layer with input parts {parts} takes {sum(widths)} in this sub-network"
        )
    if len(parts) == 1:
        return weight.narrow(dim, 0, widths[0])
    starts = [sum(parts[:index]) for index in range(len(parts))]
    return torch.cat([weight.narrow(dim, start, width) for start, width in zip(starts, widths, strict=True)], dim=dim)

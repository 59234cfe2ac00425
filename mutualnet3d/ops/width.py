"""Channel arithmetic of slimmable layers: the channels that a width leaves, and their columns of a weight."""

from __future__ import annotations

import functools

import torch

DIVISOR = 8


@functools.lru_cache(maxsize=65536)
def round_channels(width: float, full: int) -> int:
    """Return the channels that a layer of `full` channels keeps at `width`.

    `round(width * full / 8) * 8`, at least 8, never under 0.9 of `width * full`, never over `full`; always from
    the layer's full count. At width 1 the layer keeps its channels, a multiple of 8 or not. With this rule the
    multiply-adds of the paper's 3D results come out (tests/models/test_complexity.py).

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
    channels = max(DIVISOR, round(exact / DIVISOR) * DIVISOR)
    if channels < 0.9 * exact:
        channels += DIVISOR
    return min(channels, full)


def check_parts(parts: tuple[int, ...], total: int) -> None:
    """Refuse input parts that do not add up to a layer's input.

    Raises:
        ValueError: they do not, or a part is empty.
    """
    if not parts or min(parts) < 1 or sum(parts) != total:
        raise ValueError(f"input parts {parts} do not make up the layer's {total} input channels")


def part_widths(parts: tuple[int, ...], in_width: int) -> tuple[int, ...]:
    """Return the channels of each part of a concatenated input that has `in_width` channels in all.

    The first part slims, the others always come whole: networks concatenate such parts (SlowFast: the slimmed Slow
    features and the lateral's, which never slim), and the split can be read from the tensor alone.

    Raises:
        ValueError: no split of that kind gives `in_width`.
    """
    whole = sum(parts[1:])
    if not whole < in_width <= sum(parts):
        allowed = f"{whole + 1} to {sum(parts)}" if in_width != sum(parts) else str(in_width)
        raise ValueError(f"input has {in_width} channels; a layer with input parts {parts} takes {allowed}")
    return (in_width - whole, *parts[1:])


def select_columns(weight: torch.Tensor, parts: tuple[int, ...], in_width: int) -> torch.Tensor:
    """Return the columns (dimension 1) of `weight` that an input of `in_width` channels meets: a prefix of each part.

    A view for one part; for several, a concatenation of views. The weight itself when nothing is cut.
    """
    if in_width == weight.shape[1]:
        return weight
    widths = part_widths(parts, in_width)
    if len(parts) == 1:
        return weight[:, : widths[0]]
    starts = [sum(parts[:index]) for index in range(len(parts))]
    return torch.cat([weight[:, start : start + width] for start, width in zip(starts, widths, strict=True)], dim=1)

"""Cutting of depthwise 3D convolutions into programs of Triton's kernels: fixed rules, by kernel, stride and sizes.

Nothing is tried at run time: widths and sizes change with every step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Triple = tuple[int, int, int]

# Programs that keep every present GPU busy; a constant, so that sums have the same order on all of them.
NUM_PROGRAMS = 1024
LEAST_SEGMENT = 4


@dataclass(frozen=True)
class Blocks:
    """Work of a program.

    Args:
        tile_h, tile_w: positions of a tile, powers of two.
        channels: channels of a block, a power of two.
        unit: channels that a thread loads at once, at most, a power of two; fewer where the layer's number of channels
            is not a multiple.
        num_warps: warps of a program, a power of two.
    """

    tile_h: int
    tile_w: int
    channels: int
    unit: int
    num_warps: int = 4


@dataclass(frozen=True)
class Geometry:
    """Settings of a convolution that its kernels are compiled for.

    Args:
        kernel: taps in T, H and W.
        stride: steps in T, H and W.
        padding: zeros on either side in T, H and W, fewer than the taps.
    """

    kernel: Triple
    stride: Triple
    padding: Triple

    def out_sizes(self, sizes: Triple) -> Triple:
        """Return T, H and W of the output for those of the input."""
        settings = zip(sizes, self.kernel, self.stride, self.padding, strict=True)
        t, h, w = ((size + 2 * padding - kernel) // stride + 1 for size, kernel, stride, padding in settings)
        return t, h, w

    @property
    def constants(self) -> dict[str, int]:
        """Arguments of the kernels that are compiled in."""
        names = [f"{letter}_{axis}" for letter in "KSP" for axis in "THW"]
        return dict(zip(names, (*self.kernel, *self.stride, *self.padding), strict=True))


def output_blocks(geometry: Geometry, itemsize: int) -> list[Blocks]:
    """Return the ways to cut the output's computation, the one that is taken first.

    Args:
        geometry: settings of the convolution.
        itemsize: bytes of a feature.
    """
    units = _units(geometry, itemsize)
    first = Blocks(4, 8, 32, units[0])
    others = [Blocks(8, 8, 32, units[0]), Blocks(4, 4, 32, units[0]), Blocks(4, 8, 64, units[0], 8)]
    return [first, *others, Blocks(4, 8, 32, units[1])]


def input_gradient_blocks(geometry: Geometry, itemsize: int) -> list[Blocks]:
    """Return the ways to cut the input's gradient, the one that is taken first.

    Args:
        geometry: settings of the convolution.
        itemsize: bytes of a feature.
    """
    if math.prod(geometry.stride) == 1:
        return output_blocks(geometry, itemsize)
    unit = _units(geometry, itemsize)[0]
    return [Blocks(4, 4, 32, unit), Blocks(2, 4, 32, unit), Blocks(4, 8, 32, unit, 8), Blocks(4, 4, 64, unit, 8)]


def weight_gradient_blocks(geometry: Geometry, itemsize: int) -> list[Blocks]:
    """Return the ways to cut the weight's gradient, the one that is taken first.

    Args:
        geometry: settings of the convolution.
        itemsize: bytes of a feature.
    """
    unit = _units(geometry, itemsize)[0]
    if math.prod(geometry.kernel) <= 8:
        return [Blocks(4, 8, 32, unit), Blocks(8, 8, 32, unit), Blocks(4, 8, 32, max(1, unit // 2))]
    return [Blocks(2, 4, 32, unit), Blocks(4, 4, 32, unit, 8), Blocks(4, 4, 32, unit), Blocks(4, 4, 64, unit, 8)]


def _units(geometry: Geometry, itemsize: int) -> tuple[int, int]:
    """Return the channels that a thread loads at once, the better guess first: it keeps as many weights per tap."""
    return (16 // itemsize, 8 // itemsize) if math.prod(geometry.kernel) <= 8 else (2, 4)


def unit_of(num_channels: int, most: int) -> int:
    """Return the largest power of two that divides `num_channels`, at most `most`."""
    return math.gcd(num_channels, most)


def segments(length: int, num_programs: int) -> tuple[int, int]:
    """Return the length of segments of `length` frames, and their number, that make `num_programs` enough programs."""
    count = max(1, min(length // LEAST_SEGMENT, NUM_PROGRAMS // max(1, num_programs)))
    segment = -(-length // count)
    return segment, -(-length // segment)


def tiles_of(height: int, width: int, blocks: Blocks) -> tuple[int, int]:
    """Return the number of tiles in H and W that cover a picture."""
    return -(-height // blocks.tile_h), -(-width // blocks.tile_w)

"""Cutting of depthwise 3D convolutions into programs of Triton's kernels: fixed rules, by kernel, stride and sizes.

Nothing is tried at run time: widths and sizes change with every step.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from mutualnet3d.ops.triton_launch import Work

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
    def constants(self) -> tuple[int, ...]:
        """Arguments of the kernels that are compiled in: kernel, stride and padding in T, H and W."""
        return (*self.kernel, *self.stride, *self.padding)


# ---- work of a program -----------------------------------------------------------------------------------------------


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


def segments(length: int, num_programs: int, most_programs: int = NUM_PROGRAMS) -> tuple[int, int]:
    """Return the length of segments of `length` frames, and their number, that make `num_programs` enough programs."""
    count = max(1, min(length // LEAST_SEGMENT, most_programs // max(1, num_programs)))
    segment = -(-length // count)
    return segment, -(-length // segment)


def tiles_of(height: int, width: int, blocks: Blocks) -> tuple[int, int]:
    """Return the number of tiles in H and W that cover a picture."""
    return -(-height // blocks.tile_h), -(-width // blocks.tile_w)


# ---- work of the kernels on a layer ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerWork:
    """Work of the three kernels for a layer and an input's shape.

    Args:
        geometry: settings of the convolution.
        out_shape: shape of the output.
        output, input_gradient, weight_gradient: work of the kernels.
    """

    geometry: Geometry
    out_shape: tuple[int, ...]
    output: Work
    input_gradient: Work
    weight_gradient: Work


@functools.lru_cache(maxsize=4096)
def layer_work(
    shape: tuple[int, ...], kernel: Triple, stride: Triple, padding: Triple, itemsize: int, most_programs: int
) -> LayerWork:
    """Return the work of a layer's kernels, by the ways that are taken first.

    Args:
        shape: B, C, T, H and W of the input.
        kernel: taps in T, H and W.
        stride: steps in T, H and W.
        padding: zeros on either side in T, H and W.
        itemsize: bytes of a feature.
        most_programs: programs that are enough, `NUM_PROGRAMS`.
    """
    geometry = Geometry(kernel, stride, padding)
    return LayerWork(
        geometry,
        (*shape[:2], *geometry.out_sizes(shape[2:])),  # type: ignore[arg-type]
        output_work(shape, geometry, output_blocks(geometry, itemsize)[0], most_programs),
        input_gradient_work(shape, geometry, input_gradient_blocks(geometry, itemsize)[0], most_programs),
        weight_gradient_work(shape, geometry, weight_gradient_blocks(geometry, itemsize)[0], most_programs),
    )


def output_work(shape: tuple[int, ...], geometry: Geometry, blocks: Blocks, most_programs: int) -> Work:
    """Return the work of the kernel of the output; arguments as for `layer_work`."""
    out_frames, *picture = geometry.out_sizes(shape[2:])  # type: ignore[arg-type]
    return _work_by_frames(shape, geometry, blocks, most_programs, (picture[0], picture[1]), out_frames)


def input_gradient_work(shape: tuple[int, ...], geometry: Geometry, blocks: Blocks, most_programs: int) -> Work:
    """Return the work of the kernel of the input's gradient; arguments as for `layer_work`."""
    groups = [-(-size // stride) for size, stride in zip(shape[2:], geometry.stride, strict=True)]
    return _work_by_frames(shape, geometry, blocks, most_programs, (groups[1], groups[2]), groups[0])


def weight_gradient_work(shape: tuple[int, ...], geometry: Geometry, blocks: Blocks, most_programs: int) -> Work:
    """Return the work of the kernel of the weight's gradient; its last number is that of the parts of the sum."""
    out_sizes = geometry.out_sizes(shape[2:])  # type: ignore[arg-type]
    tiles = tiles_of(out_sizes[1], out_sizes[2], blocks)
    num_items = shape[0] * tiles[0] * tiles[1]
    num_blocks = -(-shape[1] // blocks.channels)
    num_chunks = max(1, min(num_items, most_programs // num_blocks))
    return _work(shape, geometry, blocks, num_blocks * num_chunks, (*tiles, num_items, num_chunks))


def _work_by_frames(
    shape: tuple[int, ...],
    geometry: Geometry,
    blocks: Blocks,
    most_programs: int,
    picture: tuple[int, int],
    length: int,
) -> Work:
    """Return the work of a kernel whose programs go through frames.

    Args:
        shape: B, C, T, H and W of the input.
        geometry: settings of the convolution.
        blocks: work of a program.
        most_programs: programs that are enough.
        picture: height and width of what tiles cover.
        length: frames of the result, or groups of them, to be cut into segments.
    """
    tiles = tiles_of(*picture, blocks)
    num_programs = shape[0] * tiles[0] * tiles[1] * -(-shape[1] // blocks.channels)
    segment, num_segments = segments(length, num_programs, most_programs)
    return _work(shape, geometry, blocks, num_programs * num_segments, (*tiles, segment, num_segments))


def _work(
    shape: tuple[int, ...], geometry: Geometry, blocks: Blocks, num_programs: int, numbers: tuple[int, ...]
) -> Work:
    unit = unit_of(shape[1], blocks.unit)
    sizes = (*shape[2:], *geometry.out_sizes(shape[2:]))  # type: ignore[arg-type]
    constants = (*geometry.constants, unit, blocks.tile_h, blocks.tile_w, blocks.channels)
    return Work((num_programs, 1, 1), (shape[1] // unit, *sizes, *numbers), constants, blocks.num_warps)

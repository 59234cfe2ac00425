"""Work of the kernels in `triton_norm_kernels` on whole tensors: memory for results, division into programs, launch.

Features are (B, C, T, H, W) in channels_last_3d, which are rows (B * T * H * W, C) in memory.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch

from mutualnet3d.ops.triton_launch import Kernel, Work

_MODULE = "mutualnet3d.ops.triton_norm_kernels"
_partial_statistics, _pooled_statistics, _group_means, _normalize, _partial_gradients, _input_gradient = (
    Kernel(_MODULE, name)
    for name in (
        "partial_statistics",
        "pooled_statistics",
        "group_means",
        "normalize",
        "partial_gradients",
        "input_gradient",
    )
)

_MOST_COLUMNS = 512  # of a program
_PROGRAMS_OF_PROCESSOR = 8  # that reduce rows at once on each of a GPU's multiprocessors


class Tile(NamedTuple):
    """Values that a program holds at once, a power of two, and its warps of 32 threads."""

    values: int
    warps: int


class Tiles(NamedTuple):
    """Tiles of the kernels that reduce rows to sums, and of those that write features."""

    reduction: Tile
    writing: Tile


class Tracking(NamedTuple):
    """Tracked mean and variance, (C,) each, which a forward pass moves by `factor` towards the batch's."""

    mean_C: torch.Tensor
    variance_C: torch.Tensor
    factor: float


# 16 values of each tensor a thread: for an H100 the kernels compile to at most 128 registers a thread (174 with a
# shortcut whose rows begin at odd places), so that four programs and more run on a multiprocessor, and nothing spills.
_tiles = Tiles(reduction=Tile(2048, 4), writing=Tile(2048, 4))


def candidates() -> list[Tile]:
    """Return the tiles that are worth a measurement on a GPU."""
    return [Tile(1024, 4), Tile(2048, 4), Tile(2048, 8), Tile(4096, 8)]


@contextmanager
def using(tiles: Tiles) -> Iterator[None]:
    """Context in which the kernels have `tiles`, for measurements."""
    global _tiles
    before, _tiles = _tiles, tiles
    try:
        yield
    finally:
        _tiles = before


class Layout(NamedTuple):
    """Division of rows (groups * group_rows, channels) into the chunks of a reduction and the tiles of a writing."""

    groups: int
    group_rows: int
    channels: int
    units: int
    div: int
    block_c: int
    reduction_n: int
    chunk_rows: int
    group_chunks: int
    writing_n: int
    group_tiles: int

    @property
    def rows(self) -> int:
        """Number of all rows."""
        return self.groups * self.group_rows

    @property
    def chunks(self) -> int:
        """Number of chunks of all groups."""
        return self.groups * self.group_chunks

    @property
    def column_blocks(self) -> int:
        """Number of programs side by side that the channels take."""
        return -(-self.channels // self.block_c)


@functools.lru_cache(maxsize=4096)
def divide(groups: int, group_rows: int, channels: int, programs: int, tiles: Tiles) -> Layout:
    """Return the division of rows (groups * group_rows, channels) among programs.

    About `programs` of them reduce the rows, as many as there are tiles write them.
    """
    div = min(channels & -channels, 8)
    block_c = min(max(1 << (channels - 1).bit_length(), 16), _MOST_COLUMNS)
    reduction_n, writing_n = (max(tile.values // block_c, 1) for tile in tiles)
    group_chunks = max(programs // groups, 1)
    chunk_rows = -(-group_rows // (group_chunks * reduction_n)) * reduction_n  # whole tiles
    return Layout(
        groups,
        group_rows,
        channels,
        channels // div,
        div,
        block_c,
        reduction_n,
        chunk_rows,
        -(-group_rows // chunk_rows),
        writing_n,
        -(-group_rows // writing_n),
    )


def layout_of(x: torch.Tensor, by_sample: bool) -> Layout:
    """Return the division of x's rows: each sample a group, or all one group."""
    return _layout(x.shape, by_sample, x.get_device(), _tiles)


@functools.lru_cache(maxsize=4096)
def _layout(shape: torch.Size, by_sample: bool, device: int, tiles: Tiles) -> Layout:
    batch, channels, *clip = shape
    rows = clip[0] * clip[1] * clip[2]
    groups, group_rows = (batch, rows) if by_sample else (1, batch * rows)
    return divide(groups, group_rows, channels, _programs(device), tiles)


@functools.cache
def _programs(device: int) -> int:
    """Return the number of programs that reduce rows on a GPU; -1 is a CPU."""
    if device < 0:
        return 4
    return _PROGRAMS_OF_PROCESSOR * torch.cuda.get_device_properties(device).multi_processor_count


def accumulator(x: torch.Tensor) -> torch.dtype:
    """Return the type of sums over x."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


# ---- work of the kernels, made once for a division -------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _reduction(layout: Layout, tile: Tile, *constants: int) -> Work:
    numbers = (layout.group_rows, layout.group_chunks, layout.chunk_rows, layout.units)
    constants = (*constants, layout.div, layout.reduction_n, layout.block_c)
    return Work((layout.chunks, layout.column_blocks, 1), numbers, constants, tile.warps)


@functools.lru_cache(maxsize=4096)
def _writing(layout: Layout, tile: Tile, with_rows: bool, *constants: int) -> Work:
    numbers = (layout.group_rows, layout.group_tiles, layout.units, *([layout.rows] if with_rows else []))
    constants = (*constants, layout.div, layout.writing_n, layout.block_c)
    return Work((layout.groups * layout.group_tiles, layout.column_blocks, 1), numbers, constants, tile.warps)


@functools.lru_cache(maxsize=4096)
def _pooling(layout: Layout, eps: float, factor: float | None) -> Work:
    places = (layout.group_rows, layout.group_chunks, layout.chunk_rows, layout.chunks, layout.rows, layout.channels)
    numbers = (*places, float(eps), float(factor or 0.0))
    return Work((-(-layout.channels // 16), 1, 1), numbers, (factor is not None, 256, 16))


@functools.lru_cache(maxsize=4096)
def _means(layout: Layout) -> Work:
    numbers = (layout.group_rows, layout.group_chunks, layout.chunk_rows, layout.channels)
    return Work((layout.groups, -(-layout.channels // 64), 1), numbers, (64,))


# ---- the kernels' launches -------------------------------------------------------------------------------------------


def statistics(
    x: torch.Tensor, layout: Layout, eps: float, tracking: Tracking | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the statistics of chunks and of all rows.

    Those of chunks are mean and sum of squared deviations, (2, chunks, C); those of all rows mean and 1 / standard
    deviation, (2, C).
    """
    partial_2KC = x.new_empty((2, layout.chunks, layout.channels), dtype=accumulator(x))
    statistics_2C = partial_2KC.new_empty((2, layout.channels))
    _partial_statistics(_reduction(layout, _tiles.reduction), x, partial_2KC)
    if tracking is None:
        _pooled_statistics(_pooling(layout, eps, None), partial_2KC, statistics_2C, statistics_2C, statistics_2C)
    else:
        mean_C, variance_C, factor = tracking
        _pooled_statistics(_pooling(layout, eps, factor), partial_2KC, statistics_2C, mean_C, variance_C)
    return partial_2KC, statistics_2C


def group_means(
    partial_2KC: torch.Tensor, layout: Layout, parameters: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each group's mean of the normalised x, and of the norm's output, (groups, C) each."""
    normalised_means = partial_2KC.new_empty(layout.groups, layout.channels)
    means = torch.empty_like(normalised_means)
    _group_means(_means(layout), partial_2KC, *parameters, normalised_means, means)
    return normalised_means, means


def normalized(
    x: torch.Tensor,
    layout: Layout,
    parameters: Sequence[torch.Tensor],
    activation: int,
    shortcut: torch.Tensor | None = None,
    gate_BC: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return activation(gate * norm(x) + shortcut); `parameters` are statistics, scale and shift."""
    y = torch.empty_like(x)
    work = _writing(layout, _tiles.writing, False, shortcut is not None, gate_BC is not None, activation)
    _normalize(work, x, x if shortcut is None else shortcut, x if gate_BC is None else gate_BC, y, *parameters)
    return y


def partial_gradients(
    grad: torch.Tensor,
    x: torch.Tensor,
    layout: Layout,
    parameters: Sequence[torch.Tensor],
    activation: int,
    y: torch.Tensor | None = None,
    grad_shortcut: torch.Tensor | None = None,
    gate_BC: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return each chunk's sums of dz and dz * normalised x, (2, chunks, C); fill `grad_shortcut` with dz."""
    partial_2KC = parameters[0].new_empty((2, layout.chunks, layout.channels))
    _partial_gradients(
        _reduction(layout, _tiles.reduction, grad_shortcut is not None, gate_BC is not None, activation),
        grad,
        x,
        x if y is None else y,
        x if gate_BC is None else gate_BC,
        x if grad_shortcut is None else grad_shortcut,
        partial_2KC,
        *parameters,
    )
    return partial_2KC


def input_gradient(
    grad: torch.Tensor,
    x: torch.Tensor,
    layout: Layout,
    parameters: Sequence[torch.Tensor],
    activation: int,
    sums_2C: torch.Tensor,
    gate_BC: torch.Tensor | None = None,
    grad_means_BC: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the gradient of x from the sums of dn and dn * normalised x over all rows.

    dn is the gradient of the norm's output: dz, or gate * dz + grad_means.
    """
    grad_x = torch.empty_like(x)
    _input_gradient(
        _writing(layout, _tiles.writing, True, gate_BC is not None, activation),
        grad,
        x,
        x if gate_BC is None else gate_BC,
        x if grad_means_BC is None else grad_means_BC,
        grad_x,
        sums_2C,
        *parameters,
    )
    return grad_x

"""Batch norm of a batch's own statistics together with what follows it, by few passes over the features.

    y = activation(norm(x))                 `normalize_activate`, with a shortcut activation(norm(x) + shortcut)
    y = activation(gate(pool(norm(x))) * norm(x))         `normalize_gate_activate`: squeeze-and-excitation

torch computes norm, sum, product and activation one after the other, each a reading and a writing of all features. Here
the forward pass reads x twice and writes y, the backward pass reads x and y's gradient twice and writes x's gradient;
beside x (and y, with a shortcut) nothing as large is kept for it. Within, all numbers are float32, rounded once. The
kernels are in `triton_norm_kernels`; `takes` says which tensors they are for.

There is no second derivative.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from mutualnet3d.ops import triton_switch

# Kernels by the names of activations; values of the kernels' ACT.
ACTIVATIONS = {"none": 0, "relu": 1, "swish": 2}
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MOST_COLUMNS = 512  # of a program
_PROGRAMS_OF_PROCESSOR = 4  # that reduce rows at once on each of a GPU's multiprocessors


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


_tiles = Tiles(reduction=Tile(4096, 4), writing=Tile(2048, 4))


def candidates() -> list[Tile]:
    """Return the tiles that are worth a measurement on a GPU."""
    return [Tile(1024, 4), Tile(2048, 4), Tile(4096, 4), Tile(4096, 8), Tile(8192, 8)]


@contextmanager
def using(tiles: Tiles) -> Iterator[None]:
    """Context in which the kernels have `tiles`, for measurements."""
    global _tiles
    before, _tiles = _tiles, tiles
    try:
        yield
    finally:
        _tiles = before


def takes(x: torch.Tensor, weight_C: torch.Tensor | None, bias_C: torch.Tensor | None) -> bool:
    """Return whether the kernels are to be taken: they are on for x, which has several values per channel and lies in
    channels_last_3d; scale and shift are there, float32 (float64 for x of float64)."""
    return (
        triton_switch.takes(x)
        and weight_C is not None
        and bias_C is not None
        and x.ndim == 5
        and x.dtype in _FLOATS
        and weight_C.dtype == bias_C.dtype == _accumulator(x)
        and x.numel() > x.shape[1] > 0
        and x.is_contiguous(memory_format=torch.channels_last_3d)
    )


def normalize_activate(
    x: torch.Tensor,
    weight_C: torch.Tensor,
    bias_C: torch.Tensor,
    eps: float,
    activation: str = "none",
    shortcut: torch.Tensor | None = None,
    tracking: Tracking | None = None,
) -> torch.Tensor:
    """Return activation(norm(x) + shortcut), in x's type and memory format.

    Args:
        x: features (B, C, T, H, W) that `takes` accepts.
        weight_C, bias_C: scale and shift.
        eps: number added to the variance.
        activation: a name of `ACTIVATIONS`.
        shortcut: features like x, or None. The activation may then not be swish.
        tracking: tracked statistics to move; None: none.
    """
    assert shortcut is None or activation != "swish"  # its derivative cannot be told from y
    if shortcut is not None:
        shortcut = shortcut.contiguous(memory_format=torch.channels_last_3d)
    return _NormActivation.apply(x, shortcut, weight_C, bias_C, eps, ACTIVATIONS[activation], tracking)


def normalize_gate_activate(
    x: torch.Tensor,
    weight_C: torch.Tensor,
    bias_C: torch.Tensor,
    eps: float,
    gate: Callable[[torch.Tensor], torch.Tensor],
    activation: str = "none",
    tracking: Tracking | None = None,
) -> torch.Tensor:
    """Return activation(gate(mean of norm(x) over T, H, W) * norm(x)), in x's type and memory format.

    The mean needs no pass of its own: the norm is linear in each channel, and the statistics' sums are of one sample
    each.

    Args:
        x, weight_C, bias_C, eps, activation, tracking: see `normalize_activate`.
        gate: function of the means, (B, C, 1, 1, 1), float32, to the factors, of the same shape; differentiable.
    """
    batch, channels = x.shape[:2]
    link = _Link(ACTIVATIONS[activation])
    means_BC = _PooledNorm.apply(link, x, weight_C, bias_C, eps, tracking)
    factors_BC = gate(means_BC.view(batch, channels, 1, 1, 1)).reshape(batch, channels)
    return _GatedNorm.apply(link, x.detach(), factors_BC, weight_C.detach(), bias_C.detach())


# ---- the work of kernels ---------------------------------------------------------------------------------------------


class _Layout(NamedTuple):
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
        return self.groups * self.group_rows

    @property
    def chunks(self) -> int:
        return self.groups * self.group_chunks

    @property
    def column_blocks(self) -> int:
        return -(-self.channels // self.block_c)


@functools.lru_cache(maxsize=4096)
def _layout(groups: int, group_rows: int, channels: int, programs: int, tiles: Tiles) -> _Layout:
    div = min(channels & -channels, 8)
    block_c = min(max(1 << (channels - 1).bit_length(), 16), _MOST_COLUMNS)
    reduction_n, writing_n = (max(tile.values // block_c, 1) for tile in tiles)
    group_chunks = max(programs // groups, 1)
    chunk_rows = -(-group_rows // (group_chunks * reduction_n)) * reduction_n  # whole tiles
    return _Layout(
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


def _layout_of(x: torch.Tensor, by_sample: bool) -> _Layout:
    batch, channels, *clip = x.shape
    rows = clip[0] * clip[1] * clip[2]
    groups, group_rows = (batch, rows) if by_sample else (1, batch * rows)
    return _layout(groups, group_rows, channels, _programs(x.device), _tiles)


@functools.cache
def _programs(device: torch.device) -> int:
    if device.type == "cpu":
        return 4
    return _PROGRAMS_OF_PROCESSOR * torch.cuda.get_device_properties(device).multi_processor_count


def _accumulator(x: torch.Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _kernels() -> Any:
    from mutualnet3d.ops import triton_norm_kernels

    return triton_norm_kernels


def _statistics(
    x: torch.Tensor, layout: _Layout, eps: float, tracking: Tracking | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each chunk's mean and sum of squared deviations, (2, chunks, C), and mean and 1 / standard deviation,
    (2, C)."""
    kernels, channels, chunks = _kernels(), layout.channels, layout.chunks
    partial_2KC = x.new_empty((2, chunks, channels), dtype=_accumulator(x))
    statistics_2C = partial_2KC.new_empty((2, channels))
    places = (layout.group_rows, layout.group_chunks, layout.chunk_rows)
    kernels.partial_statistics[(chunks, layout.column_blocks)](
        x,
        partial_2KC,
        *places,
        layout.units,
        DIV=layout.div,
        BLOCK_N=layout.reduction_n,
        BLOCK_C=layout.block_c,
        num_warps=_tiles.reduction.warps,
    )
    tracked = (statistics_2C, statistics_2C, 0.0) if tracking is None else tracking
    kernels.pooled_statistics[(-(-channels // 16),)](
        partial_2KC,
        statistics_2C,
        tracked[0],
        tracked[1],
        *places,
        chunks,
        layout.rows,
        channels,
        eps,
        tracked[2],
        TRACKS=tracking is not None,
        BLOCK_K=64,
        BLOCK_C=16,
    )
    return partial_2KC, statistics_2C


def _normalized(
    x: torch.Tensor,
    layout: _Layout,
    parameters: tuple[torch.Tensor, ...],
    activation: int,
    shortcut: torch.Tensor | None = None,
    gate_BC: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return activation(gate * norm(x) + shortcut); `parameters` are statistics, scale and shift."""
    y = torch.empty_like(x)
    _kernels().normalize[(layout.groups * layout.group_tiles, layout.column_blocks)](
        x,
        x if shortcut is None else shortcut,
        x if gate_BC is None else gate_BC,
        y,
        *parameters,
        layout.group_rows,
        layout.group_tiles,
        layout.units,
        HAS_SHORTCUT=shortcut is not None,
        HAS_GATE=gate_BC is not None,
        ACT=activation,
        DIV=layout.div,
        BLOCK_N=layout.writing_n,
        BLOCK_C=layout.block_c,
        num_warps=_tiles.writing.warps,
    )
    return y


def _partial_gradients(
    grad: torch.Tensor,
    x: torch.Tensor,
    layout: _Layout,
    parameters: tuple[torch.Tensor, ...],
    activation: int,
    y: torch.Tensor | None = None,
    grad_shortcut: torch.Tensor | None = None,
    gate_BC: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return each chunk's sums of dz and dz * normalised x, (2, chunks, C); fill `grad_shortcut` with dz."""
    partial_2KC = x.new_empty((2, layout.chunks, layout.channels), dtype=_accumulator(x))
    _kernels().partial_gradients[(layout.chunks, layout.column_blocks)](
        grad,
        x,
        x if y is None else y,
        x if gate_BC is None else gate_BC,
        x if grad_shortcut is None else grad_shortcut,
        partial_2KC,
        *parameters,
        layout.group_rows,
        layout.group_chunks,
        layout.chunk_rows,
        layout.units,
        HAS_SHORTCUT=grad_shortcut is not None,
        HAS_GATE=gate_BC is not None,
        ACT=activation,
        DIV=layout.div,
        BLOCK_N=layout.reduction_n,
        BLOCK_C=layout.block_c,
        num_warps=_tiles.reduction.warps,
    )
    return partial_2KC


def _input_gradient(
    grad: torch.Tensor,
    x: torch.Tensor,
    layout: _Layout,
    parameters: tuple[torch.Tensor, ...],
    activation: int,
    sums_2C: torch.Tensor,
    gate_BC: torch.Tensor | None = None,
    grad_means_BC: torch.Tensor | None = None,
) -> torch.Tensor:
    grad_x = torch.empty_like(x)
    _kernels().input_gradient[(layout.groups * layout.group_tiles, layout.column_blocks)](
        grad,
        x,
        x if gate_BC is None else gate_BC,
        x if grad_means_BC is None else grad_means_BC,
        grad_x,
        sums_2C,
        *parameters,
        layout.group_rows,
        layout.group_tiles,
        layout.units,
        layout.rows,
        HAS_GATE=gate_BC is not None,
        ACT=activation,
        DIV=layout.div,
        BLOCK_N=layout.writing_n,
        BLOCK_C=layout.block_c,
        num_warps=_tiles.writing.warps,
    )
    return grad_x


# ---- autograd --------------------------------------------------------------------------------------------------------


class _NormActivation(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, shortcut, weight, bias, eps, activation, tracking):  # type: ignore[no-untyped-def]
        layout = _layout_of(x, by_sample=False)
        _, statistics = _statistics(x, layout, eps, tracking)
        y = _normalized(x, layout, (statistics, weight, bias), activation, shortcut)
        ctx.save_for_backward(x, None if shortcut is None else y, statistics, weight, bias)
        ctx.activation = activation
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, y, *parameters = ctx.saved_tensors
        layout, activation = _layout_of(x, by_sample=False), ctx.activation
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        grad_shortcut = None if y is None else torch.empty_like(y)
        sums = _partial_gradients(grad, x, layout, parameters, activation, y, grad_shortcut).sum(1)
        grad_x = None
        if ctx.needs_input_grad[0]:
            if grad_shortcut is not None:
                grad, activation = grad_shortcut, ACTIVATIONS["none"]  # it is the gradient before the activation
            grad_x = _input_gradient(grad, x, layout, parameters, activation, sums)
        return grad_x, grad_shortcut, sums[1], sums[0], None, None, None


class _Link:
    """Connection of the two halves of a norm with a gate: the second's backward leaves here what the first's needs."""

    def __init__(self, activation: int):
        self.activation = activation
        self.statistics_2C: torch.Tensor | None = None
        self.gradients: tuple[torch.Tensor, ...] | None = None


class _PooledNorm(torch.autograd.Function):
    """First half: statistics and means of norm(x). Its backward comes last and gives the whole gradients of x, weight
    and bias, those by way of the second half too."""

    @staticmethod
    def forward(ctx, link, x, weight, bias, eps, tracking):  # type: ignore[no-untyped-def]
        layout = _layout_of(x, by_sample=True)
        partial, statistics = _statistics(x, layout, eps, tracking)
        normalised_means = statistics.new_empty(layout.groups, layout.channels)
        means = torch.empty_like(normalised_means)
        _kernels().group_means[(layout.groups, -(-layout.channels // 64))](
            partial,
            statistics,
            weight,
            bias,
            normalised_means,
            means,
            layout.group_rows,
            layout.group_chunks,
            layout.chunk_rows,
            layout.channels,
            BLOCK_C=64,
        )
        link.statistics_2C, ctx.link = statistics, link
        ctx.save_for_backward(x, statistics, weight, bias, normalised_means)
        return means

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_means):  # type: ignore[no-untyped-def]
        x, *parameters, normalised_means = ctx.saved_tensors
        layout, link = _layout_of(x, by_sample=True), ctx.link
        grad, gate, sums_2BC = link.gradients
        link.gradients = None
        # Sums over a sample of dn and dn * normalised x, where dn = gate * dz + grad_means / group_rows.
        sums_2BC = sums_2BC * gate
        sums_2BC[0] += grad_means
        sums_2BC[1].addcmul_(grad_means, normalised_means)
        sums = sums_2BC.sum(1)
        grad_x = None
        if ctx.needs_input_grad[1]:
            way = grad_means / layout.group_rows
            grad_x = _input_gradient(grad, x, layout, parameters, link.activation, sums, gate, way)
        return None, grad_x, sums[1], sums[0], None, None


class _GatedNorm(torch.autograd.Function):
    """Second half: activation(gate * norm(x)), with a gradient for the gate alone."""

    @staticmethod
    def forward(ctx, link, x, gate, weight, bias):  # type: ignore[no-untyped-def]
        layout = _layout_of(x, by_sample=True)
        gate = gate.contiguous()
        parameters = (link.statistics_2C, weight, bias)
        y = _normalized(x, layout, parameters, link.activation, gate_BC=gate)
        ctx.link = link
        ctx.save_for_backward(x, gate, *parameters)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, gate, *parameters = ctx.saved_tensors
        layout, link = _layout_of(x, by_sample=True), ctx.link
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        partial_2KC = _partial_gradients(grad, x, layout, parameters, link.activation, gate_BC=gate)
        sums_2BC = partial_2KC.view(2, layout.groups, layout.group_chunks, layout.channels).sum(2)
        link.gradients = (grad, gate, sums_2BC)
        _, weight, bias = parameters
        grad_gate = torch.addcmul(sums_2BC[0] * bias, sums_2BC[1], weight).to(gate.dtype)
        return None, None, grad_gate, None, None

"""Depthwise 3D convolution of channels_last_3d features by Triton's kernels, forward and both gradients.

The kernels are in `triton_depthwise_kernels.py` and `triton_depthwise_weight.py`, the rules that cut their work into
programs in `triton_depthwise_plan.py`; here is when they are taken, and their place in autograd.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from mutualnet3d.ops.triton_depthwise_plan import (
    NUM_PROGRAMS,
    Blocks,
    Geometry,
    Triple,
    input_gradient_blocks,
    output_blocks,
    segments,
    tiles_of,
    unit_of,
    weight_gradient_blocks,
)

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# Kernels keep a weight per tap in registers, and code grows with their number.
MOST_TAPS = 27
# Offsets within a clip are 32-bit numbers.
MOST_NUMBERS = 2**31 - 1

# ---- when they are taken ---------------------------------------------------------------------------------------------


def fits(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...] | str,
    dilation: tuple[int, ...],
    groups: int,
) -> bool:
    """Return whether the kernels compute this convolution; device and switch are `triton_switch.takes`'s concern.

    Args:
        x: features, (B, C, T, H, W) in channels_last_3d, without gaps.
        weight: kernels, (C, 1, kT, kH, kW), of at most `MOST_TAPS` taps, of a type that `F.conv3d` takes with `x`.
        bias: None.
        stride: steps in T, H and W.
        padding: zeros on either side in T, H and W, fewer than the taps; no word.
        dilation: (1, 1, 1).
        groups: C.
    """
    if bias is not None or isinstance(padding, str) or tuple(dilation) != (1, 1, 1) or x.dim() != 5:
        return False
    kernel = weight.shape[2:]
    if not 1 < groups == x.shape[1] == weight.shape[0] or weight.shape[1] != 1 or kernel.numel() > MOST_TAPS:
        return False
    if any(p >= k for p, k in zip(padding, kernel, strict=True)) or x.numel() == 0:
        return False
    geometry = Geometry(tuple(kernel), tuple(stride), tuple(padding))  # type: ignore[arg-type]
    out_sizes = geometry.out_sizes(x.shape[2:])  # type: ignore[arg-type]
    if min(out_sizes) < 1 or x.shape[1] * max(math.prod(x.shape[2:]), math.prod(out_sizes)) > MOST_NUMBERS:
        return False
    return _has_types(x, weight) and x.is_contiguous(memory_format=torch.channels_last_3d)


def _has_types(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Return whether `F.conv3d` takes both in one type, by autocast if it is on, and the kernels take that type."""
    dtype = _computed_type(x)
    return dtype in DTYPES and weight.dtype in DTYPES and dtype == _computed_type(weight)


def _computed_type(tensor: torch.Tensor) -> torch.dtype:
    """Return the type that autocast has `F.conv3d` take `tensor` in: its own if autocast is off, or for float64."""
    device = tensor.device.type
    if tensor.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return tensor.dtype
    return torch.get_autocast_dtype(device)


# ---- the kernels' calls ----------------------------------------------------------------------------------------------


def output(x: torch.Tensor, weight: torch.Tensor, geometry: Geometry, blocks: Blocks | None = None) -> torch.Tensor:
    """Return the convolution of `x`, in channels_last_3d.

    Args:
        x: features, (B, C, T, H, W) in channels_last_3d.
        weight: kernels, (C, 1, kT, kH, kW), contiguous; rounded to the type of `x`.
        geometry: settings of the convolution.
        blocks: work of a program. Default: the first of `output_blocks`.
    """
    from mutualnet3d.ops import triton_depthwise_kernels as kernels

    blocks = blocks or output_blocks(geometry, x.element_size())[0]
    sizes = geometry.out_sizes(x.shape[2:])  # type: ignore[arg-type]
    y = _empty(x, sizes)
    tiles = tiles_of(sizes[1], sizes[2], blocks)
    _run_by_frames(kernels.forward, x, weight, y, x, y, geometry, blocks, tiles, sizes[0])
    return y


def input_gradient(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, geometry: Geometry, blocks: Blocks | None = None
) -> torch.Tensor:
    """Return the gradient of the input, in channels_last_3d.

    Args:
        grad: gradient of the output, (B, C, T', H', W') in channels_last_3d, of the type of `x`.
        x: input of the convolution, (B, C, T, H, W) in channels_last_3d.
        weight: kernels, (C, 1, kT, kH, kW), contiguous.
        geometry: settings of the convolution.
        blocks: work of a program. Default: the first of `input_gradient_blocks`.
    """
    from mutualnet3d.ops import triton_depthwise_kernels as kernels

    blocks = blocks or input_gradient_blocks(geometry, x.element_size())[0]
    frames, height, width = x.shape[2:]
    stride = geometry.stride
    dx = _empty(x, (frames, height, width))
    tiles = tiles_of(-(-height // stride[1]), -(-width // stride[2]), blocks)
    _run_by_frames(kernels.input_gradient, grad, weight, dx, x, grad, geometry, blocks, tiles, -(-frames // stride[0]))
    return dx


def weight_gradient(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, geometry: Geometry, blocks: Blocks | None = None
) -> torch.Tensor:
    """Return the gradient of the weight, of its shape and type.

    Args:
        grad: gradient of the output, (B, C, T', H', W') in channels_last_3d, of the type of `x`.
        x: input of the convolution, (B, C, T, H, W) in channels_last_3d.
        weight: kernels, (C, 1, kT, kH, kW), contiguous.
        geometry: settings of the convolution.
        blocks: work of a program. Default: the first of `weight_gradient_blocks`.
    """
    from mutualnet3d.ops import triton_depthwise_weight as kernels

    blocks = blocks or weight_gradient_blocks(geometry, x.element_size())[0]
    num_channels, num_taps = x.shape[1], math.prod(geometry.kernel)
    tiles = tiles_of(grad.shape[3], grad.shape[4], blocks)
    num_items = x.shape[0] * tiles[0] * tiles[1]
    num_blocks = -(-num_channels // blocks.channels)
    num_chunks = max(1, min(num_items, NUM_PROGRAMS // num_blocks))
    sum_type = torch.float64 if x.dtype == torch.float64 else torch.float32
    partial = x.new_empty(num_chunks, num_channels, num_taps, dtype=sum_type)
    unit = unit_of(num_channels, blocks.unit)
    kernels.weight_gradient[(num_blocks * num_chunks,)](
        x,
        grad,
        partial,
        num_channels // unit,
        *x.shape[2:],
        *grad.shape[2:],
        *tiles,
        num_items,
        num_chunks,
        **geometry.constants,
        **_block_constants(blocks, unit),
    )
    return partial.sum(0).view(weight.shape).to(weight.dtype)


def _run_by_frames(
    kernel: Any,
    source: torch.Tensor,
    weight: torch.Tensor,
    target: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
    geometry: Geometry,
    blocks: Blocks,
    tiles: tuple[int, int],
    length: int,
) -> None:
    """Run `forward` or `input_gradient`, from `source` to `target`.

    Args:
        kernel: kernel.
        source: features that it reads.
        weight: kernels, (C, 1, kT, kH, kW), contiguous.
        target: features that it writes.
        x: input of the convolution, or a tensor of its shape.
        y: output of the convolution, or a tensor of its shape.
        geometry: settings of the convolution.
        blocks: work of a program.
        tiles: number of tiles in H and W.
        length: frames of the target, or groups of them, to be cut into segments.
    """
    num_channels = x.shape[1]
    unit = unit_of(num_channels, blocks.unit)
    num_programs = x.shape[0] * tiles[0] * tiles[1] * -(-num_channels // blocks.channels)
    segment, num_segments = segments(length, num_programs)
    kernel[(num_programs * num_segments,)](
        source,
        weight,
        target,
        num_channels // unit,
        *x.shape[2:],
        *y.shape[2:],
        *tiles,
        segment,
        num_segments,
        **geometry.constants,
        **_block_constants(blocks, unit),
    )


def _block_constants(blocks: Blocks, unit: int) -> dict[str, Any]:
    return {
        "UNIT": unit,
        "TILE_H": blocks.tile_h,
        "TILE_W": blocks.tile_w,
        "BLOCK_C": blocks.channels,
        "num_warps": blocks.num_warps,
        "enable_fp_fusion": True,
    }


def _empty(x: torch.Tensor, sizes: Triple) -> torch.Tensor:
    shape = (*x.shape[:2], *sizes)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last_3d)


# ---- autograd --------------------------------------------------------------------------------------------------------


class _TritonDepthwise(torch.autograd.Function):
    """Convolution in the type of `x`; the gradient of the weight is in the weight's type."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, geometry: Geometry) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return output(x, weight, geometry)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            return *_differentiable_gradients(grad, x, weight, ctx.geometry, needs_x, needs_weight), None
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        dx = input_gradient(grad, x, weight, ctx.geometry) if needs_x else None
        return dx, weight_gradient(grad, x, weight, ctx.geometry) if needs_weight else None, None


def _differentiable_gradients(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, geometry: Geometry, needs_x: bool, needs_weight: bool
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return the gradients by torch's own backward, which has a derivative: for gradients of gradients."""
    settings = (None, geometry.stride, geometry.padding, (1, 1, 1), False, (0, 0, 0), x.shape[1])
    needs = (needs_x, needs_weight, False)
    dx, dw, _ = torch.ops.aten.convolution_backward(grad, x, weight.to(x.dtype), *settings, needs)
    return dx, None if dw is None else dw.to(weight.dtype)


def depthwise_conv3d(
    x: torch.Tensor, weight: torch.Tensor, stride: tuple[int, ...], padding: tuple[int, ...]
) -> torch.Tensor:
    """Return the depthwise `torch.nn.functional.conv3d` of arguments that `fits` accepts, in channels_last_3d.

    As under autocast elsewhere, features and weight are rounded to its type, and sums are not.

    Args:
        x: features, (B, C, T, H, W) in channels_last_3d.
        weight: kernels, (C, 1, kT, kH, kW).
        stride: steps in T, H and W.
        padding: zeros on either side in T, H and W.
    """
    geometry = Geometry(tuple(weight.shape[2:]), tuple(stride), tuple(padding))  # type: ignore[arg-type]
    return _TritonDepthwise.apply(x.to(_computed_type(x)), weight.contiguous(), geometry)

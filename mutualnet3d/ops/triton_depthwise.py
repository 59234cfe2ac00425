"""Depthwise 3D convolution of channels_last_3d features by Triton's kernels, forward and both gradients.

The kernels are in `triton_depthwise_kernels.py` and `triton_depthwise_weight.py`, the rules that cut their work into
programs in `triton_depthwise_plan.py`; here is when they are taken, and their place in autograd.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch

from mutualnet3d.ops import triton_depthwise_plan as plan
from mutualnet3d.ops.triton_depthwise_plan import Blocks, Geometry, LayerWork, layer_work
from mutualnet3d.ops.triton_launch import Kernel, Work

_forward, _input_gradient = (
    Kernel("mutualnet3d.ops.triton_depthwise_kernels", name) for name in ("forward", "input_gradient")
)
_weight_gradient = Kernel("mutualnet3d.ops.triton_depthwise_weight", "weight_gradient")
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
    if bias is not None or x.ndim != 5 or not _has_types(x, weight) or x.device != weight.device:
        return False
    settings = (tuple(stride), padding if isinstance(padding, str) else tuple(padding), tuple(dilation), groups)
    is_fit = _fit(x.shape, weight.shape, *settings, MOST_NUMBERS)
    return is_fit and x.is_contiguous(memory_format=torch.channels_last_3d)


@functools.lru_cache(maxsize=4096)
def _fit(
    shape: torch.Size,
    weight_shape: torch.Size,
    stride: tuple[int, ...],
    padding: tuple[int, ...] | str,
    dilation: tuple[int, ...],
    groups: int,
    most_numbers: int,
) -> bool:
    """Return whether shapes and settings are those of a layer that `fits` describes."""
    if isinstance(padding, str) or dilation != (1, 1, 1):
        return False
    kernel = weight_shape[2:]
    if not 1 < groups == shape[1] == weight_shape[0] or weight_shape[1] != 1 or kernel.numel() > MOST_TAPS:
        return False
    if any(p >= k for p, k in zip(padding, kernel, strict=True)) or shape.numel() == 0:
        return False
    out_sizes = Geometry(tuple(kernel), stride, padding).out_sizes(shape[2:])  # type: ignore[arg-type]
    return min(out_sizes) >= 1 and shape[1] * max(math.prod(shape[2:]), math.prod(out_sizes)) <= most_numbers


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
    blocks = blocks or plan.output_blocks(geometry, x.element_size())[0]
    out_shape = (*x.shape[:2], *geometry.out_sizes(x.shape[2:]))  # type: ignore[arg-type]
    return _run_output(x, weight, plan.output_work(x.shape, geometry, blocks, plan.NUM_PROGRAMS), out_shape)


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
    blocks = blocks or plan.input_gradient_blocks(geometry, x.element_size())[0]
    work = plan.input_gradient_work(x.shape, geometry, blocks, plan.NUM_PROGRAMS)
    return _run_input_gradient(grad, x, weight, work)


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
    blocks = blocks or plan.weight_gradient_blocks(geometry, x.element_size())[0]
    work = plan.weight_gradient_work(x.shape, geometry, blocks, plan.NUM_PROGRAMS)
    return _run_weight_gradient(grad, x, weight, work)


def _run_output(x: torch.Tensor, weight: torch.Tensor, work: Work, out_shape: tuple[int, ...]) -> torch.Tensor:
    y = torch.empty(out_shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last_3d)
    _forward(work, x, weight, y)
    return y


def _run_input_gradient(grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, work: Work) -> torch.Tensor:
    dx = torch.empty_like(x)
    _input_gradient(work, grad, weight, dx)
    return dx


def _run_weight_gradient(grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, work: Work) -> torch.Tensor:
    sum_type = torch.float64 if x.dtype == torch.float64 else torch.float32
    partial = x.new_empty((int(work.numbers[-1]), *weight.shape), dtype=sum_type)
    _weight_gradient(work, x, grad, partial)
    return partial.sum(0).to(weight.dtype)


# ---- autograd --------------------------------------------------------------------------------------------------------


class _TritonDepthwise(torch.autograd.Function):
    """Convolution in the type of `x`; the gradient of the weight is in the weight's type."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, layer: LayerWork) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.layer = layer
        return _run_output(x, weight, layer.output, layer.out_shape)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, _ = ctx.needs_input_grad
        layer = ctx.layer
        if torch.is_grad_enabled():
            return *_differentiable_gradients(grad, x, weight, layer.geometry, needs_x, needs_weight), None
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        dx = _run_input_gradient(grad, x, weight, layer.input_gradient) if needs_x else None
        return dx, _run_weight_gradient(grad, x, weight, layer.weight_gradient) if needs_weight else None, None


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
    x = x.to(_computed_type(x))
    layer = layer_work(
        x.shape,
        weight.shape[2:],
        tuple(stride),
        tuple(padding),
        x.element_size(),
        plan.NUM_PROGRAMS,
    )
    return _TritonDepthwise.apply(x, weight.contiguous(), layer)

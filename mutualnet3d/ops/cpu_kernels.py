"""Depthwise 3D convolution whose gradient is fast on CPUs.

oneDNN has no fast backward of depthwise 3D convolutions: it takes 8 to 40 times its own forward, and took nearly half
of a training step of the demo's X3D. But the gradient of the input is itself a depthwise convolution, with the kernel
turned round, which the fast forward computes; and a kernel over time alone is a 2D convolution over (T, H * W), whose
backward is fast.
`benchmarks/depthwise_backward.py` measures both. The forward is torch's own, bit for bit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

Triple = tuple[int, int, int]


def is_accelerated(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, padding: object) -> bool:
    """Whether `depthwise_conv3d` may stand for torch's: float32 training on a CPU, one channel a group, no bias."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and weight.shape[0] == x.shape[1]
        and bias is None
        and not isinstance(padding, str)
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


def depthwise_conv3d(x: torch.Tensor, weight: torch.Tensor, stride: Triple, padding: Triple) -> torch.Tensor:
    """`conv3d(x, weight, None, stride, padding, groups=C)` for x (B, C, T, H, W) and weight (C, 1, kT, kH, kW).

    Its gradients equal torch's but for rounding; it has no second derivative.
    """
    return _DepthwiseConv3d.apply(x, weight, stride, padding)


class _DepthwiseConv3d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, stride, padding):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv3d(x, weight, None, stride, padding, 1, x.shape[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        grad_x = _input_gradient(grad, x, weight, ctx.stride, ctx.padding) if ctx.needs_input_grad[0] else None
        grad_weight = _weight_gradient(grad, x, weight, ctx.stride, ctx.padding) if ctx.needs_input_grad[1] else None
        return grad_x, grad_weight, None, None


def _input_gradient(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: Triple, padding: Triple
) -> torch.Tensor:
    kernel = weight.shape[2:]
    if max(stride) > 1:
        # What a convolution of stride 1 would have put out, zero where this one's stride skipped.
        shape = [n + 2 * p - k + 1 for n, p, k in zip(x.shape[2:], padding, kernel, strict=True)]
        spread = torch.empty([*x.shape[:2], *shape], dtype=grad.dtype, memory_format=_memory_format(x)).zero_()
        spread[:, :, :: stride[0], :: stride[1], :: stride[2]] = grad
        grad = spread
    back = [k - 1 - p for k, p in zip(kernel, padding, strict=True)]
    return F.conv3d(grad, weight.flip(2, 3, 4), None, 1, back, 1, x.shape[1])


def _weight_gradient(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: Triple, padding: Triple
) -> torch.Tensor:
    over_time_alone = tuple(weight.shape[3:]) == (1, 1) and stride[1:] == (1, 1) and padding[1:] == (0, 0)
    if over_time_alone and _memory_format(x) == torch.channels_last_3d:
        flat_grad, flat_x = _flatten_space(grad.contiguous(memory_format=torch.channels_last_3d)), _flatten_space(x)
        settings = ([stride[0], 1], [padding[0], 0], [1, 1], False, [0, 0], x.shape[1], [False, True, False])
        gradient = torch.ops.aten.convolution_backward(flat_grad, flat_x, weight[..., 0], None, *settings)[1]
        return gradient[..., None]
    settings = (list(stride), list(padding), [1, 1, 1], False, [0, 0, 0], x.shape[1], [False, True, False])
    return torch.ops.aten.convolution_backward(grad, x, weight, None, *settings)[1]


def _flatten_space(x: torch.Tensor) -> torch.Tensor:
    """(B, C, T, H, W) as pictures (B, C, T, H * W); a view in `channels_last_3d`."""
    return x.permute(0, 2, 3, 4, 1).flatten(2, 3).permute(0, 3, 1, 2)


def _memory_format(x: torch.Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last_3d)
    return torch.channels_last_3d if last else torch.contiguous_format

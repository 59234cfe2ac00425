"""3D convolution by the kernels that are fast on CPUs, for training and for inference.

Training: oneDNN has no fast backward of depthwise 3D convolutions: it takes 8 to 40 times its own forward. But the
gradient of the input is itself a depthwise convolution, with the kernel turned round, which the fast forward computes;
and the gradient of the weight is a sum of 2D convolutions' gradients, which are fast: one for each of the kernel's
frames, or for a kernel over time alone one over (T, H * W). The forward has torch's own bits
(benchmarks/depthwise_backward.py).

Inference: for single small clips torch takes a kernel of its own that copies the features and leaves channels_last_3d.
oneDNN's took half its time on Slow's layers, and a matrix product reads a sliced pointwise kernel where it lies
(benchmarks/switched_inference.py).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

Triple = tuple[int, int, int]


def conv3d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...] | str,
    dilation: tuple[int, ...],
    groups: int,
    training: bool,
) -> torch.Tensor:
    """Return `torch.nn.functional.conv3d` of the same arguments on the CPU.

    Inputs in another format than channels_last_3d, and inputs of half precision, run by torch's own function. In
    evaluation without gradients the result may differ from torch's by rounding; otherwise it is the same to the bit.

    Args:
        x: features, (B, C_in, T, H, W).
        weight: kernels, (C_out, C_in / groups, kT, kH, kW).
        bias: one number per output channel, or None.
        stride: steps in (T, H, W).
        padding: zeros at each border in (T, H, W), or "same" or "valid".
        dilation: distances of the kernel's taps in (T, H, W).
        groups: number of separate groups of channels.
        training: True for a layer in training mode.
    """
    if torch.is_grad_enabled():
        if groups > 1 and dilation == (1, 1, 1) and is_depthwise_training(x, weight, bias, padding):
            return depthwise_conv3d(x, weight, stride, padding)  # type: ignore[arg-type]
    elif not training and x.stride(1) == 1:
        return _infer(x, weight, bias, stride, padding, dilation, groups)
    return F.conv3d(x, weight, bias, stride, padding, dilation, groups)


# ---- inference -------------------------------------------------------------------------------------------------------


def _infer(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...] | str,
    dilation: tuple[int, ...],
    groups: int,
) -> torch.Tensor:
    """Return the convolution of `x` in channels_last_3d, in the same format."""
    if groups == 1 and padding == (0, 0, 0) and weight.shape[2:] == (1, 1, 1):
        frames, rows, columns = stride
        pixels = x[:, :, ::frames, ::rows, ::columns].permute(0, 2, 3, 4, 1)
        return F.linear(pixels, weight[:, :, 0, 0, 0], bias).permute(0, 4, 1, 2, 3)
    is_float32 = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if is_float32 and torch.backends.mkldnn.enabled and not isinstance(padding, str):
        return torch.ops.aten.mkldnn_convolution(x, weight, bias, padding, stride, dilation, groups)
    y = F.conv3d(x, weight, bias, stride, padding, dilation, groups)
    return y.contiguous(memory_format=torch.channels_last_3d)


# ---- training of depthwise convolutions ------------------------------------------------------------------------------


def is_depthwise_training(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, padding: tuple[int, ...] | str
) -> bool:
    """Return whether `depthwise_conv3d` may stand for torch's: float32, one channel a group, no bias, no autocast."""
    return (
        x.dtype == weight.dtype == torch.float32
        and weight.shape[0] == x.shape[1]
        and bias is None
        and not isinstance(padding, str)
        and not torch.is_autocast_enabled("cpu")
    )


def depthwise_conv3d(x: torch.Tensor, weight: torch.Tensor, stride: Triple, padding: Triple) -> torch.Tensor:
    """Return `conv3d(x, weight, None, stride, padding, groups=C)` for x (B, C, T, H, W) and weight (C, 1, kT, kH, kW).

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
        # The output of a convolution of stride 1, zero where this one's stride skipped.
        shape = [n + 2 * p - k + 1 for n, p, k in zip(x.shape[2:], padding, kernel, strict=True)]
        spread = torch.empty([*x.shape[:2], *shape], dtype=grad.dtype, memory_format=memory_format_of(x)).zero_()
        spread[:, :, :: stride[0], :: stride[1], :: stride[2]] = grad
        grad = spread
    back = [k - 1 - p for k, p in zip(kernel, padding, strict=True)]
    return F.conv3d(grad, weight.flip(2, 3, 4), None, 1, back, 1, x.shape[1])


def _weight_gradient(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: Triple, padding: Triple
) -> torch.Tensor:
    if memory_format_of(x) != torch.channels_last_3d:
        settings = (list(stride), list(padding), [1, 1, 1], False, [0, 0, 0], x.shape[1], [False, True, False])
        return torch.ops.aten.convolution_backward(grad, x, weight, None, *settings)[1]
    grad = grad.contiguous(memory_format=torch.channels_last_3d)
    if tuple(weight.shape[3:]) == (1, 1) and stride[1:] == (1, 1) and padding[1:] == (0, 0):
        flat_grad, flat_x = _flatten_space(grad), _flatten_space(x)
        return _weight_gradient_2d(flat_grad, flat_x, weight[..., 0], (stride[0], 1), (padding[0], 0))[..., None]
    gradient = torch.zeros_like(weight, memory_format=torch.contiguous_format)
    last_input, last_output = x.shape[2] - 1, grad.shape[2] - 1
    for frame in range(weight.shape[2]):
        # Output t reads input t * stride + offset through this frame of the kernel, where there is one.
        offset = frame - padding[0]
        first, last = max(0, -(offset // stride[0])), min(last_output, (last_input - offset) // stride[0])
        if first <= last:
            inputs = slice(first * stride[0] + offset, last * stride[0] + offset + 1, stride[0])
            frames_x, frames_grad = _as_pictures(x[:, :, inputs]), _as_pictures(grad[:, :, first : last + 1])
            gradient[:, :, frame] = _weight_gradient_2d(
                frames_grad, frames_x, weight[:, :, frame], stride[1:], padding[1:]
            )
    return gradient


def _weight_gradient_2d(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> torch.Tensor:
    settings = (list(stride), list(padding), [1, 1], False, [0, 0], x.shape[1], [False, True, False])
    gradient: torch.Tensor = torch.ops.aten.convolution_backward(grad, x, weight, None, *settings)[1]
    return gradient


def _as_pictures(x: torch.Tensor) -> torch.Tensor:
    """Return (B, C, T, H, W) in `channels_last_3d` as pictures (B * T, C, H, W) in `channels_last`."""
    return x.permute(0, 2, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2)


def _flatten_space(x: torch.Tensor) -> torch.Tensor:
    """Return (B, C, T, H, W) as pictures (B, C, T, H * W); a view in `channels_last_3d`."""
    return x.permute(0, 2, 3, 4, 1).flatten(2, 3).permute(0, 3, 1, 2)


def memory_format_of(x: torch.Tensor) -> torch.memory_format:
    """Return channels_last_3d for a dense tensor in that format, else the contiguous format."""
    last = x.is_contiguous(memory_format=torch.channels_last_3d)
    return torch.channels_last_3d if last else torch.contiguous_format

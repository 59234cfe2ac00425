"""3D convolution by the fastest kernel for the device, the memory format and the mode."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mutualnet3d.ops import cpu_kernels, triton_depthwise, triton_switch


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
    """Return `torch.nn.functional.conv3d` of the same arguments, in the memory format of `x`.

    Under a compiler or an exporter it is torch's own. Results differ from it by rounding at most, and only in
    evaluation without gradients and on GPUs.

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
    if torch.compiler.is_compiling():
        return F.conv3d(x, weight, bias, stride, padding, dilation, groups)
    if triton_switch.takes(x) and triton_depthwise.fits(x, weight, bias, stride, padding, dilation, groups):
        return triton_depthwise.depthwise_conv3d(x, weight, stride, padding)  # type: ignore[arg-type]
    if x.device.type == "cpu":
        return cpu_kernels.conv3d(x, weight, bias, stride, padding, dilation, groups, training)
    if x.is_cuda and weight.shape[1] == 1 < groups and x.stride(1) == 1 < x.shape[1]:
        return depthwise_by_contiguous(x, weight, bias, stride, padding, dilation, groups)
    return F.conv3d(x, weight, bias, stride, padding, dilation, groups)


def depthwise_by_contiguous(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...] | str,
    dilation: tuple[int, ...],
    groups: int,
) -> torch.Tensor:
    """Return a depthwise convolution of `x` in channels_last_3d, in that format, computed in the contiguous one.

    On GPUs torch sends depthwise convolutions in channels_last_3d to cuDNN, contiguous ones to a kernel of its own. On
    an H200 the latter is 1.1 to 12 times as fast forward and backward, and 1.03 to 10 times with the two copies
    included (X3D-M's layers; docs/GPU.md).
    """
    # The weight's strides count as well: where they are those of channels_last_3d, torch takes that format's kernels.
    weight = weight.clone(memory_format=torch.contiguous_format)
    y = F.conv3d(x.contiguous(), weight, bias, stride, padding, dilation, groups)
    return y.contiguous(memory_format=torch.channels_last_3d)

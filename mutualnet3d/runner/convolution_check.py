"""Check at the start of a training that 3D convolutions are right in its precision, on its device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import torch

from mutualnet3d.log import logger
from mutualnet3d.ops.kernels import conv3d
from mutualnet3d.results.latency import device_name

# Type of autocast -> largest error of a convolution by norm, several times that of rounding; None: TensorFloat-32.
_LIMITS = {torch.bfloat16: 0.03, torch.float16: 0.01, None: 0.005}
_FORMATS = {"channels last": torch.channels_last_3d, "contiguous": torch.contiguous_format}
# Name -> channels in, channels out, groups.
_LAYERS = {"dense": (16, 32, 1), "depthwise": (32, 32, 32)}


def warn_of_wrong_convolutions(device: torch.device, autocast: torch.dtype | None) -> float:
    """Warn if a 3D convolution of the device is wrong; return the largest error by norm.

    Builds of cuDNN were wrong in bfloat16 (pytorch issue 163539). Output and gradients of a dense and a depthwise
    convolution, in both memory formats, are compared with float64 on the CPU.

    Args:
        device: device of the training.
        autocast: type of the training's convolutions; None for float32.
    """
    errors = dict(_errors(device, autocast))
    name, error = max(errors.items(), key=lambda item: item[1])
    limit = _LIMITS[autocast]
    if not error <= limit:
        precision = str(autocast or torch.float32).removeprefix("torch.")
        logger.warning(
            "3D convolutions in %s are wrong here: %s has a relative error of %.2g, at most %g is rounding (torch %s%s "
            "on %s); train in another precision (TRAIN.MIXED_PRECISION_TYPE), or with another build of torch",
            precision,
            name,
            error,
            limit,
            torch.__version__,
            f", cuDNN {torch.backends.cudnn.version()}" if device.type == "cuda" else "",
            device_name(device),
        )
    return error


def _errors(device: torch.device, autocast: torch.dtype | None) -> Iterator[tuple[str, float]]:
    """Yield names and errors of outputs and gradients; not a number is an infinite error."""
    for kind, (channels_in, channels_out, groups) in _LAYERS.items():
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, channels_in, 4, 14, 14, generator=generator)
        weight = torch.randn(channels_out, channels_in // groups, 3, 3, 3, generator=generator)
        weight /= weight[0].numel() ** 0.5
        expected = _results(x.double(), weight.double(), groups, None)
        for format_name, memory_format in _FORMATS.items():
            x_there, weight_there = (tensor.to(device, memory_format=memory_format) for tensor in (x, weight))
            for part, exact, result in zip(
                ("output", "gradient of the input", "gradient of the weight"),
                expected,
                _results(x_there, weight_there, groups, autocast),
                strict=True,
            ):
                error = float((result.double().cpu() - exact).norm() / exact.norm())
                yield f"{part}, {kind}, {format_name}", error if error == error else float("inf")


def _results(
    x: torch.Tensor, weight: torch.Tensor, groups: int, autocast: torch.dtype | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the output of a convolution, and the gradients of input and weight of the sum of its squares' halves."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    with nullcontext() if autocast is None else torch.autocast(x.device.type, dtype=autocast):
        y = conv3d(x, weight, None, (1, 1, 1), (1, 1, 1), (1, 1, 1), groups, training=True)
    (0.5 * y.double().square().sum()).backward()
    assert x.grad is not None
    assert weight.grad is not None
    return y.detach(), x.grad, weight.grad

"""Single convolutions: their errors, dense ones in every precision, depthwise ones in both formats.

"Channels last" is torch's channels_last_3d.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from report import Measurement, Row, Setting, Sheet
from step import (
    SEED,
    arithmetic,
)

from gpu_parts.common import (
    FORMATS,
    cudnn_search,
    device_milliseconds,
    name_of,
    number,
    precisions,
    ratio,
)

# Largest relative error that the precision explains, of outputs and gradients that are sums of up to 25,000 products.
ALLOWED = {"fp32": 1e-4, "tf32": 2e-3, "bf16": 1e-2, "fp16": 2e-3}
DETOUR = "by way of contiguous"
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Layer:
    """A convolution: channels in and out, kernel, stride, and its input's T, H and W."""

    name: str
    channels_in: int
    channels_out: int
    kernel: tuple[int, int, int]
    stride: tuple[int, int, int]
    clip: tuple[int, int, int]
    is_depthwise: bool = False

    @property
    def settings(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]:
        """Stride, padding, dilation and groups."""
        padding = tuple(length // 2 for length in self.kernel)
        return self.stride, padding, (1, 1, 1), self.channels_in if self.is_depthwise else 1

    def tensors(
        self,
        num_clips: int,
        dtype: torch.dtype,
        device: str,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Random input and weight, leaves that have gradients."""
        x = torch.randn(num_clips, self.channels_in, *self.clip, device=device)
        columns = 1 if self.is_depthwise else self.channels_in
        weight = torch.randn(self.channels_out, columns, *self.kernel, device=device)
        weight /= weight[0].numel() ** 0.5
        leaves = [tensor.to(dtype).contiguous(memory_format=memory_format).requires_grad_() for tensor in (x, weight)]
        return leaves[0], leaves[1]

    def __str__(self) -> str:
        shape = " x ".join(map(str, (self.channels_in, *self.clip)))
        kernel, stride = (" x ".join(map(str, numbers)) for numbers in (self.kernel, self.stride))
        channels = "" if self.channels_in == self.channels_out else f" to {self.channels_out} channels"
        return f"{shape}{channels}, kernel {kernel}, stride {stride}"


def correctness(setting: Setting) -> dict[str, Measurement]:
    clip, channels = ((4, 10, 10), 16) if setting.is_tiny else ((8, 16, 16), 64)
    layers = [
        Layer("dense", channels, channels, (3, 3, 3), (1, 1, 1), clip),
        Layer("pointwise", channels, 2 * channels, (1, 1, 1), (1, 1, 1), clip),
        Layer("depthwise", channels, channels, (3, 3, 3), (1, 1, 1), clip, is_depthwise=True),
        Layer("depthwise, stride 2", channels, channels, (3, 3, 3), (1, 2, 2), clip, is_depthwise=True),
    ]
    measurements: dict[str, Measurement] = {}
    for precision in precisions(setting, "bf16", "fp16", "tf32", "fp32"):
        for layer in layers:
            measurements[f"{precision}: {layer.name}"] = functools.partial(_check_layer, setting, layer, precision)
    measurements["time of dense convolutions"] = functools.partial(_dense_speed, setting)
    return measurements


def _check_layer(setting: Setting, layer: Layer, precision: str, sheet: Sheet) -> None:
    torch.manual_seed(SEED)
    wrong = []
    x, weight = layer.tensors(2, DTYPES[precision], "cpu")
    exact = _gradients(layer, x.detach().double(), weight.detach().double())
    title = f"Relative error of conv3d against float64 on the CPU, 2 clips, on {name_of(setting)}"
    for name, memory_format in FORMATS.items():
        with arithmetic(precision):
            results = _gradients(
                layer,
                x.detach().to(setting.device).contiguous(memory_format=memory_format),
                weight.detach().to(setting.device).contiguous(memory_format=memory_format),
            )
        errors = [_relative_error(result, right) for result, right in zip(results, exact, strict=True)]
        is_right = all(error < ALLOWED[precision] for error in errors)
        wrong += [] if is_right else [name]
        sheet.row(
            title,
            {
                "precision": precision,
                "layer": f"{layer.name}: {layer}",
                "format": name,
                "output": errors[0],
                "input's gradient": errors[1],
                "weight's gradient": errors[2],
                "allowed": ALLOWED[precision],
                "verdict": "right" if is_right else "WRONG",
            },
        )
    sheet.note(
        "Errors are ‖result - reference‖ / ‖reference‖; inputs are rounded to the precision before the reference is "
        "computed. cuDNN 9.8 to 9.10 computed bfloat16 conv3d wrongly, and torch 2.9 without cuDNN 9.15 very slowly "
        "(pytorch issues 163539, 166643, 174051)."
    )
    if wrong:
        raise ArithmeticError(f"wrong in {precision}, {' and '.join(wrong)}: {layer}")


def _gradients(layer: Layer, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Output, and gradients of input and weight."""
    x, weight = x.requires_grad_(), weight.requires_grad_()
    y = F.conv3d(x, weight, None, *layer.settings)
    # Small whole numbers, which every precision has; in the output's format.
    grad = torch.empty_like(y).copy_(torch.arange(y.numel()).remainder(7).sub(3).view(y.shape))
    return y.detach(), *torch.autograd.grad(y, (x, weight), grad)


def _relative_error(result: torch.Tensor, exact: torch.Tensor) -> float:
    return ((result.double().cpu() - exact).norm() / exact.norm()).item()


def _dense_speed(setting: Setting, sheet: Sheet) -> None:
    """Times of dense layers: bfloat16 that is slower than float32 shows a build without cuDNN's kernels."""
    num_clips, seconds = (2, 0.05) if setting.is_tiny else (16, 0.2)
    layers = [
        Layer("spatial", 256, 256, (1, 3, 3), (1, 1, 1), (8, 14, 14)),
        Layer("temporal", 1024, 256, (3, 1, 1), (1, 1, 1), (8, 14, 14)),
    ]
    device = torch.device(setting.device)
    title = (
        f"Forward and backward of dense layers of Slow, {num_clips} clips, cudnn.benchmark off, on {name_of(setting)}"
    )
    for layer in layers[:1] if setting.is_tiny else layers:
        for precision in precisions(setting, "fp32", "tf32", "bf16", "fp16"):
            row: Row = {"layer": f"{layer.name}: {layer}", "precision": precision}
            for name, memory_format in FORMATS.items():
                x, weight = layer.tensors(num_clips, DTYPES[precision], setting.device, memory_format)
                with arithmetic(precision):
                    run = functools.partial(_pass_through, layer, x, weight)
                    row[f"{name}, ms"] = device_milliseconds(device, run, seconds)
            row["contiguous / channels last"] = ratio(row["contiguous, ms"], row["channels last, ms"])
            sheet.row(title, row)


def _pass_through(layer: Layer, x: torch.Tensor, weight: torch.Tensor) -> None:
    y = F.conv3d(x, weight, None, *layer.settings)
    torch.autograd.grad(y, (x, weight), y.detach())


def depthwise(setting: Setting) -> dict[str, Measurement]:
    layers = [
        Layer("stage 2", 54, 54, (3, 3, 3), (1, 1, 1), (16, 56, 56), is_depthwise=True),
        Layer("stage 3", 108, 108, (3, 3, 3), (1, 1, 1), (16, 28, 28), is_depthwise=True),
        Layer("stage 4", 216, 216, (3, 3, 3), (1, 1, 1), (16, 14, 14), is_depthwise=True),
        Layer("stage 5", 432, 432, (3, 3, 3), (1, 1, 1), (16, 7, 7), is_depthwise=True),
        Layer("stage 2, first", 54, 54, (3, 3, 3), (1, 2, 2), (16, 112, 112), is_depthwise=True),
        Layer("stem, time", 24, 24, (5, 1, 1), (1, 1, 1), (16, 112, 112), is_depthwise=True),
        Layer("stage 3, width 0.63", 72, 72, (3, 3, 3), (1, 1, 1), (10, 20, 20), is_depthwise=True),
    ]
    if setting.is_tiny:
        layers = [Layer("small", 24, 24, (3, 3, 3), (1, 1, 1), (4, 8, 8), is_depthwise=True)]
    return {
        f"{layer.name}, {precision}, cudnn.benchmark {'on' if searches else 'off'}": functools.partial(
            _time_depthwise, setting, layer, precision, searches
        )
        for searches in (False, True)
        for layer in layers
        for precision in precisions(setting, "bf16", "fp32")
    }


def _time_depthwise(setting: Setting, layer: Layer, precision: str, searches: bool, sheet: Sheet) -> None:
    torch.manual_seed(SEED)
    num_clips, seconds = (2, 0.02) if setting.is_tiny else (32, 0.05)
    device = torch.device(setting.device)
    row: Row = {
        "layer": f"{layer.name}: {layer}",
        "precision": precision,
        "cudnn.benchmark": "on" if searches else "off",
    }
    ways = {
        "contiguous": FORMATS["contiguous"],
        "channels last": FORMATS["channels last"],
        DETOUR: FORMATS["channels last"],
    }
    with arithmetic(precision), cudnn_search(searches):
        for way, memory_format in ways.items():
            x, weight = layer.tensors(num_clips, DTYPES[precision], setting.device, memory_format)
            forward = functools.partial(_depthwise_output, layer, x, weight, way == DETOUR)
            grad = torch.randn_like(forward())
            with torch.no_grad():
                row[f"{way}, forward, ms"] = device_milliseconds(device, forward, seconds)
            both = functools.partial(_depthwise_gradients, layer, x, weight, way == DETOUR, grad)
            row[f"{way}, forward + backward, ms"] = device_milliseconds(device, both, seconds)
            moved = (x.numel() + grad.numel()) * x.element_size()
    row["contiguous, forward, GB/s"] = 1e-6 * moved / number(row["contiguous, forward, ms"])
    row["channels last / contiguous, forward + backward"] = ratio(
        row["channels last, forward + backward, ms"], row["contiguous, forward + backward, ms"]
    )
    sheet.row(f"Depthwise conv3d as in X3D-M, {num_clips} clips, on {name_of(setting)}", row)
    sheet.note(
        f"Layers are C x T x H x W of the input. Times are the device's, without waits for the host. '{DETOUR}': "
        "channels last in and out, with a copy to contiguous before the convolution and one back. GB/s: input and "
        "output once; tensors of the small layers fit into a GPU's cache, so that theirs may pass the memory's."
    )


def _depthwise_output(layer: Layer, x: torch.Tensor, weight: torch.Tensor, takes_detour: bool) -> torch.Tensor:
    if not takes_detour:
        return F.conv3d(x, weight, None, *layer.settings)
    # The weight's strides count as well: where they are those of channels last, torch takes that format's kernels.
    weight = weight.clone(memory_format=torch.contiguous_format)
    y = F.conv3d(x.contiguous(), weight, None, *layer.settings)
    return y.contiguous(memory_format=torch.channels_last_3d)


def _depthwise_gradients(
    layer: Layer, x: torch.Tensor, weight: torch.Tensor, takes_detour: bool, grad: torch.Tensor
) -> None:
    torch.autograd.grad(_depthwise_output(layer, x, weight, takes_detour), (x, weight), grad)

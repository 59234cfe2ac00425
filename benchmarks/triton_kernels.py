#!/usr/bin/env python3
"""Batch norm with what follows it, by ops/triton_norm.py and by torch: layers of X3D-M, and tiles of the kernels.

    python benchmarks/triton_kernels.py
    python benchmarks/triton_kernels.py --parts sweep --layers "stage 2" "stage 5"

It needs an NVIDIA GPU. With --tiny and TRITON_INTERPRET=1 in the environment it goes through small shapes on a CPU, in
Triton's interpreter: its times mean nothing. Tables are Markdown, every row printed when it was measured. Whole
training steps are part 11 of gpu_report.py.
"""

from __future__ import annotations

import argparse
import functools
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from gpu_parts.common import clips_of, device_milliseconds, name_of
from report import Row, Setting

from mutualnet3d.ops import triton_norm, triton_norm_launch, triton_switch
from mutualnet3d.ops.triton_launch import Kernel, Work
from mutualnet3d.ops.triton_norm_launch import Tile, Tiles

SEED, SECONDS = 0, 0.05
PARTS = ("layers", "kernels", "sweep")
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
# Takes a row of the table of that title.
Emit = Callable[[str, Row], None]
KERNELS = ("partial_statistics", "pooled_statistics", "group_means", "normalize", "partial_gradients", "input_gradient")


@dataclass(frozen=True)
class Layer:
    """A norm of X3D-M and what follows it: an activation, a shortcut that is added before, or a gate."""

    name: str
    channels: int
    clip: tuple[int, int, int]
    activation: str = "none"
    extra: str = ""

    @property
    def tensors_moved(self) -> int:
        """Features that the kernels read and write, forward and backward."""
        return 11 if self.extra == "shortcut" else 8

    def __str__(self) -> str:
        follows = " + ".join(word for word in (self.extra, self.activation) if word != "none" and word)
        return f"{self.name}: {' x '.join(map(str, (self.channels, *self.clip)))}{', ' + follows if follows else ''}"


LAYERS = [
    Layer("stem", 24, (16, 112, 112), "relu"),
    Layer("stage 2, first a", 54, (16, 112, 112), "relu"),
    Layer("stage 2, a", 54, (16, 56, 56), "relu"),
    Layer("stage 2, b", 54, (16, 56, 56), "swish"),
    Layer("stage 2, b with a gate", 54, (16, 56, 56), "swish", "gate"),
    Layer("stage 2, c", 24, (16, 56, 56), "relu", "shortcut"),
    Layer("stage 2, shortcut", 24, (16, 56, 56)),
    Layer("stage 3, first a", 108, (16, 56, 56), "relu"),
    Layer("stage 3, b with a gate", 108, (16, 28, 28), "swish", "gate"),
    Layer("stage 3, c", 48, (16, 28, 28), "relu", "shortcut"),
    Layer("stage 4, a", 216, (16, 14, 14), "relu"),
    Layer("stage 4, c", 96, (16, 14, 14), "relu", "shortcut"),
    Layer("stage 5, b with a gate", 432, (16, 7, 7), "swish", "gate"),
    Layer("stage 5, c", 192, (16, 7, 7), "relu", "shortcut"),
    Layer("width 0.63, stage 2, a", 32, (10, 40, 40), "relu"),
    Layer("width 0.63, stage 3, b with a gate", 72, (10, 20, 20), "swish", "gate"),
    Layer("width 0.63, stage 5, a", 272, (10, 5, 5), "relu"),
]
TINY = [
    Layer("a", 6, (2, 3, 3), "relu"),
    Layer("b", 8, (2, 3, 3), "swish", "gate"),
    Layer("c", 8, (2, 2, 2), "relu", "shortcut"),
]


class Case:
    """Tensors of a layer, and the layer by torch and by the kernels."""

    def __init__(self, layer: Layer, num_clips: int, dtype: torch.dtype, device: torch.device):
        torch.manual_seed(SEED)
        self.layer = layer
        self.x, self.shortcut = (self._features(num_clips, dtype, device) for _ in range(2))
        self.grad = self._features(num_clips, dtype, device).detach()
        self.weight, self.bias = (torch.rand(layer.channels, device=device).requires_grad_() for _ in range(2))

    def _features(self, num_clips: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        x = torch.randn(num_clips, *self.layer.clip, self.layer.channels, device=device, dtype=dtype)
        return x.permute(0, 4, 1, 2, 3).requires_grad_()

    @property
    def inputs(self) -> list[torch.Tensor]:
        return [self.x, self.weight, self.bias, *([self.shortcut] if self.layer.extra == "shortcut" else [])]

    def by_torch(self) -> torch.Tensor:
        y = F.batch_norm(self.x, None, None, self.weight, self.bias, True, 0.0, 1e-5)
        if self.layer.extra == "gate":
            y = y * torch.sigmoid(y.mean((2, 3, 4), keepdim=True))
        if self.layer.extra == "shortcut":
            y = y + self.shortcut
        return {"none": lambda z: z, "relu": F.relu, "swish": F.silu}[self.layer.activation](y)

    def by_kernels(self) -> torch.Tensor:
        arguments = (self.x, self.weight, self.bias, 1e-5)
        if self.layer.extra == "gate":
            return triton_norm.normalize_gate_activate(*arguments, torch.sigmoid, self.layer.activation)
        shortcut = self.shortcut if self.layer.extra == "shortcut" else None
        return triton_norm.normalize_activate(*arguments, self.layer.activation, shortcut)

    def gradients(self, forward: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(forward(), self.inputs, self.grad)

    @property
    def gigabyte(self) -> float:
        """Size of the features, GB."""
        return 1e-9 * self.x.numel() * self.x.element_size()


class Printer:
    """Markdown tables, printed row by row as they come."""

    def __init__(self) -> None:
        self._title = ""

    def __call__(self, title: str, row: Row) -> None:
        if title != self._title:
            self._title = title
            print(f"\n{title}\n\n| {' | '.join(row)} |\n|{' --- |' * len(row)}")
        texts = (f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row.values())
        print(f"| {' | '.join(texts)} |", flush=True)


def relative_error(value: torch.Tensor, right: torch.Tensor) -> float:
    return ((value.float() - right.float()).norm() / right.float().norm()).item()


def measure_layer(layer: Layer, precision: str, setting: Setting, emit: Emit) -> None:
    device, num_clips = torch.device(setting.device), clips_of(setting, "x3d_m")
    case = Case(layer, num_clips, DTYPES[precision], device)
    difference = relative_error(case.by_kernels(), case.by_torch())
    gradients = (case.gradients(way)[0] for way in (case.by_kernels, case.by_torch))
    gradient_difference = relative_error(*gradients)
    times = []
    for way in (case.by_torch, case.by_kernels):
        with torch.no_grad():
            times.append(device_milliseconds(device, way, SECONDS))
        times.append(device_milliseconds(device, functools.partial(case.gradients, way), SECONDS))
    moved = 1e3 * layer.tensors_moved * case.gigabyte
    emit(
        f"Norms of X3D-M, {num_clips} clips, GB/s of what the kernels read and write, on {name_of(setting)}",
        {
            "layer": str(layer),
            "precision": precision,
            "torch, forward, ms": times[0],
            "kernels, forward, ms": times[2],
            "torch, forward + backward, ms": times[1],
            "kernels, forward + backward, ms": times[3],
            "times as fast": times[1] / times[3],
            "torch, GB/s": moved / times[1],
            "kernels, GB/s": moved / times[3],
            "difference of outputs": difference,
            "of inputs' gradients": gradient_difference,
        },
    )


def sweep_tiles(setting: Setting, layer: Layer, precision: str, emit: Emit) -> None:
    """Time the four large kernels of a layer with every tile."""
    device, num_clips = torch.device(setting.device), clips_of(setting, "x3d_m")
    title = f"Kernels by tile (values, warps), {precision}, {num_clips} clips: ms, and GB/s, on {name_of(setting)}"
    names = ("statistics", "normalize", "sums of gradients", "input's gradient")
    case = Case(layer, num_clips, DTYPES[precision], device)
    best: dict[str, tuple[float, Tile]] = {}
    for tile in triton_norm_launch.candidates():
        row: Row = {"layer": str(layer), "tile": str(tuple(tile))}
        with triton_norm_launch.using(Tiles(tile, tile)), torch.no_grad():
            for name, (moved, run) in zip(names, kernel_calls(case), strict=True):
                time_ms = device_milliseconds(device, run, SECONDS)
                row[name] = f"{time_ms:.4g} ({1e3 * moved * case.gigabyte / time_ms:.0f} GB/s)"
                best[name] = min(best.get(name, (time_ms, tile)), (time_ms, tile))
        emit(title, row)
    fastest = {name: f"{tuple(tile)}: {time_ms:.4g}" for name, (time_ms, tile) in best.items()}
    emit(title, {"layer": str(layer), "tile": "best", **fastest})


def kernel_calls(case: Case) -> list[tuple[int, Callable[[], object]]]:
    """The four large kernels of a layer, each with the number of features that it moves."""
    by_sample = case.layer.extra == "gate"
    layout = triton_norm_launch.layout_of(case.x, by_sample)
    x, activation = case.x.detach(), triton_norm.ACTIVATIONS[case.layer.activation]
    _, statistics = triton_norm_launch.statistics(x, layout, 1e-5, None)
    parameters = (statistics, case.weight.detach(), case.bias.detach())
    gate = torch.rand(x.shape[:2], device=x.device) if by_sample else None
    shortcut = case.shortcut.detach() if case.layer.extra == "shortcut" else None
    grad_shortcut = None if shortcut is None else torch.empty_like(x)
    sums = torch.zeros_like(statistics)
    extra = int(shortcut is not None)
    return [
        (1, functools.partial(triton_norm_launch.statistics, x, layout, 1e-5, None)),
        (
            2 + extra,
            functools.partial(triton_norm_launch.normalized, x, layout, parameters, activation, shortcut, gate),
        ),
        (
            2 + 2 * extra,
            functools.partial(
                triton_norm_launch.partial_gradients,
                *(case.grad, x, layout, parameters, activation, shortcut, grad_shortcut, gate),
            ),
        ),
        (
            3,
            functools.partial(
                triton_norm_launch.input_gradient, case.grad, x, layout, parameters, activation, sums, gate, gate
            ),
        ),
    ]


def count_kernels(setting: Setting, emit: Emit) -> None:
    """Count the kernels that random shapes compile."""
    device, rng = torch.device(setting.device), random.Random(SEED)
    before, started, num_shapes = compiled(), time.perf_counter(), 2 if setting.is_tiny else 20
    for _ in range(num_shapes):
        channels = 8 * rng.randint(1, 2 if setting.is_tiny else 54)
        clip = (rng.randint(1, 4), rng.randint(2, 5), rng.randint(2, 5))
        case = Case(Layer("random", channels, clip, "relu"), rng.randint(1, 3), torch.float32, device)
        case.gradients(case.by_kernels)
    row: Row = {
        "kernels compiled before": before,
        f"after {num_shapes} random shapes": compiled(),
        "seconds for these": time.perf_counter() - started,
    }
    emit(f"Kernels of the norms that are compiled, on {name_of(setting)}", row)


def time_host(setting: Setting, emit: Emit) -> None:
    """Time the host on small layers, forward and backward, and on a launch alone, by Triton and directly."""
    device, repeats = torch.device(setting.device), 1 if setting.is_tiny else 200
    for layer in TINY[:1] if setting.is_tiny else TINY:
        case = Case(layer, 2, torch.float32, device)
        ways = {"torch": case.by_torch, "kernels": case.by_kernels}
        emit(
            f"The host's time of a norm and what follows, forward and backward, on {name_of(setting)}",
            {
                "layer": str(layer),
                **{
                    f"host, microseconds, {name}": _host_microseconds(functools.partial(case.gradients, way), repeats)
                    for name, way in ways.items()
                },
            },
        )
    kernel = Kernel("mutualnet3d.ops.triton_norm_kernels", "partial_statistics")
    # A chunk of 16 rows of 8 channels.
    work = Work((1, 1, 1), (16, 1, 16, 1), (8, 16, 16))
    tensors = torch.ones(16, 8, device=device), torch.empty(2, 8, device=device)
    row: Row = {"kernel": "partial_statistics"}
    for name, launch in (("by Triton", kernel.by_triton), ("directly", kernel)):
        row[f"host, microseconds, {name}"] = _host_microseconds(functools.partial(launch, work, *tensors), repeats)
    emit(f"The host's time of a launch, on {name_of(setting)}", row)


def _host_microseconds(run: Callable[[], object], repeats: int) -> float:
    for _ in range(1 if repeats == 1 else 3):
        run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(repeats):
        run()
    return 1e6 * (time.perf_counter() - started) / repeats


def compiled() -> int:
    """Kernels in Triton's memory; none in its interpreter."""
    from mutualnet3d.ops import triton_norm_kernels

    functions = (getattr(triton_norm_kernels, name) for name in KERNELS)
    return sum(len(caches[0]) for function in functions for caches in getattr(function, "device_caches", {}).values())


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="tables to make; default: all")
    parser.add_argument(
        "--layers",
        nargs="+",
        default=[""],
        metavar="NAME",
        help="beginnings of the names of layers; default: all layers",
    )
    parser.add_argument(
        "--precisions", nargs="+", choices=DTYPES, default=["bf16"], help="types of the features; default: bf16"
    )
    parser.add_argument("--tiny", action="store_true", help="take small shapes, to try the program")
    args = parser.parse_args(words)
    setting = Setting("cuda" if torch.cuda.is_available() else "cpu", args.tiny)
    layers = [layer for layer in (TINY if args.tiny else LAYERS) if layer.name.startswith(tuple(args.layers))]
    device, emit = torch.device(setting.device), Printer()
    try:
        triton_switch.check_available(device)
    except ValueError as error:
        sys.exit(str(error))
    with triton_switch.switched(True, device):
        if "layers" in args.parts:
            for layer in layers:
                for precision in args.precisions:
                    measure_layer(layer, precision, setting, emit)
        if "kernels" in args.parts:
            count_kernels(setting, emit)
            time_host(setting, emit)
        if "sweep" in args.parts:
            for layer in layers:
                sweep_tiles(setting, layer, args.precisions[0], emit)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Batch norm with what follows it, by ops/triton_norm.py and by torch: layers of X3D-M, tiles, whole training steps.

    python benchmarks/triton_kernels.py
    python benchmarks/triton_kernels.py --parts sweep --layers "stage 2" "stage 5"

It needs an NVIDIA GPU. With --tiny and TRITON_INTERPRET=1 in the environment it goes through small shapes on a CPU, in
Triton's interpreter: its times mean nothing. Tables are Markdown, every row printed when it was measured.
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
from gpu_parts.common import device_milliseconds, name_of, time_steps
from report import Setting
from step import WORKLOADS, Bench, Workload, arithmetic

from mutualnet3d.ops import triton_norm, triton_norm_launch, triton_switch
from mutualnet3d.ops.triton_norm_launch import Tile, Tiles

SEED, NUM_CLIPS, SECONDS = 0, 32, 0.05
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
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


class Table:
    """A Markdown table, printed row by row."""

    def __init__(self, title: str, *columns: str):
        print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}", flush=True)

    def row(self, *cells: object) -> None:
        texts = (f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells)
        print(f"| {' | '.join(texts)} |", flush=True)


def relative_error(value: torch.Tensor, right: torch.Tensor) -> float:
    return ((value.float() - right.float()).norm() / right.float().norm()).item()


def measure_layers(setting: Setting, layers: Sequence[Layer], precisions: Sequence[str]) -> None:
    device, num_clips = torch.device(setting.device), 2 if setting.is_tiny else NUM_CLIPS
    table = Table(
        f"Norms of X3D-M, {num_clips} clips, on {name_of(setting)}; GB/s of what the kernels read and write",
        *("layer", "precision", "torch, forward, ms", "kernels, forward, ms", "torch, forward + backward, ms"),
        *("kernels, forward + backward, ms", "times as fast", "torch, GB/s", "kernels, GB/s"),
        *("difference of outputs", "of inputs' gradients"),
    )
    for layer in layers:
        for precision in precisions:
            case = Case(layer, num_clips, DTYPES[precision], device)
            difference = relative_error(case.by_kernels(), case.by_torch())
            gradients = (case.gradients(way)[0] for way in (case.by_kernels, case.by_torch))
            gradient_difference = relative_error(*gradients)
            times = []
            for way in (case.by_torch, case.by_kernels):
                with torch.no_grad():
                    times.append(device_milliseconds(device, way, SECONDS))
                times.append(device_milliseconds(device, functools.partial(case.gradients, way), SECONDS))
            torch_forward, torchs, kernels_forward, kernels = times
            moved = 1e3 * layer.tensors_moved * case.gigabyte
            table.row(
                *(layer, precision, torch_forward, kernels_forward, torchs, kernels, torchs / kernels),
                *(moved / torchs, moved / kernels, difference, gradient_difference),
            )


def sweep_tiles(setting: Setting, layers: Sequence[Layer], precision: str) -> None:
    """Time the four large kernels of each layer with every tile."""
    device, num_clips = torch.device(setting.device), 2 if setting.is_tiny else NUM_CLIPS
    table = Table(
        f"Kernels by tile (values, warps), {precision}, {num_clips} clips, on {name_of(setting)}: ms, and GB/s",
        *("layer", "tile", "statistics", "normalize", "sums of gradients", "input's gradient"),
    )
    for layer in layers:
        case = Case(layer, num_clips, DTYPES[precision], device)
        best: dict[int, tuple[float, Tile]] = {}
        for tile in triton_norm_launch.candidates():
            with triton_norm_launch.using(Tiles(tile, tile)), torch.no_grad():
                cells = []
                for place, (moved, run) in enumerate(kernel_calls(case)):
                    time_ms = device_milliseconds(device, run, SECONDS)
                    cells.append(f"{time_ms:.4g} ({1e3 * moved * case.gigabyte / time_ms:.0f} GB/s)")
                    best[place] = min(best.get(place, (time_ms, tile)), (time_ms, tile))
            table.row(layer, tuple(tile), *cells)
        table.row(layer, "best", *(f"{tuple(tile)}: {time_ms:.4g}" for time_ms, tile in best.values()))


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


def count_kernels(setting: Setting) -> None:
    """Print how many kernels were compiled before and after 20 random shapes, and the host's time of a small layer."""
    device, rng = torch.device(setting.device), random.Random(SEED)
    before, started = compiled(), time.perf_counter()
    for _ in range(2 if setting.is_tiny else 20):
        channels = 8 * rng.randint(1, 2 if setting.is_tiny else 54)
        clip = (rng.randint(1, 4), rng.randint(2, 5), rng.randint(2, 5))
        case = Case(Layer("random", channels, clip, "relu"), rng.randint(1, 3), torch.float32, device)
        case.gradients(case.by_kernels)
    print(
        f"\nkernels compiled: {before} before, {compiled()} after random shapes "
        f"({time.perf_counter() - started:.1f} s)",
        flush=True,
    )
    case = Case(TINY[0], 2, torch.float32, device)
    repeats = 2 if setting.is_tiny else 200
    for name, way in (("torch", case.by_torch), ("kernels", case.by_kernels)):
        case.gradients(way)
        started = time.perf_counter()
        for _ in range(repeats):
            case.gradients(way)
        host = 1e6 * (time.perf_counter() - started) / repeats
        print(f"host's time, norm and ReLU, forward and backward, {name}: {host:.0f} microseconds", flush=True)


def compiled() -> int:
    """Kernels in Triton's memory; none in its interpreter."""
    from mutualnet3d.ops import triton_norm_kernels

    functions = (getattr(triton_norm_kernels, name) for name in KERNELS)
    return sum(len(caches[0]) for function in functions for caches in getattr(function, "device_caches", {}).values())


def measure_steps(setting: Setting, precisions: Sequence[str]) -> None:
    device = torch.device(setting.device)
    num_clips = 2 if setting.is_tiny else NUM_CLIPS
    load = Workload("x3d_m", (64, 32), (4, 2)) if setting.is_tiny else WORKLOADS["x3d_m"]
    table = Table(
        f"Training steps of X3D-M, {num_clips} clips of {load.space.full.clip_shape}, on {name_of(setting)}",
        *(
            "trained",
            "precision",
            "MODEL.TRITON",
            "ms per step",
            "clips/s",
            "host, ms",
            "peak memory, GiB",
            "first step, s",
        ),
    )
    for precision in precisions:
        bench = Bench.make(load, num_clips, device, precision, steps=[load.draw])
        for mutual in (False,) if setting.is_tiny else (False, True):
            for on in (False, True):
                with arithmetic(precision), triton_switch.switched(on, device):
                    step = bench.step(mutual)
                    times = time_steps(setting, functools.partial(step, load.draw))
                peak = "" if times.peak_bytes is None else times.peak_bytes / 2**30
                host = sorted(times.host_seconds)[len(times.host_seconds) // 2]
                table.row(
                    *("mutual step" if mutual else "full network", precision, on, 1e3 * times.median),
                    *(num_clips / times.median, 1e3 * host, peak, times.first_seconds),
                )
        del bench, step


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS], help="what to measure; default: all")
    parser.add_argument("--layers", nargs="+", default=[], help="layers whose names begin so; default: all")
    parser.add_argument("--precisions", nargs="+", choices=DTYPES, default=["bf16"])
    parser.add_argument("--tiny", action="store_true", help="small shapes, for a look at whether it runs")
    args = parser.parse_args(words)
    setting = Setting("cuda" if torch.cuda.is_available() else "cpu", args.tiny)
    layers = [layer for layer in (TINY if args.tiny else LAYERS) if layer.name.startswith(tuple(args.layers or [""]))]
    device = torch.device(setting.device)
    try:
        triton_switch.check_available(device)
    except ValueError as error:
        sys.exit(str(error))
    with triton_switch.switched(True, device):
        for part in args.parts:
            started = time.perf_counter()
            PARTS[part](setting, layers, args.precisions)
            print(f"\n({part}: {time.perf_counter() - started:.0f} s)", flush=True)


PARTS: dict[str, Callable[[Setting, Sequence[Layer], Sequence[str]], None]] = {
    "steps": lambda setting, layers, precisions: measure_steps(setting, precisions),
    "layers": measure_layers,
    "kernels": lambda setting, layers, precisions: count_kernels(setting),
    "sweep": lambda setting, layers, precisions: sweep_tiles(setting, layers, precisions[0]),
}

if __name__ == "__main__":
    main()

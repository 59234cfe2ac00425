#!/usr/bin/env python3
"""Depthwise 3D convolutions in channels last on a GPU: Triton's kernels against the way by the contiguous format.

    python benchmarks/triton_depthwise.py
    TRITON_INTERPRET=1 python benchmarks/triton_depthwise.py --device cpu --tiny

Three tables, in bfloat16: the layers of X3D-M at 32 clips, each kernel with the fastest of its ways to cut the work;
all of these ways; errors against float64. Before them, the host's time for a layer and the number of kernels that 20
random shapes compile. Kernels are compiled before they are timed, in as many processes as there are cores.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

import torch
import torch.nn.functional as F

from mutualnet3d.ops import kernels, triton_depthwise, triton_depthwise_plan, triton_switch
from mutualnet3d.ops.triton_depthwise_plan import Blocks, Geometry

CYCLES_PER_SECOND = 2e9
DIRECTIONS = ("output", "input_gradient", "weight_gradient")


@dataclass(frozen=True)
class Layer:
    """A depthwise layer: channels, T, H and W of its input, kernel, stride, and how often the network has it."""

    name: str
    channels: int
    clip: tuple[int, int, int]
    kernel: tuple[int, int, int] = (3, 3, 3)
    stride: tuple[int, int, int] = (1, 1, 1)
    count: int = 0

    @property
    def geometry(self) -> Geometry:
        t, h, w = (length // 2 for length in self.kernel)
        return Geometry(self.kernel, self.stride, (t, h, w))

    def tensors(
        self, num_clips: int, dtype: torch.dtype, device: str
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return input, weight and gradient of the output."""
        x = torch.randn(num_clips, self.channels, *self.clip, device=device, dtype=dtype)
        weight = torch.randn(self.channels, 1, *self.kernel, device=device, dtype=dtype)
        grad = torch.randn(num_clips, self.channels, *self.geometry.out_sizes(self.clip), device=device, dtype=dtype)
        last = torch.channels_last_3d
        return x.to(memory_format=last), weight / weight[0].numel() ** 0.5, grad.to(memory_format=last)

    def __str__(self) -> str:
        clip, kernel, stride = ("x".join(map(str, numbers)) for numbers in (self.clip, self.kernel, self.stride))
        return f"{self.name}: {self.channels} x {clip}, {kernel} / {stride}"


STEM = Layer("stem, time", 24, (16, 112, 112), (5, 1, 1), count=1)
LAYERS = [
    STEM,
    Layer("stage 2, first", 54, (16, 112, 112), stride=(1, 2, 2), count=1),
    Layer("stage 2", 54, (16, 56, 56), count=2),
    Layer("stage 3, first", 108, (16, 56, 56), stride=(1, 2, 2), count=1),
    Layer("stage 3", 108, (16, 28, 28), count=4),
    Layer("stage 4, first", 216, (16, 28, 28), stride=(1, 2, 2), count=1),
    Layer("stage 4", 216, (16, 14, 14), count=10),
    Layer("stage 5, first", 432, (16, 14, 14), stride=(1, 2, 2), count=1),
    Layer("stage 5", 432, (16, 7, 7), count=6),
    Layer("stage 3, width 0.63", 72, (10, 20, 20)),
]
TINY = [
    Layer("time", 8, (2, 2, 2), (3, 1, 1), count=1),
    Layer("first", 6, (2, 2, 3), (1, 3, 3), (1, 2, 2), count=1),
]
# Layers of the count of kernels, with the quotient of the crop's side and theirs.
COUNTED = [(STEM, 2), (LAYERS[1], 2), (LAYERS[2], 4)]


def ways(layer: Layer, direction: str, itemsize: int) -> list[Blocks]:
    """Return the ways to cut a kernel's work for a layer, without those that its channels make equal."""
    listed = getattr(triton_depthwise_plan, f"{direction}_blocks")(layer.geometry, itemsize)
    units = [triton_depthwise_plan.unit_of(layer.channels, blocks.unit) for blocks in listed]
    different = list(dict.fromkeys(replace(blocks, unit=unit) for blocks, unit in zip(listed, units, strict=True)))
    return different[:2] if layer in TINY else different


def call(direction: str, layer: Layer, tensors: Sequence[torch.Tensor], blocks: Blocks | None) -> torch.Tensor:
    """Run one kernel."""
    x, weight, grad = tensors
    if direction == "output":
        return triton_depthwise.output(x, weight, layer.geometry, blocks)
    return getattr(triton_depthwise, direction)(grad, x, weight, layer.geometry, blocks)


def compile_one(task: tuple[Layer, str, Blocks, torch.dtype]) -> None:
    """Compile a kernel into Triton's cache of files, by running it on a small clip."""
    layer, direction, blocks, dtype = task
    small = replace(layer, clip=(2, 4, 4))
    call(direction, small, small.tensors(1, dtype, "cuda"), blocks)


def compile_all(layers: Iterable[Layer], dtypes: Sequence[torch.dtype]) -> int:
    """Compile what the benchmark runs; return the number of kernels."""
    tasks: dict[Any, tuple[Layer, str, Blocks, torch.dtype]] = {}
    for layer in layers:
        for direction in DIRECTIONS:
            for dtype in dtypes:
                listed = ways(layer, direction, dtype.itemsize)
                for blocks in listed if dtype == dtypes[0] else listed[:1]:
                    tasks.setdefault((layer.geometry, direction, blocks, dtype), (layer, direction, blocks, dtype))
    workers = max(1, min(12, len(os.sched_getaffinity(0)) - 2))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(compile_one, tasks.values()))
    return len(tasks)


def milliseconds(device: str, run: Callable[[], Any]) -> float:
    """Median time of a call on the device, which is held up until the host has handed over the calls."""
    run()
    if device == "cpu":
        started = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - started)
    times = []
    for _ in range(3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(int(CYCLES_PER_SECOND * 0.002))
        start.record()
        for _ in range(5):
            run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 5)
    return statistics.median(times)


def todays(x: torch.Tensor, weight: torch.Tensor, grad: torch.Tensor, layer: Layer) -> None:
    """Forward and backward by way of the contiguous format."""
    geometry = layer.geometry
    y = kernels.depthwise_by_contiguous(x, weight, None, geometry.stride, geometry.padding, (1, 1, 1), layer.channels)
    torch.autograd.grad(y, (x, weight), grad)


def tritons(x: torch.Tensor, weight: torch.Tensor, grad: torch.Tensor, layer: Layer) -> None:
    """Forward and backward by Triton's kernels, as a network calls them."""
    y = triton_depthwise.depthwise_conv3d(x, weight, layer.geometry.stride, layer.geometry.padding)
    torch.autograd.grad(y, (x, weight), grad)


def leaves(tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return tensors[0].requires_grad_(), tensors[1].requires_grad_(), tensors[2]


def time_layers(layers: Sequence[Layer], num_clips: int, dtype: torch.dtype, device: str) -> None:
    """Print the table of the layers, the sums over the network, and the table of all ways."""
    print("| layer | today, ms | Triton, ms | times | output, ms | GB/s | dx, ms | GB/s | dw, ms | GB/s |")
    print("| --- |" + " --- |" * 9, flush=True)
    sums, details = [0.0, 0.0], []
    for layer in layers:
        tensors = layer.tensors(num_clips, dtype, device)
        moved = (tensors[0].numel() + tensors[2].numel()) * dtype.itemsize
        cells, total = [], 0.0
        for direction in DIRECTIONS:
            times = {
                blocks: milliseconds(device, functools.partial(call, direction, layer, tensors, blocks))
                for blocks in ways(layer, direction, dtype.itemsize)
            }
            best = min(times.values())
            total += best
            cells += [f"{best:.3f}", f"{1e-6 * moved / best:.0f}"]
            details.append((layer, direction, times))
        before = milliseconds(device, functools.partial(todays, *leaves(tensors), layer))
        sums = [sums[0] + layer.count * before, sums[1] + layer.count * total]
        print(f"| {layer} | {before:.3f} | {total:.3f} | {before / total:.1f} | {' | '.join(cells)} |", flush=True)
    print(f"\nAll depthwise layers of the network: {sums[0]:.1f} ms today, {sums[1]:.1f} ms by Triton's fastest ways\n")
    print("| layer | kernel | tile x channels / unit / warps: ms, the one that is taken first |\n| --- | --- | --- |")
    for layer, direction, times in details:
        texts = []
        for b, time_ms in times.items():
            mark = "**" if time_ms == min(times.values()) else ""
            texts.append(f"{b.tile_h}x{b.tile_w}x{b.channels}/{b.unit}/{b.num_warps}: {mark}{time_ms:.3f}{mark}")
        print(f"| {layer.name} | {direction} | {', '.join(texts)} |")


def print_errors(layers: Sequence[Layer], num_clips: int, dtypes: Sequence[torch.dtype], device: str) -> None:
    """Print errors of the ways that are taken: of output, input's and weight's gradient."""
    print("\n| layer | type | output | input's gradient | weight's gradient | today: output | input's | weight's |")
    print("| --- |" + " --- |" * 7, flush=True)
    for layer in layers:
        for dtype in dtypes:
            x, weight, grad = layer.tensors(num_clips, dtype, device)
            geometry = layer.geometry
            settings = (None, geometry.stride, geometry.padding, (1, 1, 1), layer.channels)

            def results(conv: Callable[..., torch.Tensor], *tensors: torch.Tensor, settings: Any = settings) -> Any:
                x, weight, grad = leaves([tensor.detach().clone() for tensor in tensors])
                y = conv(x, weight, *settings)
                return y.detach(), *torch.autograd.grad(y, (x, weight), grad)

            exact = results(F.conv3d, x.double().contiguous(), weight.double(), grad.double())
            mine = results(
                lambda x, weight, bias, stride, padding, *_: triton_depthwise.depthwise_conv3d(
                    x, weight, stride, padding
                ),
                *(x, weight, grad),
            )
            before = results(kernels.depthwise_by_contiguous, x, weight, grad)
            errors = [
                f"{((a.double() - b).norm() / b.norm()).item():.1e}"
                for way in (mine, before)
                for a, b in zip(way, exact, strict=True)
            ]
            print(f"| {layer} | {str(dtype)[6:]} | {' | '.join(errors)} |", flush=True)


def num_compiled() -> int:
    """Return the number of kernels that this process has."""
    from mutualnet3d.ops import triton_depthwise_kernels, triton_depthwise_weight

    functions = (
        triton_depthwise_kernels.forward,
        triton_depthwise_kernels.input_gradient,
        triton_depthwise_weight.weight_gradient,
    )
    return sum(len(cache[0]) for function in functions for cache in function.device_caches.values())


def count_compiled(device: str, is_tiny: bool) -> None:
    """Print the number of kernels that 20 random shapes of three layers need."""
    draw = random.Random(0)
    dtype = torch.float32 if is_tiny else torch.bfloat16
    for _ in range(1 if is_tiny else 20):
        side = 8 if is_tiny else draw.choice([128, 144, 160, 176, 192, 208, 224])
        frames, num_clips = draw.randint(2, 3 if is_tiny else 16), draw.randint(1, 2)
        for layer, divisor in COUNTED[:1] if is_tiny else COUNTED:
            channels = 8 * draw.randint(1, 2 if is_tiny else 27)
            shape = replace(layer, channels=channels, clip=(frames, side // divisor, side // divisor))
            tritons(*leaves(shape.tensors(num_clips, dtype, device)), shape)
    text = "none, the interpreter runs them" if triton_switch.is_interpreted() else f"{num_compiled()}"
    print(f"\nkernels compiled: {text} (three layers, 20 random shapes of each, forward and both gradients)")


def print_host_time() -> None:
    """Print the host's time to hand over a small layer's forward and backward."""
    layer = replace(LAYERS[-2], clip=(4, 7, 7))
    tensors = leaves(layer.tensors(1, torch.bfloat16, "cuda"))
    texts = []
    for name, run in (("today", todays), ("Triton", tritons)):
        run(*tensors, layer)
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(100):
            run(*tensors, layer)
        texts.append(f"{name} {1e4 * (time.perf_counter() - started):.0f}")
        torch.cuda.synchronize()
    print(f"host, microseconds per layer, forward and backward: {', '.join(texts)}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--device",
        choices=["cuda", "cpu"],
        default="cuda",
        help="device of the kernels, cpu: by Triton's interpreter; default: %(default)s",
    )
    parser.add_argument("--tiny", action="store_true", help="take the smallest layers, to try the program")
    options = parser.parse_args(arguments)
    device = options.device
    triton_switch.check_available(torch.device(device))
    torch.manual_seed(0)
    layers, num_clips = (TINY, 1) if options.tiny else (LAYERS, 32)
    dtypes = [torch.bfloat16, torch.float32] if device == "cuda" else [torch.float32]
    name = torch.cuda.get_device_name() if device == "cuda" else "the interpreter"
    print(f"Depthwise layers, {num_clips} clips, {dtypes[0]}, channels last, on {name}, torch {torch.__version__}")
    started = time.perf_counter()
    if device == "cuda":
        print(f"{compile_all(layers, dtypes)} kernels compiled in {time.perf_counter() - started:.1f} s\n", flush=True)
        print_host_time()
    count_compiled(device, options.tiny)
    time_layers(layers, num_clips, dtypes[0], device)
    print_errors(layers, 1 if options.tiny else 2, dtypes, device)
    print(f"\n{time.perf_counter() - started:.1f} s in all")


if __name__ == "__main__":
    main()

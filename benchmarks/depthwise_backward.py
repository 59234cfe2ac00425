#!/usr/bin/env python3
"""Backward of depthwise 3D convolutions: ops/cpu_kernels.py against torch's own, on the CPU.

    python benchmarks/depthwise_backward.py

Single layers of X3D-S and whole training steps; the two take turns, medians, channels_last_3d. Ratios above 1: ours is
faster.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

import mutualnet3d as m3
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.ops import cpu_kernels
from mutualnet3d.ops.cpu_kernels import depthwise_conv3d, is_depthwise_training

LAYERS = [  # channels, frames, side of the input, kernel, stride
    (24, 13, 80, (5, 1, 1), (1, 1, 1)),
    (54, 13, 80, (3, 3, 3), (1, 2, 2)),
    (54, 13, 40, (3, 3, 3), (1, 1, 1)),
    (108, 13, 20, (3, 3, 3), (1, 1, 1)),
    (216, 13, 10, (3, 3, 3), (1, 1, 1)),
    (432, 13, 5, (3, 3, 3), (1, 1, 1)),
]


def compare(ours: Callable[[], None], torchs: Callable[[], None], num_runs: int = 7) -> float:
    """Return torch's time over ours: medians of runs in turns."""
    seconds: dict[Callable[[], None], list[float]] = {ours: [], torchs: []}
    for run in range(-1, num_runs):
        for function, times in seconds.items():
            started = time.perf_counter()
            function()
            if run >= 0:
                times.append(time.perf_counter() - started)
    return statistics.median(seconds[torchs]) / statistics.median(seconds[ours])


def layer(channels: int, frames: int, side: int, kernel: tuple[int, ...], stride: tuple[int, ...]) -> float:
    """Return torch's time of a layer's forward and backward over ours, on two clips."""
    padding = tuple(k // 2 for k in kernel)
    x = torch.randn(2, channels, frames, side, side).to(memory_format=torch.channels_last_3d).requires_grad_()
    weight = torch.randn(channels, 1, *kernel, requires_grad=True)
    y = F.conv3d(x, weight, None, stride, padding, 1, channels)
    grad = torch.randn(y.shape).to(memory_format=torch.channels_last_3d)
    return compare(
        lambda: depthwise_conv3d(x, weight, stride, padding).backward(grad),
        lambda: F.conv3d(x, weight, None, stride, padding, 1, channels).backward(grad),
    )


def training_step(model: SlimmableNet, clip: torch.Tensor) -> float:
    """Return the whole network's time of a forward and backward with torch's kernels over that with ours."""

    def step() -> None:
        model([clip]).logsumexp(1).sum().backward()

    def torchs() -> None:
        cpu_kernels.is_depthwise_training = lambda *args: False
        try:
            step()
        finally:
            cpu_kernels.is_depthwise_training = is_depthwise_training

    return compare(step, torchs, num_runs=5)


def main() -> None:
    torch.manual_seed(0)
    print(f"{torch.get_num_threads()} threads; forward and backward, torch's time / ours")
    for shape in LAYERS:
        channels, frames, side, kernel, stride = shape
        name = f"{channels} x {frames} x {side} x {side}, kernel {kernel}, stride {stride}"
        print(f"{name:<60} {layer(*shape):5.2f}")
    model = m3.create_model("x3d_s").to(memory_format=torch.channels_last_3d).train()
    clip = torch.randn(2, 3, 13, 160, 160).to(memory_format=torch.channels_last_3d)
    print(f"{'X3D-S training step, 2 clips of 13 x 160 x 160':<60} {training_step(model, clip):5.2f}")


if __name__ == "__main__":
    main()

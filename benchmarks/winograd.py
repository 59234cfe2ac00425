#!/usr/bin/env python3
"""Estimate of Slow-8x8's time on the CPU with Winograd's algorithm: its 3 x 3 layers in OpenVINO, our default
back end, and in ncnn, which has the algorithm.

    pip install onnx onnxscript openvino ncnn
    python benchmarks/winograd.py --list ../shared/videos/surv_fight/val.csv

The three strided layers are left out: the algorithm does not apply. A layer's time is what it adds to a chain of itself
(half the difference of three and one), so that what happens at a chain's ends does not count. All take turns; medians.
ncnn has no convolution over a batch: it takes the frames one by one, in float32.

The last lines are arithmetic. Along time, tiles of 4 frames would halve the multiplications of the temporal layers; no
library that we know does that, and the transforms would come on top.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ncnn
import numpy as np
import openvino
import torch
from inference import CASES, CPU, list_videos, markdown, random_source, read_clips, versions
from openvino import opset13 as ops
from program_options import add
from torch import nn

from mutualnet3d.deploy import BACKENDS
from mutualnet3d.deploy.networks import openvino_core
from mutualnet3d.results.latency import device_name

CASE = CASES["slow_8x8"]
OPENVINO = "OpenVINO"
TILES = {"tiles of 2 x 2": 2, "tiles of 4 x 4": 4}
Layer = tuple[int, int]  # channels, side
Run = Callable[[], object]

# Of the multiplications of a 3 x 3 layer with tiles of 4 x 4, and of a temporal one with tiles of 4 frames.
SPATIAL_LEFT, TEMPORAL_LEFT = 36 / 144, 6 / 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", required=True, metavar="FILE", help="list of videos, lines `path label`")
    add(parser, "--rounds", 15, "N", "number of timed passes of a way")
    add(parser, "--threads", 2, "N", "number of CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    videos = list_videos(args.list)[:4]
    source = random_source(CASE.cfg, [CASE.config], videos)
    (shape,) = source.shapes(CASE.config)
    clip = read_clips(source.preprocessing, [shape], videos[:1])[0][shape]
    network = BACKENDS["openvino"](source, CPU, args.threads).forward(CASE.config)
    layers, spatial, temporal = counted(source.network().extract(CASE.config), shape.frames, shape.size)

    runs: dict[tuple[Any, ...], Run] = {("network",): lambda: network([clip])}
    rng = np.random.default_rng(0)
    for channels, side in layers:
        weight = rng.standard_normal((channels, channels, 3, 3), np.float32) / np.sqrt(9 * channels, dtype=np.float32)
        frames = np.abs(rng.standard_normal((shape.frames, channels, side, side), np.float32))
        for length in (1, 3):
            reference = runs[channels, side, length, OPENVINO] = in_openvino(weight, frames, length, args.threads)
            for name, tile in TILES.items():
                run = runs[channels, side, length, name] = in_ncnn(weight, frames, length, tile, args.threads)
                expected = np.asarray(reference())
                difference = np.abs(np.asarray(run()) - expected).max() / expected.max()
                assert difference < 1e-4, (channels, side, length, name, difference)
    ms = take_turns(runs, args.rounds)

    rows, spared = [], 0.0
    for (channels, side), number in layers.items():
        layer_ms = {
            name: (ms[channels, side, 3, name] - ms[channels, side, 1, name]) / 2 for name in (OPENVINO, *TILES)
        }
        spared += number * (layer_ms[OPENVINO] - min(layer_ms.values()))
        ratios = [f"{layer_ms[name] / layer_ms[OPENVINO]:.2f}" for name in TILES]
        rows.append([str(channels), str(side), str(number), f"{layer_ms[OPENVINO]:.1f}", *ratios])
    whole = ms["network",]
    print(f"{device_name(CPU)}, {args.threads} threads, {args.rounds} rounds, {versions()}, ncnn {ncnn.__version__}")
    print(f"Slow-8x8 in OpenVINO: {whole:.0f} ms; its 3 x 3 layers of stride 1, ncnn's time of OpenVINO's:\n")
    columns = ("channels", "side", "layers", "OpenVINO ms", *TILES)
    print(markdown(columns, rows))
    print(f"\nwith ncnn's times where they are shorter: {whole / (whole - spared):.2f} times as fast as OpenVINO is")
    left = 1 - spatial * (1 - SPATIAL_LEFT) - temporal * (1 - TEMPORAL_LEFT)
    print(f"of the multiply-adds {spatial:.0%} are in these layers, {temporal:.0%} in temporal ones (stride 1)")
    print(f"tiles of 4 x 4 and of 4 frames, nothing else costing any time: {1 / left:.2f} times")


def counted(network: nn.Module, frames: int, size: int) -> tuple[Counter[Layer], float, float]:
    """The 3 x 3 layers of stride 1 and how often each occurs; their share of the multiply-adds, and the share of the
    temporal layers."""
    layers: Counter[Layer] = Counter()
    macs = {"all": 0.0, "spatial": 0.0, "temporal": 0.0}

    def count(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv3d)
        work = layer.weight.numel() * output[0, 0].numel()
        macs["all"] += work
        if layer.stride == (1, 1, 1) and layer.kernel_size == (1, 3, 3):
            layers[layer.in_channels, output.shape[-1]] += 1
            macs["spatial"] += work
        if layer.stride == (1, 1, 1) and layer.kernel_size == (3, 1, 1):
            macs["temporal"] += work

    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network([torch.zeros(1, 3, frames, size, size)])
    return layers, macs["spatial"] / macs["all"], macs["temporal"] / macs["all"]


def in_openvino(weight: np.ndarray, frames: np.ndarray, length: int, threads: int) -> Run:
    """A chain of 1 x 3 x 3 layers with ReLU on a clip."""
    clip = np.ascontiguousarray(frames.transpose(1, 0, 2, 3))[None]
    given = ops.parameter(clip.shape, np.float32)
    last = given
    for _ in range(length):
        pads = [0, 1, 1]
        last = ops.relu(ops.convolution(last, weight[:, :, None], [1, 1, 1], pads, pads, [1, 1, 1]))
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    request = openvino_core().compile_model(openvino.Model([last], [given]), "CPU", settings).create_infer_request()

    def run() -> np.ndarray:
        (result,) = request.infer([clip], share_inputs=True, share_outputs=True).values()
        return result[0].transpose(1, 0, 2, 3)

    return run


def in_ncnn(weight: np.ndarray, frames: np.ndarray, length: int, tile: int, threads: int) -> Run:
    """A chain of 3 x 3 layers with ReLU, on one frame after the other."""
    channels = len(weight)
    lines = ["7767517", f"{length + 1} {length + 1}", "Input x 0 1 0"]
    for at in range(length):
        lines.append(
            f"Convolution c{at} 1 1 {at} {at + 1} 0={channels} 1=3 11=3 4=1 14=1 5=1 6={weight.size} 9=1"
        )  # channels, kernel, padding, a bias, values, ReLU
    net = ncnn.Net()
    options = {
        "num_threads": threads,
        "use_fp16_storage": False,
        "use_fp16_arithmetic": False,
        "use_fp16_packed": False,
        "use_bf16_storage": False,
        "use_winograd23_convolution": tile == 2,
        "use_winograd43_convolution": tile == 4,
        "use_winograd63_convolution": False,
    }
    for name, value in options.items():
        assert hasattr(net.opt, name), name
        setattr(net.opt, name, value)
    with tempfile.TemporaryDirectory() as folder:
        text, binary = Path(folder, "net.param"), Path(folder, "net.bin")
        text.write_text("\n".join(lines) + "\n")
        binary.write_bytes(length * (bytes(4) + weight.tobytes() + np.zeros(channels, np.float32).tobytes()))
        assert net.load_param(str(text)) == 0
        assert net.load_model(str(binary)) == 0
    inputs = [ncnn.Mat(frame) for frame in frames]

    def run() -> list[Any]:
        outputs = []
        for frame in inputs:
            extractor = net.create_extractor()
            extractor.input("0", frame)
            status, output = extractor.extract(str(length))
            assert status == 0
            outputs.append(output)
        return outputs

    return run


def take_turns(runs: dict[tuple[Any, ...], Run], rounds: int) -> dict[tuple[Any, ...], float]:
    """Return median milliseconds: every turn is a pass that is not timed and one that is."""
    ms: dict[tuple[Any, ...], list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            run()
            started = time.perf_counter()
            run()
            ms[key].append(1e3 * (time.perf_counter() - started))
    return {key: statistics.median(times) for key, times in ms.items()}


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Cost of switching: a sub-network inside `active`, the same extracted, and an ordinary network of its shapes.

    python benchmarks/switched_inference.py

One clip, evaluation mode, channels_last_3d, the three interleaved in one run; printed are medians of the ratios of
neighbouring runs. The ordinary network is pytorchvideo's, its layers replaced by new ones of the sub-network's shapes:
nn.Conv3d, nn.BatchNorm3d, nn.Linear and nn.SiLU.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from fvcore.nn.squeeze_excitation import SqueezeExcitation
from program_options import add
from torch import nn

import mutualnet3d as m3
from mutualnet3d.models.dry_run import dry_run
from mutualnet3d.models.network import VideoNet
from mutualnet3d.mutual import calibrate
from mutualnet3d.ops import SlimConv3d, SlimLinear, SlimSqueezeExcitation
from mutualnet3d.shapes import ClipBatch

CASES = {
    "x3d_m": ("w1.0-s224-t16", "w0.63-s192-t6", "w0.63-s144-t6"),
    "slow_8x8_r50": ("w1.0-s224-t8", "w0.63-s224-t5", "w0.63-s144-t3"),
    "slowfast_4x16_r50": ("w1.0-s224-t4", "w0.63-s224-t3", "w0.63-s144-t2"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="*", default=list(CASES), choices=list(CASES), help="networks to time; default: all"
    )
    add(parser, "--runs", 40, "N", "number of timed runs of a network")
    args = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {args.runs} interleaved runs")
    print(f"{'model':18} {'sub-network':14} {'switched / extracted':>21} {'extracted / ordinary':>21}")
    for name in args.models:
        model = m3.create_model(name, num_classes=400).eval().to(memory_format=torch.channels_last_3d)
        for key in CASES[name]:
            switched, extracted, ordinary = _measure(model, m3.SubnetConfig.parse(key), args.runs)
            over_extracted, over_ordinary = _ratio(switched, extracted), _ratio(extracted, ordinary)
            print(f"{name:18} {key:14} {over_extracted:21.3f} {over_ordinary:21.3f}", flush=True)


def _ratio(seconds: list[float], others: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(seconds, others, strict=True))


def _measure(model: m3.models.SlimmableNet, config: m3.SubnetConfig, runs: int) -> list[list[float]]:
    shapes = model.input_shapes(config)
    clips = [
        torch.randn(1, 3, shape.frames, shape.size, shape.size).to(memory_format=torch.channels_last_3d)
        for shape in shapes
    ]
    batch = ClipBatch({}, torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long))
    calibrate(model, [config], [batch], lambda batch, config: clips)
    extracted = model.extract(config).to(memory_format=torch.channels_last_3d)
    ordinary = _ordinary(model, config).to(memory_format=torch.channels_last_3d)

    def switched() -> torch.Tensor:
        with model.active(config):
            return model(clips)

    return _interleaved([switched, lambda: extracted(clips), lambda: ordinary(clips)], runs)


def _ordinary(model: m3.models.SlimmableNet, config: m3.SubnetConfig) -> VideoNet:
    new: dict[nn.Module, nn.Module] = {}
    for _, layer, read, gave in dry_run(model, config):
        if isinstance(layer, SlimConv3d):
            groups = 1 if layer.groups == 1 else read[1]
            settings = {"stride": layer.stride, "padding": layer.padding, "bias": layer.bias is not None}
            new[layer] = nn.Conv3d(read[1], gave[1], layer.kernel_size, groups=groups, **settings)
        elif isinstance(layer, SlimLinear):
            new[layer] = nn.Linear(read[-1], gave[-1])
        else:
            new[layer] = nn.BatchNorm3d(gave[1])
    for module in model.modules():
        if isinstance(module, SlimSqueezeExcitation):
            reduce = module.block[0]
            wide, narrow = new[reduce].in_channels, new[reduce].out_channels
            new[module] = SqueezeExcitation(wide, num_channels_reduced=narrow, is_3d=True)
    memo = {id(layer): replacement for layer, replacement in new.items()}
    return model.extracted_class(copy.deepcopy(model.content, memo)).eval()


@torch.no_grad()
def _interleaved(functions: list[Callable[[], torch.Tensor]], runs: int) -> list[list[float]]:
    """Seconds of each function's runs, measured in turn so that noise meets all of them alike."""
    seconds: list[list[float]] = [[] for _ in functions]
    for run in range(runs + 3):
        # In another order each time: what ran before leaves its traces in the caches.
        for index in sorted(range(len(functions)), key=lambda i: (i + run) % len(functions)):
            started = time.perf_counter()
            functions[index]()
            if run >= 3:
                seconds[index].append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    main()

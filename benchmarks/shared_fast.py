#!/usr/bin/env python3
"""SlowFast's mutual step with the Fast pathway run once per step, against once per network (the paper's scheme).

    python benchmarks/shared_fast.py

Printed are the ratio of median step times, interleaved in one run, and the largest relative difference of any
parameter's gradient.
"""

import argparse
import contextlib
import statistics
import time

import torch
from program_options import add
from torch import nn

import mutualnet3d as m3
from mutualnet3d.mutual import mutual_step
from mutualnet3d.shapes import ClipShape


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add(parser, "--model", "slowfast_4x16_r50", "NAME", "SlowFast network, a name of m3.list_models()")
    add(parser, "--batch", 1, "N", "number of clips of a step")
    add(parser, "--runs", 5, "N", "number of timed steps of a way")
    args = parser.parse_args()
    torch.manual_seed(0)
    model = m3.create_model(args.model, dropout_rate=0.0).to(memory_format=torch.channels_last_3d).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):  # blocks that start as their shortcut have no gradients to compare
            nn.init.uniform_(module.weight, 0.5, 1.0)
    full = model.full
    space = m3.SubnetSpace((0.63, 1.0), (224, 192, 160, 128), {4: (4, 3, 2), 8: (8, 6, 5, 3)}[full.frames])
    clips: dict[ClipShape, torch.Tensor] = {}

    def clips_for(config: m3.SubnetConfig) -> list[torch.Tensor]:
        for shape in model.input_shapes(config):
            if shape not in clips:
                clip = torch.randn(args.batch, 3, shape.frames, shape.size, shape.size)
                clips[shape] = clip.to(memory_format=torch.channels_last_3d)
        return [clips[shape] for shape in model.input_shapes(config)]

    label_B = torch.arange(args.batch)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    gradients: dict[bool, list[torch.Tensor]] = {}
    shared_fast_features = model.shared_fast_features
    for step in range(args.runs + 1):
        _, *subnets = space.at_step(0, step)
        for shared in (True, False):
            model.shared_fast_features = shared_fast_features if shared else contextlib.nullcontext
            model.zero_grad(set_to_none=True)
            started = time.perf_counter()
            mutual_step(model, clips_for, label_B, full, subnets)
            if step:  # the first warms up
                seconds[shared].append(time.perf_counter() - started)
            gradients[shared] = [parameter.grad.clone() for parameter in model.parameters()]
    worst = max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(*gradients.values(), strict=True))
    ratio = statistics.median(a / b for a, b in zip(seconds[False], seconds[True], strict=True))
    print(f"{args.model}, batch {args.batch}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"step with Fast in every network / step with Fast shared: {ratio:.2f} (median of {args.runs} pairs)")
    print(f"largest difference of a gradient, relative to its largest value: {worst:.1e} (float32)")


if __name__ == "__main__":
    main()

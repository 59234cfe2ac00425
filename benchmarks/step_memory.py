#!/usr/bin/env python3
"""Peak memory of a mutual step over that of the full network's step alone.

    python benchmarks/step_memory.py

Each kind of step runs in a process of its own, on clips of X3D-S's shape. Two measures: the peak of what torch's CPU
allocator has handed out (exact), and the peak of the process's resident memory above what it held before the first
step (what the machine sees, the C library's allocator included). A mutual step keeps one graph alive at a time, so both
ratios should be near 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource

import torch
from program_options import add
from torch.profiler import ProfilerActivity, profile

import mutualnet3d as m3
from mutualnet3d.mutual import mutual_step

SPACE = m3.SubnetSpace(width_range=(0.63, 1.0), sizes=(160, 128, 96), frames=(13, 10, 6))
NUM_CLASSES = 400
SEED = 0


def measure(mutual: bool, batch_size: int, num_steps: int, queue: multiprocessing.Queue) -> None:
    """Put (peak allocated bytes, growth of peak resident bytes) of `num_steps` steps into `queue`."""
    torch.manual_seed(SEED)
    model = m3.create_model("x3d_s", num_classes=NUM_CLASSES).to(memory_format=torch.channels_last_3d).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    label_B = torch.randint(0, NUM_CLASSES, (batch_size,))

    def clips_for(config: m3.SubnetConfig) -> list[torch.Tensor]:
        clip = torch.randn(batch_size, 3, config.frames, config.size, config.size)
        return [clip.to(memory_format=torch.channels_last_3d)]

    def step(index: int) -> None:
        full, *subnets = SPACE.at_step(SEED, index)
        optimizer.zero_grad(set_to_none=True)
        mutual_step(model, clips_for, label_B, full, subnets if mutual else [])
        optimizer.step()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in range(num_steps):
        step(index)
    resident = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step(num_steps)
    queue.put((_peak(profiler), resident))


def _peak(profiler: profile) -> int:
    """The highest sum of allocations minus frees, in the order in which they happened."""
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    peak = total = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        total += event.nbytes()
        peak = max(peak, total)
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add(parser, "--batch-size", 4, "N", "number of clips of a step")
    add(parser, "--steps", 3, "N", "number of steps")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    results = {}
    for name, mutual in (("full network alone", False), ("mutual step", True)):
        queue = context.Queue()
        process = context.Process(target=measure, args=(mutual, args.batch_size, args.steps, queue))
        process.start()
        results[name] = queue.get()
        process.join()
    base = results["full network alone"]
    print(f"X3D-S, {SPACE.full.clip_shape}, {args.batch_size} clips, CPU; sub-networks as drawn by SubnetSpace.at_step")
    print(f"{'':<20} {'allocated MiB':>14} {'ratio':>6} {'resident MiB':>13} {'ratio':>6}")
    for name, (allocated, resident) in results.items():
        print(
            f"{name:<20} {allocated / 2**20:>14.1f} {allocated / base[0]:>6.3f} "
            f"{resident / 2**20:>13.1f} {resident / base[1]:>6.3f}"
        )


if __name__ == "__main__":
    main()

"""Milliseconds of a sub-network on the device at hand."""

from __future__ import annotations

import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.slimmable_model import SlimmableModel


@torch.no_grad()
def measure_milliseconds(
    model: SlimmableModel,
    configs: Sequence[SubnetConfig],
    make_clips: Callable[[SubnetConfig], Sequence[torch.Tensor]],
    device: torch.device,
    num_runs: int,
) -> dict[SubnetConfig, float]:
    """Median time of a forward pass of each config, in milliseconds.

    The configs take turns, in another order every round, so that a busy moment of the machine or a large neighbour does
    not fall on one alone. A turn is two passes on the same clips, of which the second is timed.

    Args:
        model: it is measured in evaluation mode; its mode comes back.
        make_clips: the input of a config, on `device`; its batch size is what is measured.
        num_runs: turns of each config.

    Raises:
        ValueError: there is no config, or no turn.
    """
    if not configs:
        raise ValueError("no sub-network to measure")
    if num_runs < 1:
        raise ValueError(f"num_runs is {num_runs}; allowed: 1 or more")
    seconds: dict[SubnetConfig, list[float]] = {config: [] for config in configs}
    was_training = model.training
    model.train(False)
    try:
        for run in range(num_runs):
            for config in random.Random(run).sample(list(seconds), len(seconds)):
                clips = make_clips(config)
                with model.active(config):
                    # Kernels are chosen here, and weights come into the caches that the config before had filled:
                    # without this pass the demo's small networks took a tenth longer than when run on their own.
                    model(clips)
                    _wait(device)
                    started = time.perf_counter()
                    model(clips)
                    _wait(device)
                    seconds[config].append(time.perf_counter() - started)
    finally:
        model.train(was_training)
    return {config: 1e3 * statistics.median(each) for config, each in seconds.items()}


def device_name(device: torch.device) -> str:
    """What `device` is called: the GPU's name, or the CPU's model; "cpu" where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_name("/proc/cpuinfo") or platform.processor() or "cpu"


def _cpu_name(cpuinfo: str) -> str:
    """The first "model name" in Linux's list of processors; "" where there is none (other systems, other chips)."""
    try:
        with open(cpuinfo, encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return " ".join(value.split())
    except OSError:
        pass
    return ""


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

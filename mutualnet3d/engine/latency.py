"""Milliseconds of a sub-network on the device at hand."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from mutualnet3d.mutual.calibrate import Calibratable
from mutualnet3d.shapes import SubnetConfig


@torch.no_grad()
def measure_milliseconds(
    model: Calibratable,
    configs: Sequence[SubnetConfig],
    make_clips: Callable[[SubnetConfig], Sequence[torch.Tensor]],
    device: torch.device,
    num_runs: int,
) -> dict[SubnetConfig, float]:
    """Median time of a forward pass of each config, in milliseconds.

    The configs take turns, so that a busy moment of the machine does not fall on one alone; each is warmed up first.

    Args:
        make_clips: the input of a config, on `device`; its batch size is what is measured.
    """
    seconds: dict[SubnetConfig, list[float]] = {config: [] for config in configs}
    was_training = model.training
    model.train(False)
    try:
        for run in range(-1, num_runs):
            for config in configs:
                clips = make_clips(config)
                with model.active(config):
                    _wait(device)
                    started = time.perf_counter()
                    model(clips)
                    _wait(device)
                if run >= 0:
                    seconds[config].append(time.perf_counter() - started)
    finally:
        model.train(was_training)
    return {config: 1e3 * statistics.median(each) for config, each in seconds.items()}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""Milliseconds of sub-networks on the device at hand."""

from __future__ import annotations

import math
import platform
import random
import statistics
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Latencies(Generic[Key]):
    """Measured times.

    Args:
        milliseconds: time of one forward pass of each key.
        num_rounds: number of timed passes of each, of which the time is the median (or another summary).
    """

    milliseconds: dict[Key, float]
    num_rounds: int


@torch.no_grad()
def measure_latencies(
    forward: Callable[[Key, Sequence[torch.Tensor]], object],
    keys: Sequence[Key],
    make_clips: Callable[[Key], Sequence[torch.Tensor]],
    device: torch.device,
    *,
    num_rounds: int,
    min_rounds: int = 1,
    max_seconds: float = math.inf,
    passes: int = 2,
    summary: Callable[[Sequence[float]], float] = statistics.median,
) -> Latencies[Key]:
    """Measure the time of a forward pass of each key: of a sub-network, of a back end, or of both.

    The keys take turns, in another order every round, so that a busy moment of the machine or a large neighbour does
    not fall on one alone. A turn is several passes on the same clips, of which the last is timed.

    Args:
        forward: (key, clips) -> logits, in evaluation mode.
        keys: keys to measure, at least one.
        make_clips: key -> clips on `device`; their batch size is what is measured.
        device: device that is waited for.
        num_rounds: most turns of each key, at least 1.
        min_rounds: turns that each key has, whatever they take.
        max_seconds: time after which no other round begins.
        passes: forward passes of a turn. In the ones before the last, kernels are chosen, and weights come into the
            caches that the key before had filled: without them the demo's small networks took a tenth longer than when
            run on their own.
        summary: times of a key -> its time: median or minimum.

    Raises:
        ValueError: there is no key, or no round.
    """
    if not keys:
        raise ValueError("no sub-network to measure")
    if num_rounds < 1:
        raise ValueError(f"num_rounds is {num_rounds}; allowed: 1 or more")
    seconds: dict[Key, list[float]] = {key: [] for key in keys}
    began, rounds = time.perf_counter(), 0
    while rounds < num_rounds and (rounds < min_rounds or time.perf_counter() - began < max_seconds):
        for key in random.Random(rounds).sample(list(seconds), len(seconds)):
            clips = make_clips(key)
            for _ in range(passes - 1):
                forward(key, clips)
            _wait(device)
            started = time.perf_counter()
            forward(key, clips)
            _wait(device)
            seconds[key].append(time.perf_counter() - started)
        rounds += 1
    return Latencies({key: 1e3 * summary(times) for key, times in seconds.items()}, rounds)


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or the CPU's model; "cpu" where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_name("/proc/cpuinfo") or platform.processor() or "cpu"


def _cpu_name(cpuinfo: str) -> str:
    """Return the first "model name" in Linux's list of processors; "" where there is none (other systems or chips)."""
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

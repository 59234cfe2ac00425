"""Sizes, names and timing that the parts of the GPU's report have in common."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from report import Cell, Setting
from step import (
    WORKLOADS,
    Workload,
    timed,
    wait,
)

from mutualnet3d.results.latency import device_name
from mutualnet3d.shapes import ClipShape, SubnetConfig

ROOT = Path(__file__).resolve().parents[2]
TITLES = {"x3d_s": "X3D-S", "x3d_m": "X3D-M", "slow_8x8_r50": "Slow-8x8-R50", "slowfast_4x16_r50": "SlowFast-4x16-R50"}
FORMATS = {"channels last": torch.channels_last_3d, "contiguous": torch.contiguous_format}
# Clips a training step on a card of 80 GB; their activations take 0.3 GiB (X3D-S) to 0.8 GiB (X3D-M) each in float32.
CLIPS = {"x3d_s": 64, "x3d_m": 32, "slow_8x8_r50": 32, "slowfast_4x16_r50": 32}
LARGE_CARD_GIB = 75.0
# Seconds after which a step is timed once, and after twice as many not repeated at all.
SLOW_STEP = 5.0
# An upper bound of a GPU's clock.
CYCLES_PER_SECOND = 2e9


def workload(setting: Setting, name: str) -> Workload:
    """The network's published clips, or the smallest ones that show the same."""
    if not setting.is_tiny:
        return WORKLOADS[name]
    return Workload(name, (64, 32), (4, 2))


def clips_of(setting: Setting, name: str) -> int:
    """Clips of a training step: fewer on a card with less memory."""
    if setting.is_tiny:
        return 2
    memory_gib = torch.cuda.get_device_properties(0).total_memory / 2**30
    return max(1, int(CLIPS[name] * min(1.0, memory_gib / LARGE_CARD_GIB)))


def shown(shapes: Sequence[ClipShape], num_clips: int) -> str:
    """A batch in words: its clips, and their shape on every pathway."""
    return f"{num_clips} {'clip' if num_clips == 1 else 'clips'} of {' and '.join(map(str, shapes))}"


def key_of(config: SubnetConfig) -> str:
    """The sub-network's key, with its width to two digits."""
    return f"w{config.width:.2f}-s{config.size}-t{config.frames}"


def name_of(setting: Setting) -> str:
    """The device, as table titles have it."""
    name, threads = device_name(torch.device(setting.device)), torch.get_num_threads()
    return name if setting.device == "cuda" else f"{name} ({threads} {'thread' if threads == 1 else 'threads'})"


def device_in(title: str) -> str:
    """The device that a table's title ends with."""
    return title.rpartition(", on ")[2]


def mixed(setting: Setting) -> str:
    """The precision of measurements that take one: bfloat16, which a CPU needs long to get ready for."""
    return "bf16" if setting.device == "cuda" else "fp32"


def precisions(setting: Setting, *names: str) -> tuple[str, ...]:
    """Leave out of `names` the precisions that a CPU has not (tf32) or only slowly (fp16)."""
    return tuple(name for name in names if setting.device == "cuda" or name in ("fp32", "bf16"))


@contextmanager
def cudnn_search(is_on: bool) -> Iterator[None]:
    """Switch cuDNN's search on or off for the block: on, it tries its kernels for every new shape and takes the fastest
    (`torch.backends.cudnn.benchmark`)."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = is_on
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@dataclass(frozen=True)
class StepTimes:
    """Times of a training step.

    Args:
        seconds: time of each timed step until the device was done.
        host_seconds: time of each timed step until the host had handed over its work.
        first_seconds: time of the first step, which loads and chooses kernels.
        peak_bytes: largest sum that torch's allocator had given out in the timed steps; None on a CPU.
    """

    seconds: list[float]
    host_seconds: list[float]
    first_seconds: float
    peak_bytes: int | None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def time_steps(setting: Setting, run: Callable[[], Any]) -> StepTimes:
    """Two steps to warm up, then 3 to 10, as many as fit into a second; of slow steps one of each, of very slow ones
    the first alone."""
    device = torch.device(setting.device)

    def step() -> tuple[float, float]:
        wait(device)
        started = time.perf_counter()
        run()
        handed_over = time.perf_counter()
        wait(device)
        return time.perf_counter() - started, handed_over - started

    is_gpu = device.type == "cuda"
    if is_gpu:
        torch.cuda.reset_peak_memory_stats()
    first = step()
    timed_steps = [first]
    if first[0] < 2 * SLOW_STEP:
        is_once = first[0] > SLOW_STEP or setting.is_tiny
        count = 1 if is_once else max(3, min(10, int(1.0 / step()[0])))
        if is_gpu:
            torch.cuda.reset_peak_memory_stats()
        timed_steps = [step() for _ in range(count)]
    peak = torch.cuda.max_memory_allocated() if is_gpu else None
    return StepTimes([total for total, _ in timed_steps], [host for _, host in timed_steps], first[0], peak)


def milliseconds(device: torch.device, run: Callable[[], Any], seconds: float) -> float:
    """Median time of `run` over blocks of calls, which take about `seconds` together, after warming up."""
    run()
    once = max(timed(device, run), 1e-6)
    if once > seconds:
        return 1e3 * once
    calls = max(1, int(seconds / 5 / once))
    num_blocks = 5 if 5 * calls * once <= 2 * seconds else 2
    blocks = [timed(device, lambda: [run() for _ in range(calls)]) / calls for _ in range(num_blocks)]
    return 1e3 * statistics.median(blocks)


def device_milliseconds(device: torch.device, run: Callable[[], Any], seconds: float) -> float:
    """Median time of `run` on the device alone: a GPU is held up until the host has handed over a block of calls, so
    that it never waits for the host between them."""
    if device.type == "cpu":
        return milliseconds(device, run, seconds)
    run()
    once = max(timed(device, run), 1e-6)
    if once > seconds:
        return 1e3 * once
    calls = max(1, min(20, int(seconds / 5 / once)))
    blocks = []
    for _ in range(5):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(int(CYCLES_PER_SECOND * min(0.01, calls * once)))
        start.record()
        for _ in range(calls):
            run()
        end.record()
        end.synchronize()
        blocks.append(start.elapsed_time(end) / calls)
    return statistics.median(blocks)


def ratio(first: Cell, second: Cell) -> float | None:
    """`first` / `second`, None where one of them was not measured."""
    return first / second if isinstance(first, float) and isinstance(second, float) and second else None


def number(cell: Cell) -> float:
    """A cell that is a number."""
    assert isinstance(cell, float)
    return cell


def nvidia_smi(query: str) -> list[str]:
    """Answers of nvidia-smi to a query; none where it is missing."""
    try:
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader", "--id=0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [word.strip() for word in done.stdout.split(",")] if done.returncode == 0 else []

"""Waits of the host for its GPU, and bytes that processes exchange."""

from __future__ import annotations

import functools
import re
import time
import warnings

import torch
from report import Measurement, Setting, Sheet
from step import (
    Bench,
    exchanged,
    wait,
)

from gpu_parts.common import (
    TITLES,
    clips_of,
    name_of,
    shown,
    workload,
)
from mutualnet3d.shapes import ClipBatch


def host_waits(setting: Setting) -> dict[str, Measurement]:
    names = ("x3d_m",) if setting.is_tiny else ("x3d_m", "slow_8x8_r50", "slowfast_4x16_r50")
    return {
        f"{TITLES[name]}, {precision}": functools.partial(_host_waits, setting, name, precision)
        for name in names
        for precision in (("fp32",) if setting.device == "cpu" else ("bf16", "fp16", "fp32"))
    }


def _host_waits(setting: Setting, name: str, precision: str, sheet: Sheet) -> None:
    load, device = workload(setting, name), torch.device(setting.device)
    num_clips = max(1, clips_of(setting, name) // 4)
    bench = Bench.make(load, num_clips, device, precision, steps=[load.draw])
    labels = bench.batch.label_B.cpu()
    on_host = ClipBatch({shape: clip.cpu() for shape, clip in bench.batch.clips.items()}, labels, labels)
    bench.batch = on_host.pin_memory() if device.type == "cuda" else on_host
    step = bench.step(mutual=True)
    for _ in range(2):  # sets up constants and workspaces
        step(load.draw)
    wait(device)
    places: list[str] | None = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        started = time.perf_counter()
        step(load.draw)
        handed_over = time.perf_counter() - started
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
            waits = [warning for warning in caught if "called a synchronizing" in str(warning.message)]
            places = [f"{_place(warning.filename)}:{warning.lineno}" for warning in waits]
    wait(device)
    total = time.perf_counter() - started
    memory = "pinned host" if device.type == "cuda" else "host"
    sheet.row(
        f"One mutual step, channels last, clips from {memory} memory, on {name_of(setting)}",
        {
            "network": TITLES[name],
            "batch": shown(bench.model.input_shapes(load.space.full), num_clips),
            "precision": precision,
            "waits of the host": None if places is None else len(places),
            "places": None if places is None else ", ".join(dict.fromkeys(places)) or "none",
            "host, ms": 1e3 * handed_over,
            "step, ms": 1e3 * total,
        },
    )
    sheet.note("Waits are torch's warnings under `torch.cuda.set_sync_debug_mode`; there should be none.")


def _place(path: str) -> str:
    """A file of a warning, from the repository or the library on."""
    return re.sub(r"^.*/(site-packages|benchmarks|mutualnet3d)/", r"\1/", path)


def exchange(setting: Setting) -> dict[str, Measurement]:
    cards = torch.cuda.device_count() if setting.device == "cuda" else 0
    ways = {"gloo": ("cuda:0", "cuda:0") if cards else ("cpu", "cpu")}
    if cards > 1:
        ways["nccl"] = ("cuda:0", "cuda:1")
    names = ("x3d_m",) if setting.is_tiny else ("x3d_m", "slowfast_4x16_r50")
    return {
        f"{TITLES[name]}, {backend}": functools.partial(_exchanged, setting, name, backend, devices)
        for name in names
        for backend, devices in ways.items()
    }


def _exchanged(setting: Setting, name: str, backend: str, devices: tuple[str, str], sheet: Sheet) -> None:
    sent, size = exchanged(workload(setting, name), backend, devices)
    sheet.row(
        f"Gradients that each of two processes exchanges in a mutual step, fp32, on {name_of(setting)}",
        {
            "network": TITLES[name],
            "back end": backend,
            "devices": " and ".join(devices),
            "exchanged, MB": 1e-6 * sent,
            "gradients, MB": 1e-6 * size,
            "exchanged / gradients": sent / size,
        },
    )
    sheet.note("One exchange of one set of gradients a step, however many sub-networks it trains, is 1.")

"""The price of shapes that change with every step: in time, and in memory that the allocator keeps."""

from __future__ import annotations

import functools
import json
import os
import statistics
import subprocess
import sys

import torch
from report import Cell, Measurement, Row, Setting, Sheet, use_cores
from step import (
    Bench,
    timed,
)

from gpu_parts.common import (
    ROOT,
    clips_of,
    cudnn_search,
    mixed,
    name_of,
    shown,
    workload,
)


def random_widths(setting: Setting) -> dict[str, Measurement]:
    return {
        "new widths, cudnn.benchmark off": functools.partial(_new_widths, setting, False),
        "allocator": functools.partial(_allocators, setting),
        "new widths, cudnn.benchmark on": functools.partial(_new_widths, setting, True),
    }


def _new_widths(setting: Setting, searches: bool, sheet: Sheet) -> None:
    """Train with the same draws twice: in the first pass every step's shapes are new."""
    load, num_clips = workload(setting, "x3d_m"), clips_of(setting, "x3d_m")
    device = torch.device(setting.device)
    # Other draws for either setting: shapes of an earlier measurement are not new.
    start = 100 if searches else 200
    draws = range(start, start + (1 if setting.is_tiny else 4 if searches else 10))
    bench = Bench.make(load, num_clips, device, mixed(setting), steps=[0, *draws])
    with cudnn_search(searches):
        step = bench.step(mutual=True)
        for _ in range(2):
            timed(device, lambda: step(0))
        passes: list[dict[int, float]] = [{}, {}]
        for times in passes:
            for draw in draws if times is passes[0] else passes[0]:
                if sheet.seconds_left <= 0 and times:
                    break
                times[draw] = timed(device, lambda draw=draw: step(draw))
    both = [draw for draw in passes[0] if draw in passes[1]]
    row: Row = {
        "cudnn.benchmark": "on" if searches else "off",
        "draws": len(both),
        "first pass, ms per step": 1e3 * statistics.mean(passes[0].values()),
        "second pass, ms per step": 1e3 * statistics.mean(passes[1].values()),
        "first / second pass, same draws": sum(passes[0][draw] for draw in both)
        / sum(passes[1][draw] for draw in both),
        "slowest step of the first pass, ms": 1e3 * max(passes[0].values()),
    }
    batch = shown(bench.model.input_shapes(load.space.full), num_clips)
    sheet.row(
        f"X3D-M: mutual steps with new widths, {mixed(setting)}, channels last, {batch}, on {name_of(setting)}", row
    )
    sheet.note(
        "Every draw has three sub-networks of widths that no step before had. Means of single steps; the second pass "
        "takes the same draws again, so that the difference is the price of new shapes."
    )


def _allocators(setting: Setting, sheet: Sheet) -> None:
    """Two processes side by side, as only memory is of interest."""
    options = {"expandable_segments:True": "expandable_segments:True"}
    if not setting.is_tiny:
        options["default"] = ""
    script = str(ROOT / "benchmarks" / "gpu_report.py")
    processes = {}
    for name, value in options.items():
        variables = {**os.environ}
        # The first is torch's name for it since 2.9, the second that of before.
        for variable in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
            variables.pop(variable, None)
            if value:
                variables[variable] = value
        command = [sys.executable, script, "--allocator", setting.device, *(["--tiny"] if setting.is_tiny else [])]
        processes[name] = subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    errors = []
    for name, process in processes.items():
        try:
            printed, complaints = process.communicate(timeout=max(10.0, sheet.seconds_left + 5.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            errors.append(f"{name}: not done in time")
            continue
        if process.returncode:
            errors.append(f"{name}: {complaints[-1500:]}")
            continue
        result = json.loads(printed.splitlines()[-1])
        if setting.device == "cuda":
            sheet.row(result.pop("title"), {"PYTORCH_ALLOC_CONF": name, **result})
    if setting.device == "cpu":
        sheet.note("The steps of the allocator's measurement ran; on a CPU there is no memory of its to count.")
    if errors:
        raise RuntimeError("\n".join(errors))


def allocator_process(setting: Setting) -> None:
    """Run mutual steps of random shapes, and print the allocator's account as a line of JSON."""
    use_cores(setting)
    load = workload(setting, "x3d_m")
    num_clips, num_steps = max(1, clips_of(setting, "x3d_m") // 4), 1 if setting.is_tiny else 30
    device = torch.device(setting.device)
    bench = Bench.make(load, num_clips, device, mixed(setting))
    step = bench.step(mutual=True)
    for draw in range(num_steps):
        step(draw).check_finite()
    counts: dict[str, Cell] = {}
    if device.type == "cuda":
        totals, segments = torch.cuda.memory_stats(), torch.cuda.memory_snapshot()
        allocated, reserved = torch.cuda.max_memory_allocated() / 2**30, torch.cuda.max_memory_reserved() / 2**30
        counts = {
            "peak allocated, GiB": allocated,
            "peak reserved, GiB": reserved,
            "peak reserved / allocated": reserved / allocated,
            "allocations from CUDA": totals.get("num_device_alloc"),
            "freed to CUDA": totals.get("num_device_free"),
            "retries": totals["num_alloc_retries"],
            "segments": len(segments),
            "expandable segments": sum(bool(segment.get("is_expandable")) for segment in segments),
        }
    batch = shown(bench.model.input_shapes(load.space.full), num_clips)
    title = f"X3D-M: memory of {num_steps} mutual steps of random shapes, {mixed(setting)}, channels last, {batch}"
    title += f", on {name_of(setting)}"
    print(json.dumps({"title": title, **counts}))

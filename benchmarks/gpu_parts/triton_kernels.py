"""Triton's kernels: whether they are right, training steps with them and without, their layers.

On a CPU Triton's interpreter runs small layers alone.
"""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import triton_kernels
from report import Measurement, Setting, Sheet
from step import SEED, Bench, arithmetic, timed

from gpu_parts.common import (
    ROOT,
    TITLES,
    clips_of,
    name_of,
    shown,
    time_steps,
    workload,
)
from mutualnet3d.ops import triton_switch

# Number of the first draw of sub-networks that no other part takes: their shapes are new.
NEW_DRAWS = 300
NUM_DRAWS = 4
# Operations that are shown of a step of new widths.
NUM_OPERATIONS = 10
# Largest differences that rounding explains: float32 sums in another order, through all layers and back.
ALLOWED = 1e-3


def kernels(setting: Setting) -> dict[str, Measurement]:
    depthwise = {"depthwise layers": functools.partial(_program, setting, "triton_depthwise.py", "--device", "cuda")}
    if setting.device == "cpu":
        words = ("--precisions", "fp32", "--parts", "layers", "kernels")
        return {
            "norms": functools.partial(_program, setting, "triton_kernels.py", *words),
            "depthwise layers": functools.partial(_program, setting, "triton_depthwise.py", "--device", "cpu"),
        }
    of_layers = {
        f"norm, {layer.name}": functools.partial(
            _with_kernels, setting, functools.partial(triton_kernels.measure_layer, layer, "bf16")
        )
        for layer in (triton_kernels.TINY if setting.is_tiny else triton_kernels.LAYERS)
    }
    steps = {
        f"{TITLES[name]}: {trained}": functools.partial(_steps, setting, name, trained == "mutual step")
        for name, trained in (
            ("x3d_m", "full network"),
            ("x3d_m", "mutual step"),
            ("slow_8x8_r50", "full network"),
            ("slow_8x8_r50", "mutual step"),
            ("x3d_s", "mutual step"),
        )
    }
    return {
        "outputs and gradients of X3D-M": functools.partial(_parity, setting),
        **steps,
        "new widths": functools.partial(_new_draws, setting),
        "what new widths cost": functools.partial(_new_work, setting),
        "kernels that are compiled": functools.partial(_with_kernels, setting, triton_kernels.count_kernels),
        "the host's time": functools.partial(_with_kernels, setting, triton_kernels.time_host),
        **of_layers,
        **depthwise,
    }


def _with_kernels(setting: Setting, measure: Callable[[Setting, triton_kernels.Emit], None], sheet: Sheet) -> None:
    """Run a measurement of `benchmarks/triton_kernels.py`."""
    with triton_switch.switched(True, torch.device(setting.device)):
        measure(setting, sheet.row)


def _parity(setting: Setting, sheet: Sheet) -> None:
    """Outputs and gradients of the networks of a mutual step, in float32, with the kernels and without."""
    device, load = torch.device(setting.device), workload(setting, "x3d_m")
    results: dict[bool, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    for on in (False, True):
        bench = Bench.make(load, 4, device, "fp32", steps=[load.draw])
        with triton_switch.switched(on, device), arithmetic("fp32"):
            results[on] = [_output_and_gradient(bench, config) for config in load.space.at_step(SEED, load.draw)]
    wrong = []
    for config, by_torch, by_kernels in zip(
        load.space.at_step(SEED, load.draw), results[False], results[True], strict=True
    ):
        errors = [((a - b).norm() / b.norm()).item() for a, b in zip(by_kernels, by_torch, strict=True)]
        wrong += [str(config)] if not max(errors) < ALLOWED else []
        sheet.row(
            f"X3D-M with Triton's kernels against without, fp32, 4 clips, on {name_of(setting)}",
            {
                "sub-network": str(config),
                "difference of outputs": errors[0],
                "of all parameters' gradients": errors[1],
                "allowed": ALLOWED,
                "verdict": "right" if max(errors) < ALLOWED else "WRONG",
            },
        )
    sheet.note("Differences are ‖with - without‖ / ‖without‖.")
    if wrong:
        raise ArithmeticError(f"wrong with MODEL.TRITON: {', '.join(wrong)}")


def _output_and_gradient(bench: Bench, config: object) -> tuple[torch.Tensor, torch.Tensor]:
    model = bench.model
    model.zero_grad(set_to_none=True)
    torch.manual_seed(SEED)  # of dropout
    with model.active(config):
        logits = model(bench.prepare(bench.batch, config))
        logits.square().sum().backward()
    gradients = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    return logits.detach(), torch.cat(gradients)


def _steps(setting: Setting, name: str, mutual: bool, sheet: Sheet) -> None:
    """Training steps in bf16 with the kernels and without, in one process one after the other."""
    device, load, num_clips = torch.device(setting.device), workload(setting, name), clips_of(setting, name)
    bench = Bench.make(load, num_clips, device, "bf16", steps=[load.draw])
    batch = shown(bench.model.input_shapes(load.space.full), num_clips)
    for on in (False, True):
        with triton_switch.switched(on, device):
            step = bench.step(mutual)
            times = time_steps(setting, functools.partial(step, load.draw))
        sheet.row(
            f"{TITLES[name]}: steps with MODEL.TRITON and without, bf16, channels last, {batch}, on {name_of(setting)}",
            {
                "trained": "mutual step" if mutual else "full network",
                "MODEL.TRITON": str(on),
                "clips/s": num_clips / times.median,
                "ms per step": 1e3 * times.median,
                "host, ms": 1e3 * statistics.median(times.host_seconds),
                "peak memory, GiB": None if times.peak_bytes is None else times.peak_bytes / 2**30,
                "first step, s": times.first_seconds,
            },
        )
    sheet.note("The first step compiles kernels, but for those that Triton has kept on the disk.")


def _new_draws(setting: Setting, sheet: Sheet) -> None:
    """Mutual steps whose sub-networks are new, then the same again: the price of shapes that no step had before."""
    device, load, num_clips = torch.device(setting.device), workload(setting, "x3d_m"), clips_of(setting, "x3d_m")
    for on in (False, True):
        first = NEW_DRAWS + NUM_DRAWS * on
        draws = range(first, first + NUM_DRAWS)
        bench = Bench.make(load, num_clips, device, "bf16", steps=[0, *draws])
        with triton_switch.switched(on, device):
            step = bench.step(mutual=True)
            for _ in range(2):
                timed(device, functools.partial(step, 0))
            before = triton_kernels.compiled()
            passes, allocations = [], [_device_allocations()]
            for _ in range(2):
                passes.append([timed(device, functools.partial(step, draw)) for draw in draws])
                allocations.append(_device_allocations())
        sheet.row(
            f"X3D-M: mutual steps of new widths, bf16, channels last, on {name_of(setting)}",
            {
                "MODEL.TRITON": str(on),
                "draws": len(draws),
                "first pass, ms per step": 1e3 * statistics.mean(passes[0]),
                "second pass, ms per step": 1e3 * statistics.mean(passes[1]),
                "slowest step of the first pass, ms": 1e3 * max(passes[0]),
                "the GPU's allocations in the first pass": allocations[1] - allocations[0],
                "in the second": allocations[2] - allocations[1],
                "norms' kernels before": before,
                "norms' kernels after": triton_kernels.compiled(),
            },
        )


def _device_allocations() -> int:
    """Return how often torch's allocator has asked the GPU for memory."""
    return torch.cuda.memory_stats()["num_device_alloc"]


def _new_work(setting: Setting, sheet: Sheet) -> None:
    """Operations of a mutual step of new widths that cost the host most, beside the same step again."""
    device, load, num_clips = torch.device(setting.device), workload(setting, "x3d_m"), clips_of(setting, "x3d_m")
    draw = NEW_DRAWS + 2 * NUM_DRAWS
    bench = Bench.make(load, num_clips, device, "bf16", steps=[0, draw])
    passes: list[dict[str, float]] = []
    with triton_switch.switched(True, device):
        step = bench.step(mutual=True)
        timed(device, lambda: step(0))
        for _ in range(2):
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
                timed(device, lambda: step(draw))
            passes.append({event.key: 1e-3 * event.self_cpu_time_total for event in profile.key_averages()})
    first, second = passes
    for name in sorted(first, key=lambda name: second.get(name, 0.0) - first[name])[:NUM_OPERATIONS]:
        sheet.row(
            f"X3D-M: host's time of operations in a mutual step of new widths, MODEL.TRITON, profiled, on "
            f"{name_of(setting)}",
            {"operation": name, "first time, ms": first[name], "again, ms": second.get(name, 0.0)},
        )


def _program(setting: Setting, script: str, *words_and_sheet: Any) -> None:
    """Add the output of a benchmark to the sheet, which runs in a process of its own.

    Kernels of one process are either compiled or interpreted, and the depthwise benchmark starts processes itself.
    """
    *words, sheet = words_and_sheet
    is_interpreted, started = setting.device == "cpu", time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), *words, *(["--tiny"] if setting.is_tiny else [])],
        env={**os.environ, **({"TRITON_INTERPRET": "1"} if is_interpreted else {})},
        capture_output=True,
        text=True,
        timeout=max(20.0, sheet.seconds_left),
    )
    sheet.text(f"benchmarks/{script}, on {name_of(setting)}", done.stdout)
    if done.returncode:
        raise RuntimeError(done.stderr[-1500:])
    sheet.row(
        f"Benchmarks of Triton's kernels, in processes of their own, on {name_of(setting)}",
        {
            "program": script,
            "kernels": "interpreted" if is_interpreted else "compiled",
            "seconds": time.perf_counter() - started,
        },
    )
    if is_interpreted:
        sheet.note("Training steps with Triton's kernels need an NVIDIA GPU: on a CPU they are not measured.")

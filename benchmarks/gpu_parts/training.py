"""Training steps: pytorchvideo's network in a plain loop, the full network alone, the mutual step."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from report import Measurement, Row, Setting, Sheet
from step import (
    SEED,
    Bench,
    arithmetic,
    pytorchvideo_loop,
)

import mutualnet3d as m3
from gpu_parts.common import (
    FORMATS,
    TITLES,
    clips_of,
    cudnn_search,
    device_in,
    key_of,
    name_of,
    precisions,
    ratio,
    shown,
    time_steps,
    workload,
)

PYTORCHVIDEO, STATIC, MUTUAL = "full network, pytorchvideo in a plain loop", "full network", "mutual step"


@dataclass(frozen=True)
class StepCase:
    """A training step to time."""

    name: str
    precision: str
    trained: str
    memory_format: str
    searches: bool = False

    def __str__(self) -> str:
        search = ", cudnn.benchmark on" if self.searches else ""
        return f"{TITLES[self.name]}, {self.precision}: {self.trained}, {self.memory_format}{search}"


def training_steps(setting: Setting) -> dict[str, Measurement]:
    order: list[tuple[str, tuple[str, ...]]] = [
        ("x3d_m", ("bf16", "tf32", "fp32")),
        ("slow_8x8_r50", ("bf16", "tf32", "fp32")),
        ("slowfast_4x16_r50", ("bf16", "tf32")),
        ("x3d_s", ("bf16", "tf32")),
        ("x3d_m", ("fp16",)),
        ("slow_8x8_r50", ("fp16",)),
        ("slowfast_4x16_r50", ("fp32", "fp16")),
        ("x3d_s", ("fp32", "fp16")),
    ]
    if setting.is_tiny:
        order = [("x3d_m", ("fp32",))]
    ways = (
        (PYTORCHVIDEO, "contiguous"),
        (STATIC, "channels last"),
        (MUTUAL, "channels last"),
        (STATIC, "contiguous"),
        (MUTUAL, "contiguous"),
    )
    cases = [
        StepCase(name, precision, trained, memory_format)
        for name, in_turn in order
        for precision in precisions(setting, *in_turn)
        for trained, memory_format in (ways[:3] if setting.is_tiny else ways)
    ]
    searched = [(name, precision) for precision in ("bf16", "tf32") for name in ("x3d_m", "slow_8x8_r50")]
    searched_ways: tuple[tuple[str, str], ...] = (ways[0], ways[1], ways[3])
    if setting.is_tiny:
        searched, searched_ways = [("x3d_m", "fp32")], ways[1:2]
    cases += [
        StepCase(name, precision, trained, memory_format, searches=True)
        for name, precision in searched
        for trained, memory_format in searched_ways
    ]
    bench_of = functools.lru_cache(maxsize=1)(functools.partial(bench_with_cost, setting))
    return {str(case): functools.partial(_time_case, setting, bench_of, case) for case in cases}


def bench_with_cost(setting: Setting, name: str) -> tuple[Bench, float]:
    """The bench of a network, with the shapes of its typical draw, and the multiply-adds of that over the full
    network's."""
    load = workload(setting, name)
    num_clips = clips_of(setting, name)
    bench = Bench.make(load, num_clips, torch.device(setting.device), "fp32", steps=[load.draw])
    costs = [m3.multiply_adds(bench.model, config) for config in load.space.at_step(SEED, load.draw)]
    return bench, sum(costs) / costs[0]


def _time_case(setting: Setting, bench_of: Callable[[str], tuple[Bench, float]], case: StepCase, sheet: Sheet) -> None:
    bench, relative_cost = bench_of(case.name)
    load, num_clips = workload(setting, case.name), len(bench.batch)
    bench.precision = case.precision
    bench.use(FORMATS[case.memory_format])
    bench.model.zero_grad(set_to_none=True)
    last: list[Any] = []
    with arithmetic(case.precision), cudnn_search(case.searches):
        run = (
            pytorchvideo_loop(bench, case.name)
            if case.trained == PYTORCHVIDEO
            else bench.step(mutual=case.trained == MUTUAL)
        )

        def step() -> None:
            last[:] = [run(load.draw)]

        times = time_steps(setting, step)
    losses = [last[0].item()] if isinstance(last[0], torch.Tensor) else list(last[0].losses.values())
    is_finite = all(abs(loss) < float("inf") for loss in losses)
    adds = m3.multiply_adds(bench.model, load.space.full) * (relative_cost if case.trained == MUTUAL else 1.0)
    batch = shown(bench.model.input_shapes(load.space.full), num_clips)
    sheet.row(
        f"{TITLES[case.name]}: training steps of {batch}, on {name_of(setting)}",
        {
            "trained": case.trained,
            "precision": case.precision,
            "format": case.memory_format,
            "cudnn.benchmark": "on" if case.searches else "off",
            "clips/s": num_clips / times.median,
            "ms per step": 1e3 * times.median,
            "fastest ms": 1e3 * min(times.seconds),
            "slowest ms": 1e3 * max(times.seconds),
            "steps timed": len(times.seconds),
            "first step, ms": 1e3 * times.first_seconds,
            "host, ms": 1e3 * statistics.median(times.host_seconds),
            "peak memory, GiB": None if times.peak_bytes is None else times.peak_bytes / 2**30,
            "TFLOP/s": 6e-12 * adds * num_clips / times.median,
            "multiply-adds / full network's": relative_cost if case.trained == MUTUAL else 1.0,
            "losses": "finite" if is_finite else "NOT FINITE",
        },
    )
    configs = ", ".join(map(key_of, load.space.at_step(SEED, load.draw)))
    resident = sum(clip.numel() for clip in bench.batch.clips.values()) / 2**30
    sheet.note(f"{TITLES[case.name]}'s mutual step is of {configs}; its uint8 clips take {resident:.3f} GiB.")
    sheet.note(
        "Medians of steps that are timed one by one with nothing else on the device, without loading data; "
        "cudnn.benchmark is off unless a row says otherwise. 'full network' and 'mutual step' are mutualnet3d's, which "
        "gets uint8 clips and normalises them in the step; the plain loop gets float clips, contiguous, and has "
        "torch's default SGD. 'host': time until the host has handed the step over. 'peak memory': of torch's "
        "allocator, with weights, optimizer and the uint8 clips of all rows (in the plain loop's rows mutualnet3d's "
        "weights too). TFLOP/s: 6 times the multiply-adds, of SlowFast's mutual step with the Fast pathway counted in "
        "every sub-network, though it runs once."
    )
    if not is_finite:
        raise FloatingPointError(f"losses of the last step: {losses}")


def training_summary(tables: Mapping[str, Sequence[Row]]) -> dict[str, list[Row]]:
    """Ratios to pytorchvideo's network, and of mutual to static, by network and precision."""
    rows: list[Row] = []
    for title, measured in tables.items():
        for precision, search in dict.fromkeys((row["precision"], row["cudnn.benchmark"]) for row in measured):
            by_kind = {
                (row["trained"], row["format"]): row
                for row in measured
                if (row["precision"], row["cudnn.benchmark"]) == (precision, search)
            }
            pytorchvideo = by_kind.get((PYTORCHVIDEO, "contiguous"), {})
            row: Row = {
                "network": title.rpartition(", on ")[0].replace(": training steps of ", ", "),
                "precision": precision,
                "cudnn.benchmark": search,
                "pytorchvideo, clips/s": pytorchvideo.get("clips/s"),
            }
            for name in FORMATS:
                static = by_kind.get((STATIC, name), {})
                row[f"static / pytorchvideo, clips/s, {name}"] = ratio(
                    static.get("clips/s"), pytorchvideo.get("clips/s")
                )
            for name in FORMATS:
                static, mutual = (by_kind.get((trained, name), {}) for trained in (STATIC, MUTUAL))
                row[f"mutual / static, time, {name}"] = ratio(mutual.get("ms per step"), static.get("ms per step"))
            costs = [
                own["multiply-adds / full network's"] for (trained, _), own in by_kind.items() if trained == MUTUAL
            ]
            row["mutual / static, multiply-adds"] = costs[0] if costs else None
            if pytorchvideo or costs:
                rows.append(row)
    return {f"Training steps, ratios of the rows below, on {device_in(next(iter(tables)))}": rows} if rows else {}

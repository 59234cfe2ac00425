"""Limits of the card, slowest kernels, and the bytes that a training step has to move."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from report import Measurement, Row, Setting, Sheet
from step import (
    Bench,
    kernel_times,
    wait,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import mutualnet3d as m3
from gpu_parts.common import (
    FORMATS,
    milliseconds,
    mixed,
    name_of,
    nvidia_smi,
    ratio,
    shown,
    time_steps,
    workload,
)
from gpu_parts.training import MUTUAL, STATIC, bench_with_cost

COPY, PRODUCT = "copy on the device, bytes read and written", "product of square bf16 matrices"


def limits(setting: Setting) -> dict[str, Measurement]:
    measurements: dict[str, Measurement] = {"copy and product": functools.partial(_ceilings, setting)}
    bench_of = functools.lru_cache(maxsize=1)(functools.partial(bench_with_cost, setting))
    for trained in (MUTUAL, STATIC):
        for name in ("channels last",) if setting.is_tiny else FORMATS:
            measurements[f"{trained}, {name}"] = functools.partial(_account, setting, bench_of, trained, name)
    return measurements


def _ceilings(setting: Setting, sheet: Sheet) -> None:
    device = torch.device(setting.device)
    num_bytes, side, seconds = (2**26, 512, 0.1) if setting.is_tiny else (2**32, 8192, 0.5)
    source = torch.randint(0, 256, (num_bytes // 2,), dtype=torch.uint8, device=device)
    took = milliseconds(device, functools.partial(torch.empty_like(source).copy_, source), seconds)
    title = f"Limits, on {name_of(setting)}"
    sheet.row(
        title, {"measure": COPY, "size": f"{num_bytes / 2**30:g} GiB", "value": 1e-6 * num_bytes / took, "unit": "GB/s"}
    )
    del source
    left, right = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    took = milliseconds(device, lambda: left @ right, seconds)
    row: Row = {"measure": PRODUCT, "size": f"{side} x {side}", "value": 2e-9 * side**3 / took, "unit": "TFLOP/s"}
    sheet.row(title, row)
    answers = nvidia_smi("clocks.sm,clocks.mem,power.draw,temperature.gpu") if setting.device == "cuda" else []
    if answers:
        sheet.note(f"nvidia-smi after these (clocks.sm, clocks.mem, power.draw, temperature): {', '.join(answers)}.")


class ByteCounter(TorchDispatchMode):
    """Bytes of the operators that run inside: of each operator its tensors, read or written, once.

    Views are not counted, nor is memory that is only reserved. An operator that reads its input twice (batch norm in
    training), and one whose input is still in a cache, are counted all the same: it is what plain kernels have to move.
    """

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes: dict[str, int] = {}
        self.calls: dict[str, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        inputs = _tensors((args, kwargs or {}))
        outputs = _tensors(result)
        written = [
            value
            for argument, value in zip(func._schema.arguments, args, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        if not written:
            own = {tensor.untyped_storage().data_ptr() for tensor in inputs}
            is_view = bool(outputs) and all(tensor.untyped_storage().data_ptr() in own for tensor in outputs)
            if func.is_view or is_view or name.startswith(("empty", "new_empty")):
                return result
        if name in ("zero_", "fill_", "copy_"):
            inputs = inputs[1:]  # the first is overwritten, not read
        moved = sum(map(_num_bytes, inputs)) + sum(map(_num_bytes, outputs or _tensors(written)))
        self.num_bytes[name] = self.num_bytes.get(name, 0) + moved
        self.calls[name] = self.calls.get(name, 0) + 1
        return result


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _num_bytes(tensor: torch.Tensor) -> int:
    """Bytes of its elements; of an expanded one those that it has."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _account(
    setting: Setting,
    bench_of: Callable[[str], tuple[Bench, float]],
    trained: str,
    format_name: str,
    sheet: Sheet,
) -> None:
    """Time, kernels and bytes of a step of X3D-M in mixed precision."""
    bench, relative_cost = bench_of("x3d_m")
    load = workload(setting, "x3d_m")
    num_clips = len(bench.batch)
    bench.precision = mixed(setting)
    bench.use(FORMATS[format_name])
    step = functools.partial(bench.step(mutual=trained == MUTUAL), load.draw)
    times = time_steps(setting, step)
    kernels = kernel_times(bench.device, step)
    counter = ByteCounter()
    with counter:
        step()
    wait(bench.device)
    adds = m3.multiply_adds(bench.model, load.space.full) * (relative_cost if trained == MUTUAL else 1.0)
    batch = f"{bench.precision}, {shown(bench.model.input_shapes(load.space.full), num_clips)}"
    total, moved = sum(kernel.milliseconds for kernel in kernels), sum(counter.num_bytes.values())
    is_gpu = setting.device == "cuda"
    sheet.row(
        f"Training steps of X3D-M, {batch}, on {name_of(setting)}",
        {
            "trained": trained,
            "format": format_name,
            "ms per step": 1e3 * times.median,
            "ms in kernels": total if is_gpu else None,
            "kernels": sum(kernel.calls for kernel in kernels) if is_gpu else None,
            "bytes of all operators, GB": 1e-9 * moved,
            "operators": sum(counter.calls.values()),
            "6 x multiply-adds, TFLOP": 6e-12 * adds * num_clips,
        },
    )
    sheet.note(
        "Bytes: each operator's input and output tensors once, as if no cache kept anything and no kernel read twice; "
        "kernels that join operators would move less."
    )
    if trained == STATIC:
        return
    what = f"X3D-M's mutual step, {format_name}, {batch}, on {name_of(setting)}"
    kind = "kernels" if is_gpu else "operators"
    for kernel in sorted(kernels, key=lambda kernel: -kernel.milliseconds)[:12]:
        row: Row = {"name": kernel.name[:110], "calls": kernel.calls, "ms": kernel.milliseconds}
        sheet.row(f"Slowest {kind} of {what}", {**row, "% of all": 100 * kernel.milliseconds / total})
    if format_name == "channels last":
        for name, num_bytes in sorted(counter.num_bytes.items(), key=lambda item: -item[1])[:10]:
            row = {"operator": name, "calls": counter.calls[name], "GB": 1e-9 * num_bytes}
            sheet.row(f"Bytes of operators of {what}", {**row, "% of all": 100 * num_bytes / moved})


def limits_summary(tables: Mapping[str, Sequence[Row]]) -> dict[str, list[Row]]:
    """Times of steps over those that the card's limits allow."""
    values = {row["measure"]: row["value"] for rows in tables.values() for row in rows if "measure" in row}
    rows: list[Row] = []
    for measured in tables.values():
        for row in measured:
            moved, work, took = (
                row.get(key) for key in ("bytes of all operators, GB", "6 x multiply-adds, TFLOP", "ms per step")
            )
            if not all(isinstance(value, float) for value in (moved, work, took)):
                continue
            by_bytes, by_work = ratio(moved, values.get(COPY)), ratio(work, values.get(PRODUCT))
            rows.append(
                {
                    "trained": row["trained"],
                    "format": row["format"],
                    "measured, ms": took,
                    "bytes at the copy's speed, ms": None if by_bytes is None else 1e3 * by_bytes,
                    "arithmetic at the product's speed, ms": None if by_work is None else 1e3 * by_work,
                    "measured / bytes": None if by_bytes is None else ratio(took, 1e3 * by_bytes),
                }
            )
    title = next((title for title in tables if title.startswith("Training steps")), "")
    return {title.replace(", on ", ", against the limits, on "): rows} if rows else {}

"""Forward passes in evaluation, and calibration before them."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from report import Cell, Measurement, Row, Setting, Sheet
from step import (
    AUTOCAST,
    SEED,
    arithmetic,
    network_of,
    pytorchvideos_network,
    random_batch,
    wait,
)
from torch import nn

from gpu_parts.common import (
    FORMATS,
    TITLES,
    device_in,
    milliseconds,
    name_of,
    number,
    precisions,
    ratio,
    workload,
)
from mutualnet3d.mutual import calibrate
from mutualnet3d.shapes import ClipBatch, SubnetConfig

PASSES = "forward passes in evaluation"
TWIN, EXTRACTED, SWITCHED = "pytorchvideo", "mutualnet3d, extracted, norms folded", "mutualnet3d, switched"
SMALL = {"x3d_m": SubnetConfig(0.63, 160, 10), "slow_8x8_r50": SubnetConfig(0.63, 160, 5)}


def inference(setting: Setting) -> dict[str, Measurement]:
    names = ("x3d_m",) if setting.is_tiny else ("x3d_m", "slow_8x8_r50")
    batches = (2,) if setting.is_tiny else (1, 8, 64)
    networks_of = functools.lru_cache(maxsize=1)(functools.partial(_deployed, setting))
    measurements: dict[str, Measurement] = {
        f"{TITLES[name]}, {precision}, batch {num_clips}": functools.partial(
            _time_inference, setting, networks_of, name, precision, num_clips
        )
        for name in names
        for precision in precisions(setting, *(("fp32",) if setting.device == "cpu" else ()), "bf16", "tf32")
        for num_clips in batches
    }
    measurements["calibration"] = functools.partial(_check_calibration, setting)
    return measurements


@dataclass(frozen=True)
class Deployed:
    """Networks of the same weights, in evaluation: a slimmable one, and its configs as networks of their own."""

    model: Any
    twin: nn.Module
    extracted: dict[SubnetConfig, nn.Module]


def _random_network(setting: Setting, name: str) -> tuple[Any, list[SubnetConfig]]:
    """A network of random weights on the CPU, and the configs that are measured: the full one and a small one."""
    torch.manual_seed(SEED)
    model = network_of(workload(setting, name))
    for _, norm in model.norms():  # a new network's blocks are their shortcuts alone
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    model.to(memory_format=torch.channels_last_3d).eval()
    return model, [model.full, SubnetConfig(0.63, 32, 2) if setting.is_tiny else SMALL[name]]


def _calibrate(model: Any, configs: Sequence[SubnetConfig], num_clips: int) -> None:
    """Calibrate on random clips, the same on every device."""

    def prepare(batch: ClipBatch, config: SubnetConfig) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(SEED)
        device = next(model.parameters()).device
        return [clip.to(device) for clip in _float_clips(model, config, len(batch), generator)]

    calibrate(model, configs, [random_batch([], num_clips)], prepare)


def _deployed(setting: Setting, name: str) -> Deployed:
    model, configs = _random_network(setting, name)
    _calibrate(model, configs, 1)  # before it moves: numbers do not depend on the device's calibration
    device = torch.device(setting.device)
    model.to(device)
    twin = pytorchvideos_network(name, model.full_clip).to(device).eval()
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        for norm_name, (mean, variance) in model.statistics[model.full].items():
            norm: Any = twin.get_submodule(norm_name)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
    return Deployed(model, twin, {config: model.extract(config, fold_norms=True) for config in configs})


def _check_calibration(setting: Setting, sheet: Sheet) -> None:
    """Batch-norm statistics that the device finds, against the CPU's."""
    model, configs = _random_network(setting, "x3d_m")
    _calibrate(model, configs, 2)
    expected = dict(model.statistics)
    model.to(torch.device(setting.device))
    started = time.perf_counter()
    with arithmetic("fp32"):
        _calibrate(model, configs, 2)
        wait(torch.device(setting.device))
    took = time.perf_counter() - started
    for config in configs:
        pairs = [
            (model.statistics[config][norm_name][part].cpu(), right[part])
            for norm_name, right in expected[config].items()
            for part in (0, 1)
        ]
        errors = [((result - right).norm() / right.norm()).item() for result, right in pairs]
        sheet.row(
            f"X3D-M: calibration of batch norms on 2 clips, fp32, against the CPU's, on {name_of(setting)}",
            {
                "sub-network": str(config),
                "largest relative error of a layer": max(errors),
                "median relative error": statistics.median(errors),
                "seconds, both sub-networks": took,
            },
        )


def _float_clips(
    model: Any, config: SubnetConfig, num_clips: int, generator: torch.Generator | None = None
) -> list[torch.Tensor]:
    """Random clips on the CPU, one for each pathway."""
    shapes = [(num_clips, 3, shape.frames, shape.size, shape.size) for shape in model.input_shapes(config)]
    return [torch.randn(shape, generator=generator) for shape in shapes]


@torch.no_grad()
def _time_inference(
    setting: Setting,
    networks_of: Callable[[str], Deployed],
    name: str,
    precision: str,
    num_clips: int,
    sheet: Sheet,
) -> None:
    deployed, device = networks_of(name), torch.device(setting.device)
    seconds = 0.05 if setting.is_tiny else 0.2
    full, small = deployed.extracted
    clips = {
        config: [clip.to(device) for clip in _float_clips(deployed.model, config, num_clips)]
        for config in deployed.extracted
    }
    cases = [
        (TWIN, full, "contiguous"),
        (EXTRACTED, full, "channels last"),
        (EXTRACTED, full, "contiguous"),
        (SWITCHED, full, "channels last"),
        (EXTRACTED, small, "channels last"),
        (EXTRACTED, small, "contiguous"),
        (SWITCHED, small, "channels last"),
    ]
    with arithmetic("fp32"):
        exact = _logits(deployed, deployed.twin, clips[full][0], full, "fp32")
    for network_name, config, format_name in cases:
        memory_format = FORMATS[format_name]
        inputs = [clip.contiguous(memory_format=memory_format) for clip in clips[config]]
        network = {TWIN: deployed.twin, EXTRACTED: deployed.extracted[config], SWITCHED: deployed.model}[network_name]
        network.to(memory_format=memory_format)
        arguments = inputs[0] if network_name == TWIN else inputs
        run = functools.partial(_logits, deployed, network, arguments, config, precision)
        with arithmetic(precision):
            logits_BK = run()
            took = milliseconds(device, run, seconds)
        error: Cell = ""
        if config == full:
            error = ((logits_BK - exact).abs().max() / exact.abs().max()).item()
        sheet.row(
            f"{TITLES[name]}: {PASSES}, on {name_of(setting)}",
            {
                "network": network_name,
                "sub-network": str(config),
                "precision": precision,
                "format": format_name,
                "clips a pass": num_clips,
                "ms per clip": took / num_clips,
                "ms per pass": took,
                "clips/s": 1e3 * num_clips / took,
                "largest error of logits": error,
            },
        )
    sheet.note(
        "Medians; clips are float tensors on the device in the format of the row; bf16 by autocast, weights in "
        "float32. 'switched': the slimmable network with one set of weights, as the back end pytorch runs it; "
        "'extracted': the sub-network as a network of its own. Errors of logits are against pytorchvideo's network in "
        "float32, over its largest logit; weights are random, which makes bfloat16's errors larger than a trained "
        "network's. Sub-networks of other clips have none."
    )


def _logits(
    deployed: Deployed, network: nn.Module, arguments: Any, config: SubnetConfig, precision: str
) -> torch.Tensor:
    device_type = "cuda" if next(network.parameters()).is_cuda else "cpu"
    is_mixed = AUTOCAST[precision] is not None
    with deployed.model.active(config), torch.autocast(device_type, AUTOCAST[precision], is_mixed):
        return network(arguments).float()


def inference_summary(tables: Mapping[str, Sequence[Row]]) -> dict[str, list[Row]]:
    """The fastest way of mutualnet3d over pytorchvideo's network, by precision and batch."""
    rows: list[Row] = []
    timed_tables = {title: measured for title, measured in tables.items() if PASSES in title}
    for title, measured in timed_tables.items():
        for precision, num_clips in dict.fromkeys((row["precision"], row["clips a pass"]) for row in measured):
            of_pass = [row for row in measured if (row["precision"], row["clips a pass"]) == (precision, num_clips)]
            pytorchvideo = next((row for row in of_pass if row["network"] == TWIN), None)
            if pytorchvideo is None:
                continue
            for config in dict.fromkeys(row["sub-network"] for row in of_pass):
                others = [row for row in of_pass if row["network"] != TWIN and row["sub-network"] == config]
                if not others:
                    continue
                best = min(others, key=lambda row: number(row["ms per clip"]))
                rows.append(
                    {
                        "network": title.split(":")[0],
                        "precision": precision,
                        "clips a pass": num_clips,
                        "sub-network": config,
                        "fastest": f"{best['network']}, {best['format']}",
                        "ms per clip": best["ms per clip"],
                        "pytorchvideo's full network, ms per clip": pytorchvideo["ms per clip"],
                        "times as fast": ratio(pytorchvideo["ms per clip"], best["ms per clip"]),
                    }
                )
    return {f"Inference, the fastest of the rows below, on {device_in(next(iter(timed_tables)))}": rows} if rows else {}

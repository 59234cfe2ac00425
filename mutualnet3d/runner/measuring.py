"""Times of a query table on the device at hand, measured on blank clips; no data are needed."""

from __future__ import annotations

from functools import partial

import torch

from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy.backends import torch_threads
from mutualnet3d.deploy.clip_network import normalize_of
from mutualnet3d.deploy.load import build_network_of, check_same, load_model_file
from mutualnet3d.deploy.upgrade_model_file import MODEL_FILE_HINT
from mutualnet3d.engine.evaluate import evaluation_forward
from mutualnet3d.results.latency import device_name, measure_latencies, measure_passes
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.results.row_times import passes_of
from mutualnet3d.runner.session import blank_clips


def measure_latency(
    table: QueryTable,
    checkpoint: str,
    *,
    device: torch.device,
    threads: int | None,
    batch_size: int,
    num_runs: int,
) -> QueryTable:
    """Return the table with the milliseconds of this machine; accuracy and multiply-adds do not depend on it.

    A row's milliseconds are the time of a forward pass of the whole batch, for which a caller waits, not a clip's part
    of it. The milliseconds of a video are those of a pass of all views of a batch of videos. The facts of the back end
    have the conditions: device, threads, batch_size, latency_runs.

    Args:
        table: query table of a test run.
        checkpoint: path of the run's calibrated.pyth.
        device: device that the network runs on.
        threads: number of PyTorch's threads during the measurement; None: as many as it has.
        batch_size: number of clips of a forward pass, or of videos.
        num_runs: number of timed passes of each sub-network, of which the median counts.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: a number is below 1; torch sees no GPU although the device is one; the checkpoint is not the
            table's, is no model file that this release can read, or lacks statistics of a sub-network of the table.
    """
    for name, number in (("threads", threads), ("batch_size", batch_size), ("num_runs", num_runs)):
        if number is not None and number < 1:
            raise ValueError(f"{name} is {number}; allowed: 1 or more")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {device}, but torch sees no GPU here; allowed: cpu")
    model_file = load_model_file(checkpoint)
    check_same(table, checkpoint)
    model = build_network_of(model_file, checkpoint)
    model.to(device, memory_format=model_file.memory_format)  # type: ignore[call-overload]
    configs = [row.config for row in table.default_rows]
    missing = [str(config) for config in configs if not model.can_evaluate(config)]
    if missing:
        raise ValueError(f"{checkpoint}: no statistics of {', '.join(missing)}; {MODEL_FILE_HINT}")
    preprocessing = Preprocessing.from_json(model_file.preprocessing, checkpoint)
    normalize = normalize_of(preprocessing, model_file.memory_format).to(device)
    make_clips = partial(blank_clips, model, normalize, device)
    with torch_threads(threads), evaluation_forward(model) as forward:
        latencies = measure_latencies(
            forward, configs, lambda config: make_clips(config, batch_size), device, num_rounds=num_runs
        )
        passes = measure_passes(
            forward,
            passes_of((row.config, row.views) for row in table.query_rows),
            lambda config, num_clips: make_clips(config, num_clips * batch_size),
            device,
            num_rounds=num_runs,
        )
        return table.with_milliseconds(
            latencies.milliseconds,
            latencies.unsettled | passes.unsettled,
            passes.milliseconds,
            device=device_name(device),
            threads=torch.get_num_threads(),
            batch_size=batch_size,
            latency_runs=num_runs,
            milliseconds_of="one forward pass of the whole batch",
        )

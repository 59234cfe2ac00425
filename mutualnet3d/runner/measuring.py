"""measure_latency(table, checkpoint): a query table's times on the device at hand, by blank clips; no data needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch

from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy.clip_network import normalize_of
from mutualnet3d.deploy.load import build_network_of, check_same, load_model_file
from mutualnet3d.deploy.upgrade_model_file import MODEL_FILE_HINT
from mutualnet3d.results.latency import device_name, measure_milliseconds
from mutualnet3d.results.query_table import QueryTable
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
    """The table with the milliseconds of this machine: accuracy and multiply-adds are the same everywhere, times not.

    A row's milliseconds are the time of one forward pass, of the whole batch: what a caller waits for, not what a clip
    costs. The context says on what: device, threads, batch_size, latency_runs.

    Args:
        table: of a test run.
        checkpoint: the calibrated.pyth that the run wrote beside it.
        device: where the network runs.
        threads: of PyTorch, while it is measured; None: as many as it has.
        batch_size: clips of a forward pass.
        num_runs: how often each sub-network is timed; the median counts.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: a number is below 1; torch sees no GPU and one is asked for; the checkpoint is not the table's,
            no model file that this release can read, or has no statistics of one of the table's sub-networks.
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
    missing = [str(row.config) for row in table.rows if not model.can_evaluate(row.config)]
    if missing:
        raise ValueError(f"{checkpoint}: no statistics of {', '.join(missing)}; {MODEL_FILE_HINT}")
    preprocessing = Preprocessing.from_json(model_file.preprocessing, checkpoint)
    normalize = normalize_of(preprocessing, model_file.memory_format).to(device)
    make_clips = partial(blank_clips, model, normalize, device, num_clips=batch_size)
    with _threads(threads):
        milliseconds = measure_milliseconds(model, [row.config for row in table.rows], make_clips, device, num_runs)
        return table.with_milliseconds(
            milliseconds,
            device=device_name(device),
            threads=torch.get_num_threads(),
            batch_size=batch_size,
            latency_runs=num_runs,
            milliseconds_of="one forward pass of the whole batch",
        )


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """So many threads inside the block."""
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)

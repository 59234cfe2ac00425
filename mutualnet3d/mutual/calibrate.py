"""Batch-norm statistics of sub-networks, recomputed after training (TPAMI 2022, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch

from mutualnet3d.mutual.step import Switchable
from mutualnet3d.ops import Moments
from mutualnet3d.shapes import ClipBatch, SubnetConfig


class Calibratable(Switchable, Protocol):
    """What calibration needs of a network."""

    training: bool

    def train(self, mode: bool = True) -> object: ...

    def collecting(self, moments: dict[str, Moments]) -> AbstractContextManager[None]: ...

    def set_statistics(
        self, config: SubnetConfig, statistics: dict[str, tuple[torch.Tensor, torch.Tensor]]
    ) -> None: ...


@torch.no_grad()
def calibrate(
    model: Calibratable,
    configs: Sequence[SubnetConfig],
    batches: Iterable[ClipBatch],
    prepare: Callable[[ClipBatch, SubnetConfig], Sequence[torch.Tensor]],
    sum_over_processes: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> int:
    """Give each of `configs` the statistics of its own width, size and frames.

    One pass: every batch is decoded once and run by all configs. A batch is normalised with its own statistics, and
    what a batch norm sees is averaged exactly over all batches (no momentum). Weights and tracked statistics stay.

    Args:
        model: the network; afterwards it can evaluate `configs`.
        configs: the sub-networks, the full network among them if it is to be calibrated too.
        batches: training clips, in every shape that `configs` need.
        prepare: a batch and a config to the network's input.
        sum_over_processes: of a job whose processes have batches each, whose statistics are to be those of all batches:
            gives the sum of a float64 tensor of theirs.

    Returns:
        The number of clips that were used.

    Raises:
        ValueError: no batch came.
    """
    moments: dict[SubnetConfig, dict[str, Moments]] = {config: {} for config in configs}
    num_clips = 0
    was_training = model.training
    model.train(False)  # dropout off
    try:
        for batch in batches:
            num_clips += len(batch)
            for config, of_norm in moments.items():
                with model.active(config), model.collecting(of_norm):
                    model(prepare(batch, config))
    finally:
        model.train(was_training)
    if not num_clips:
        raise ValueError("calibration got no batch; it needs at least one of training clips")
    if sum_over_processes is not None:
        num_clips = int(sum_over_processes(torch.tensor(float(num_clips), dtype=torch.float64)))
        for of_norm in moments.values():
            _pool(list(of_norm.values()), sum_over_processes)
    for config, of_norm in moments.items():
        model.set_statistics(config, {name: each.statistics() for name, each in of_norm.items()})
    return num_clips


def _pool(moments: Sequence[Moments], sum_over_processes: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Make `moments` those of all processes' batches: the mean weighted by count, the squares about that mean."""
    channels = [len(each.mean_C) for each in moments]
    counts_N = torch.cat(
        [
            torch.full((length,), float(each.count), dtype=torch.float64)
            for each, length in zip(moments, channels, strict=True)
        ]
    )
    means_N = torch.cat([each.mean_C.cpu() for each in moments])
    squares_N = torch.cat([each.squares_C.cpu() for each in moments])
    totals_N = sum_over_processes(counts_N.clone())
    joined_N = sum_over_processes(means_N * counts_N) / totals_N
    squares_N = sum_over_processes(squares_N + counts_N * (means_N - joined_N).square())
    places = zip(moments, totals_N.split(channels), joined_N.split(channels), squares_N.split(channels), strict=True)
    for each, total_C, mean_C, squares_C in places:
        device = each.mean_C.device
        each.count, each.mean_C, each.squares_C = int(total_C[0]), mean_C.to(device), squares_C.to(device)

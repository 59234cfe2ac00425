"""Batch-norm statistics of sub-networks, recomputed after training (TPAMI 2022, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from typing import TypeVar

import torch

from mutualnet3d.ops import BatchStatistics
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.slimmable_model import SlimmableModel

# Training clips in any form that `prepare` takes; their number is the batch's length.
Batch = TypeVar("Batch", bound=Sized)


@torch.no_grad()
def calibrate(
    model: SlimmableModel,
    configs: Sequence[SubnetConfig],
    batches: Iterable[Batch],
    prepare: Callable[[Batch, SubnetConfig], Sequence[torch.Tensor]],
    sum_over_processes: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> int:
    """Give each of `configs` the statistics of its own width, size and frames.

    One pass: every batch is decoded once and run by all configs. A batch is normalised with its own statistics, and
    those of every batch norm are averaged exactly over all batches (no momentum): the mean of the variances plus the
    variance of the means, weighted by count. Weights and tracked statistics stay.

    Args:
        model: the network; afterwards it can evaluate `configs`.
        configs: the sub-networks, the full network among them if it is to be calibrated too.
        batches: training clips, in every shape that `configs` need; of a job this process's batches, perhaps none. The
            result depends on the batches alone, not on their distribution over processes.
        prepare: function from a batch and a config to the network's input.
        sum_over_processes: function from a float64 tensor to the sum of all processes' tensors; None for one process.

    Returns:
        Number of clips that were used, of the whole job.

    Raises:
        ValueError: no batch came.
    """
    collected: dict[SubnetConfig, dict[str, BatchStatistics]] = {config: {} for config in configs}
    num_clips = 0
    was_training = model.training
    model.train(False)  # dropout off
    try:
        for batch in batches:
            num_clips += len(batch)
            with model.shared_fast_features():
                for config, batch_statistics in collected.items():
                    with model.active(config), model.collecting(batch_statistics):
                        model(prepare(batch, config))
    finally:
        model.train(was_training)
    if sum_over_processes is not None:
        num_clips = int(sum_over_processes(torch.tensor(float(num_clips), dtype=torch.float64)))
    if not num_clips:
        raise ValueError("calibration got no batch; it needs at least one of training clips")
    full_channels = {name: norm.num_features for name, norm in model.norms()}
    for config, batch_statistics in collected.items():
        if sum_over_processes is not None:
            batch_statistics = _pool(batch_statistics, full_channels, sum_over_processes)
        model.statistics.set(config, {name: pooled.statistics() for name, pooled in batch_statistics.items()})
    return num_clips


def _pool(
    batch_statistics: Mapping[str, BatchStatistics],
    full_channels: Mapping[str, int],
    sum_over_processes: Callable[[torch.Tensor], torch.Tensor],
) -> dict[str, BatchStatistics]:
    """Pool the batch statistics of all processes: means weighted by count, squares about that mean.

    Each process sends as many values as the full network has channels, in every sub-network, since a process without a
    batch does not know which channels the sub-network uses. The channels in use are those that some process has
    counted.
    """
    lengths = list(full_channels.values())
    counts, means, squares = (torch.zeros(sum(lengths), dtype=torch.float64) for _ in range(3))
    views = zip(full_channels, counts.split(lengths), means.split(lengths), squares.split(lengths), strict=True)
    for name, count_C, mean_C, squares_C in views:
        if name in batch_statistics:
            own, used = batch_statistics[name], len(batch_statistics[name].mean_C)
            count_C[:used], mean_C[:used], squares_C[:used] = own.count, own.mean_C, own.squares_C
    totals = sum_over_processes(counts.clone())
    joined = sum_over_processes(means * counts) / totals.clamp(min=1)
    squares = sum_over_processes(squares + counts * (means - joined).square())
    pooled: dict[str, BatchStatistics] = {}
    views = zip(full_channels, totals.split(lengths), joined.split(lengths), squares.split(lengths), strict=True)
    for name, total_C, mean_C, squares_C in views:
        used = int((total_C > 0).sum())
        pooled[name] = BatchStatistics()
        pooled[name].count = int(total_C[0])
        pooled[name].mean_C, pooled[name].squares_C = mean_C[:used], squares_C[:used]
    return pooled

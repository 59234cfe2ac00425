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
) -> int:
    """Give each of `configs` the statistics of its own width, size and frames.

    One pass: every batch is decoded once and run by all configs. A batch is normalised with its own statistics, and
    what a batch norm sees is averaged exactly over all batches (no momentum). Weights and tracked statistics stay.

    Args:
        model: the network; afterwards it can evaluate `configs`.
        configs: the sub-networks, the full network among them if it is to be calibrated too.
        batches: training clips, in every shape that `configs` need.
        prepare: a batch and a config to the network's input.

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
    for config, of_norm in moments.items():
        model.set_statistics(config, {name: each.statistics() for name, each in of_norm.items()})
    return num_clips

"""Protocols of a slimmable model: the methods that training, calibration and evaluation call.

`models.slimmable_net.SlimmableNet` fulfils them. `mutual` and `engine` know nothing else of a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch

from mutualnet3d.ops import BatchStatistics, SlimBatchNorm3d
from mutualnet3d.shapes import SubnetConfig


class Dropout(Protocol):
    """Switch of a network's dropout: see `models.dropout`."""

    clean_BK: torch.Tensor | None

    def off(self) -> AbstractContextManager[None]:
        """Context in which nothing is dropped."""

    def clean_logits(self) -> AbstractContextManager[object]:
        """Context in which `clean_BK` has the logits that the same features give without dropout."""


class SlimmableForward(Protocol):
    """Forward passes of a slimmable model: of the full network, or inside `active` of a sub-network."""

    @property
    def dropout(self) -> Dropout:
        """Dropout before the classifier."""

    def __call__(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the logits (B, K) of clips, one float tensor (B, C, T, H, W) for each pathway."""

    def active(self, config: SubnetConfig) -> AbstractContextManager[object]:
        """Context in which the sub-network of `config` runs."""

    def shared_fast_features(self) -> AbstractContextManager[None]:
        """Context in which a SlowFast runs its Fast pathway once for all sub-networks."""


class StatisticsStore(Protocol):
    """Batch-norm statistics that sub-networks are evaluated with."""

    def set(self, config: SubnetConfig, statistics: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Set the means and variances of a sub-network, by the names of its batch norms."""


class SlimmableModel(SlimmableForward, Protocol):
    """Slimmable model whose sub-networks can be calibrated and evaluated."""

    training: bool

    @property
    def statistics(self) -> StatisticsStore:
        """Means and variances of batch norms, for each calibrated sub-network."""

    def train(self, mode: bool = True) -> object:
        """Switch batch norms and dropout to training, or to evaluation with `mode` False."""

    def norms(self) -> Iterator[tuple[str, SlimBatchNorm3d]]:
        """Yield the names and layers of the batch norms."""

    def collecting(self, batch_statistics: dict[str, BatchStatistics]) -> AbstractContextManager[None]:
        """Context in which every forward pass adds the statistics of its batch, by the names of batch norms."""

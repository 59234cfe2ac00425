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

    def off(self) -> AbstractContextManager[None]: ...

    def clean_logits(self) -> AbstractContextManager[object]: ...


class SlimmableForward(Protocol):
    """Forward passes of a slimmable model: of the full network, or inside `active` of a sub-network."""

    @property
    def dropout(self) -> Dropout: ...

    def __call__(self, clips: Sequence[torch.Tensor]) -> torch.Tensor: ...

    def active(self, config: SubnetConfig) -> AbstractContextManager[object]: ...

    def shared_fast_features(self) -> AbstractContextManager[None]: ...


class StatisticsStore(Protocol):
    """Batch-norm statistics that sub-networks are evaluated with."""

    def set(self, config: SubnetConfig, statistics: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None: ...


class SlimmableModel(SlimmableForward, Protocol):
    """Slimmable model whose sub-networks can be calibrated and evaluated."""

    training: bool

    @property
    def statistics(self) -> StatisticsStore: ...

    def train(self, mode: bool = True) -> object: ...

    def norms(self) -> Iterator[tuple[str, SlimBatchNorm3d]]: ...

    def collecting(self, batch_statistics: dict[str, BatchStatistics]) -> AbstractContextManager[None]: ...

"""Protocol of a network that runs at many costs: the demands of training, calibration and evaluation on it.

`models.slimmable_net.SlimmableNet` fulfils it. The method (`mutual`) and the loops (`engine`) know only this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch

from mutualnet3d.ops import BatchStatistics, SlimBatchNorm3d
from mutualnet3d.shapes import SubnetConfig


class SwitchableModel(Protocol):
    """Network that becomes one of its sub-networks inside `active`."""

    def __call__(self, clips: Sequence[torch.Tensor]) -> torch.Tensor: ...

    def active(self, config: SubnetConfig) -> AbstractContextManager[object]: ...

    def shared_fast_features(self) -> AbstractContextManager[None]: ...


class StatisticsStore(Protocol):
    """Home of the batch-norm statistics that sub-networks are evaluated with."""

    def set(self, config: SubnetConfig, statistics: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None: ...


class SlimmableModel(SwitchableModel, Protocol):
    """Switchable network whose sub-networks can be calibrated and evaluated."""

    training: bool

    @property
    def statistics(self) -> StatisticsStore: ...

    def train(self, mode: bool = True) -> object: ...

    def norms(self) -> Iterator[tuple[str, SlimBatchNorm3d]]: ...

    def collecting(self, batch_statistics: dict[str, BatchStatistics]) -> AbstractContextManager[None]: ...

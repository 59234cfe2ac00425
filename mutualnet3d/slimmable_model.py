"""Protocol of a network that runs at many costs: what training, calibration and evaluation ask of it.

`models.slimmable_net.SlimmableNet` is one. The method (`mutual`) and the loops (`engine`) know only this.
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


class SlimmableModel(SwitchableModel, Protocol):
    """Switchable network whose sub-networks can be calibrated and evaluated."""

    training: bool

    def train(self, mode: bool = True) -> object: ...

    def norms(self) -> Iterator[tuple[str, SlimBatchNorm3d]]: ...

    def collecting(self, batch_statistics: dict[str, BatchStatistics]) -> AbstractContextManager[None]: ...

    def set_statistics(
        self, config: SubnetConfig, statistics: dict[str, tuple[torch.Tensor, torch.Tensor]]
    ) -> None: ...

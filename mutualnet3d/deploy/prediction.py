"""What a Predictor says of a video."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mutualnet3d.results.query_table import Row
from mutualnet3d.shapes import SubnetConfig


@dataclass(frozen=True)
class Label:
    """A class: its name, its number, and its score, a probability of 0 to 1 (with the ensemble "logits" of several
    views, of their mean logits)."""

    name: str
    index: int
    score: float


@dataclass(frozen=True)
class Timing:
    """Where the time went, milliseconds: reading and decoding, cropping and resizing, the network (normalising
    included)."""

    decode: float
    prepare: float
    network: float

    @property
    def total(self) -> float:
        return self.decode + self.prepare + self.network


@dataclass(frozen=True)
class Prediction:
    """The labels of one video.

    Args:
        source: the path, or "frames".
        labels: the best first.
        config: the sub-network that ran, on `backend`.
        gflops: 1e9 multiply-adds of one clip.
        row: what the query table says of it; None: nothing.
        views: clips that were run.
        timing: where the time went.
        frames: uint8 (T, S, S, 3), what the first pathway saw of the first view, at its real size.
    """

    source: str
    labels: tuple[Label, ...]
    config: SubnetConfig
    gflops: float
    row: Row | None
    backend: str
    views: int
    timing: Timing
    frames: np.ndarray = field(compare=False)  # arrays have no one answer to ==

    def to_json(self) -> dict[str, Any]:
        """Plain values; without the frames."""
        return {
            "source": self.source,
            "labels": [{"name": each.name, "index": each.index, "score": each.score} for each in self.labels],
            "config": str(self.config),
            "gflops": self.gflops,
            "top1": None if self.row is None else self.row.top1,
            "backend": self.backend,
            "views": self.views,
            "milliseconds": {
                "decode": self.timing.decode,
                "prepare": self.timing.prepare,
                "network": self.timing.network,
                "total": self.timing.total,
            },
        }


def score_views(logits_VK: torch.Tensor, ensemble: str) -> torch.Tensor:
    """Scores (K,) of a video from its views' logits, put together as `DATA.ENSEMBLE_METHOD` says; with "max", which
    does not sum to 1, as it comes."""
    if ensemble == "logits":
        return logits_VK.mean(dim=0).softmax(dim=0)
    score_VK = logits_VK.softmax(dim=1)
    return score_VK.amax(dim=0) if ensemble == "max" else score_VK.mean(dim=0)


def best_labels(score_K: torch.Tensor, class_names: tuple[str, ...], number: int) -> tuple[Label, ...]:
    """The `number` classes of the highest scores; of equals the first."""
    order = torch.argsort(score_K, descending=True, stable=True)[:number].tolist()
    return tuple(Label(class_names[index], index, float(score_K[index])) for index in order)

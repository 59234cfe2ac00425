"""Prediction of a video, with labels, sub-network and times; and the clips that it is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mutualnet3d.data.clip_place import ClipPlace
from mutualnet3d.log import printable
from mutualnet3d.results.cascade import Cascade
from mutualnet3d.results.label import Label
from mutualnet3d.results.query_table import Row
from mutualnet3d.results.view_scores import ensemble_views
from mutualnet3d.shapes import SubnetConfig

_LABELS_IN_REPR = 2


@dataclass(frozen=True)
class Timing:
    """Times of a prediction, milliseconds.

    Args:
        decode: time of reading and decoding.
        prepare: time of cropping and resizing.
        network: time of the network, with normalisation.
    """

    decode: float
    prepare: float
    network: float

    @property
    def total(self) -> float:
        """Sum of the times."""
        return self.decode + self.prepare + self.network

    def __add__(self, other: Timing) -> Timing:
        return Timing(self.decode + other.decode, self.prepare + other.prepare, self.network + other.network)


@dataclass(frozen=True)
class ReadVideo:
    """Clips of a video for one sub-network: `Predictor.read` makes them, `Predictor.run` takes them.

    Args:
        source: path of the video, or "frames".
        config: sub-network.
        row: row of the query table about `config` with as many views; None without any.
        clips: views, uint8 (V, T, S, S, 3), one tensor for each pathway.
        decode_seconds: time of decoding.
        prepare_seconds: time of cropping and resizing.
        span_times: start and end of each span of the views, seconds since the first frame.
        place: place of the first view in the video; None: unknown.
    """

    source: str
    config: SubnetConfig
    row: Row | None
    clips: tuple[torch.Tensor, ...]
    decode_seconds: float
    prepare_seconds: float
    span_times: tuple[tuple[float, float], ...] = ()
    place: ClipPlace | None = None

    def __repr__(self) -> str:
        """Return a line with video, sub-network and shapes of the clips."""
        shapes = " and ".join(" x ".join(map(str, clips.shape)) for clips in self.clips)
        return f"<ReadVideo of {printable(self.source)}: {self.config}, {shapes}>"


@dataclass(frozen=True)
class StageRun:
    """Sub-network that ran on a video.

    Args:
        config: sub-network.
        views: number of clips.
        gflops: cost of all views, 1e9 multiply-adds.
    """

    config: SubnetConfig
    views: int
    gflops: float


@dataclass(frozen=True)
class Prediction:
    """Labels of one video.

    Args:
        source: path of the video, or "frames".
        labels: labels, the best first.
        config: sub-network that gave the labels, the last one of a cascade.
        gflops: cost of a clip of `config`, 1e9 multiply-adds.
        row: row of the query table about `config` on `backend` with as many views; None without any.
        backend: name of the back end that ran the network.
        views: number of clips that `config` ran on.
        timing: times of the parts.
        frames: input of the first pathway for the first view, uint8 (T, S, S, 3).
        cascade: cascade that chose the sub-networks by the video; None: the sub-network was chosen before.
        stages: sub-networks that ran, in turn; (): `config` alone.
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
    cascade: Cascade | None = None
    stages: tuple[StageRun, ...] = ()

    def __post_init__(self) -> None:
        if not self.stages:
            object.__setattr__(self, "stages", (StageRun(self.config, self.views, self.gflops * self.views),))

    def __repr__(self) -> str:
        """Return a line with video, best labels, sub-network and time."""
        best = ", ".join(f"{label.name} {100 * label.score:.1f} %" for label in self.labels[:_LABELS_IN_REPR])
        views = "one view" if self.views == 1 else f"{self.views} views"
        ran = " > ".join(str(stage.config) for stage in self.stages)
        text = f"{self.source}: {best}; {ran} on {self.backend}, {views}, {self.timing.total:.1f} ms"
        return f"<Prediction of {printable(text)}>"

    @property
    def gflops_of_video(self) -> float:
        """Multiply-adds of all views of all stages that ran, in 1e9."""
        return sum(stage.gflops for stage in self.stages)

    @property
    def top1(self) -> float | None:
        """Accuracy of the same sub-networks and views in the test, percent; None: unknown."""
        source = self.row if self.cascade is None else self.cascade
        return None if source is None else source.top1

    def above(self, threshold: float) -> tuple[Label, ...]:
        """Return the labels whose score is at least `threshold`, 0 to 1, for videos that may have several.

        They are among the labels of the prediction (`top` of `predict`).
        """
        return tuple(label for label in self.labels if label.score >= threshold)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without the frames.

        `gflops` is the cost of a clip of `config`, `gflops_of_video` that of all views of all `stages`; `top1` is the
        test's accuracy with as many views, or of the cascade, None if unknown. `mean_ap` is there if videos have
        several labels.
        """
        mean_ap = {} if self.row is None or self.row.mean_ap is None else {"mean_ap": self.row.mean_ap}
        return {
            "source": self.source,
            "labels": [{"name": label.name, "index": label.index, "score": label.score} for label in self.labels],
            "config": str(self.config),
            "gflops": self.gflops,
            "gflops_of_video": self.gflops_of_video,
            "top1": self.top1,
            **mean_ap,
            "backend": self.backend,
            "views": self.views,
            "stages": [
                {"config": str(stage.config), "views": stage.views, "gflops": stage.gflops} for stage in self.stages
            ],
            "milliseconds": {
                "decode": self.timing.decode,
                "prepare": self.timing.prepare,
                "network": self.timing.network,
                "total": self.timing.total,
            },
        }


def score_views(logits_VK: torch.Tensor, ensemble: str) -> torch.Tensor:
    """Return the scores (K,) of a video from its views' logits.

    Args:
        logits_VK: logits of the views, (V, K).
        ensemble: way of putting views together, of `DATA.ENSEMBLE_METHOD`; with "max" scores do not sum to 1.
    """
    score_K = ensemble_views(logits_VK, ensemble)
    if not ensemble.endswith("logits"):
        return score_K
    return score_K.softmax(dim=0) if ensemble == "logits" else score_K.sigmoid()


def best_labels(score_K: torch.Tensor, class_names: tuple[str, ...], number: int) -> tuple[Label, ...]:
    """Return the `number` classes of the highest scores; of equals the first."""
    order = torch.argsort(score_K, descending=True, stable=True)[:number].tolist()
    return tuple(Label(class_names[index], index, float(score_K[index])) for index in order)

"""Features of a video: vectors, or maps of a layer, for clips or windows, with their times and the sub-network.

Legend: V views, N vectors, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mutualnet3d.deploy.prediction import ReadVideo, Timing
from mutualnet3d.deploy.stages import PlannedStage, StagedResult
from mutualnet3d.log import printable
from mutualnet3d.shapes import SubnetConfig


@dataclass(frozen=True)
class VideoFeatures:
    """Features of a video.

    Args:
        source: path of the video, or "frames".
        feature_NC: pooled vectors, float32 (N, C), or maps of a layer, float32 (N, ...).
        start_N: start of each vector, seconds since the first frame, float64.
        end_N: end of each vector, seconds since the first frame, float64.
        config: sub-network that ran.
        gflops: cost of a clip, 1e9 multiply-adds.
        backend: name of the back end that ran the network.
        layer: name of the layer of the maps; None: pooled vectors.
        num_clips: number of clips that ran.
        num_lost: number of windows that are left out because most of their frames cannot be decoded.
        timing: times of the parts.
    """

    source: str
    feature_NC: np.ndarray = field(compare=False)  # arrays have no one answer to ==
    start_N: np.ndarray = field(compare=False)
    end_N: np.ndarray = field(compare=False)
    config: SubnetConfig
    gflops: float
    backend: str
    layer: str | None
    num_clips: int
    num_lost: int
    timing: Timing

    def __len__(self) -> int:
        return len(self.feature_NC)

    def __repr__(self) -> str:
        """Return a line with video, number and shape of the vectors, and sub-network."""
        shape = " x ".join(map(str, self.feature_NC.shape[1:]))
        layer = "" if self.layer is None else f" of {self.layer}"
        text = f"{self.source}: {len(self)} of {shape}{layer}; {self.config} on {self.backend}"
        return f"<VideoFeatures of {printable(text)}>"


@dataclass
class ClipFeatures(StagedResult):
    """Features of a video's views in the place of their scores, as the result of a single stage.

    Args:
        value_VC: features of the views.
        span_times: start and end of each span of the views, seconds.
    """

    value_VC: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    span_times: tuple[tuple[float, float], ...] = ()

    def add(
        self, stage: PlannedStage, clips: ReadVideo, logits_VK: torch.Tensor, seconds: float, ensemble: str
    ) -> None:
        """Add the features (V, C) of the stage that ran, see `StagedResult.add`."""
        self.value_VC, self.span_times = logits_VK, clips.span_times
        self.timing += Timing(1e3 * clips.decode_seconds, 1e3 * clips.prepare_seconds, 1e3 * seconds)

    def is_sure(self, threshold: float, ensemble: str) -> bool:
        """Return True, since a single stage runs."""
        return True

    def arrays(self, per_clip: bool) -> dict[str, Any]:
        """Return features and times as arguments of `VideoFeatures`.

        Args:
            per_clip: True for the features of each view; False for their mean, over the time from the first view to the
                last.
        """
        values = self.value_VC.numpy()
        num_crops = len(values) // len(self.span_times)
        times_V2 = np.repeat(np.array(self.span_times, np.float64), num_crops, axis=0)
        if per_clip:
            return {"feature_NC": values, "start_N": times_V2[:, 0], "end_N": times_V2[:, 1]}
        first, last = times_V2[:, 0].min(keepdims=True), times_V2[:, 1].max(keepdims=True)
        return {"feature_NC": values.mean(axis=0, keepdims=True), "start_N": first, "end_N": last}

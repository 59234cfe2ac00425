"""Features of a video: a vector, or the map of a layer, for each clip or window, with its time and the sub-network that
made it.

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
    """Features of one video.

    Args:
        source: path of the video, or "frames".
        feature_NC: float32 (N, C), pooled vectors; of a named layer its maps, float32 (N, ...).
        start_N, end_N: time of each, seconds since the first frame, float64.
        config: sub-network that ran.
        gflops: 1e9 multiply-adds of one clip.
        backend: name of the back end that ran it.
        layer: name of the layer whose maps these are; None: pooled vectors.
        num_clips: number of clips that ran.
        num_lost: number of windows that are left out, as most of their frames cannot be decoded.
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
        """Return one line: video, number and shape of the vectors, what ran."""
        shape = " x ".join(map(str, self.feature_NC.shape[1:]))
        layer = "" if self.layer is None else f" of {self.layer}"
        text = f"{self.source}: {len(self)} of {shape}{layer}; {self.config} on {self.backend}"
        return f"<VideoFeatures of {printable(text)}>"


@dataclass
class ClipFeatures(StagedResult):
    """Features of a video's views, instead of their scores: the result of one stage.

    Args:
        value_VC: features of the views.
        span_times: start and end of each span of the views, seconds.
        The others are those of `StagedResult`.
    """

    value_VC: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    span_times: tuple[tuple[float, float], ...] = ()

    def add(
        self, stage: PlannedStage, clips: ReadVideo, logits_VK: torch.Tensor, seconds: float, ensemble: str
    ) -> None:
        """Take in the features (V, C) of the stage that ran; see `StagedResult.add`."""
        self.value_VC, self.span_times = logits_VK, clips.span_times
        self.timing += Timing(1e3 * clips.decode_seconds, 1e3 * clips.prepare_seconds, 1e3 * seconds)

    def is_sure(self, threshold: float, ensemble: str) -> bool:
        """Return True: one stage runs."""
        return True

    def arrays(self, per_clip: bool) -> dict[str, Any]:
        """Return features and times, as `VideoFeatures` has them.

        Args:
            per_clip: True for those of each view; False for their mean, over the time from the first to the last.
        """
        values = self.value_VC.numpy()
        num_crops = len(values) // len(self.span_times)
        times_V2 = np.repeat(np.array(self.span_times, np.float64), num_crops, axis=0)
        if per_clip:
            return {"feature_NC": values, "start_N": times_V2[:, 0], "end_N": times_V2[:, 1]}
        first, last = times_V2[:, 0].min(keepdims=True), times_V2[:, 1].max(keepdims=True)
        return {"feature_NC": values.mean(axis=0, keepdims=True), "start_N": first, "end_N": last}

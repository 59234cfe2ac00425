"""Results of a test so far, from which a stopped test goes on and ends with the same numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from mutualnet3d.results.view_scores import ViewScores
from mutualnet3d.shapes import SubnetConfig


class EvaluationState:
    """Scores of each sub-network, labels and views of the videos of one process, after some batches.

    Args:
        configs: sub-networks of the test.
        videos: this process's shard, positions in the list.
        num_videos: number of videos in the whole list.
        num_classes: number of classes of the network.
        ensemble: way of putting a video's views together, see `ViewScores`.
        subsets: numbers of the views that are put together, see `ViewScores`; None: all views only.

    Attributes:
        scores_of: scores of each sub-network.
        label_V: class of each video, int64.
        failed_videos: videos with a missing view in the batches that are done.
        num_batches: number of batches that are done.
    """

    def __init__(
        self,
        configs: Sequence[SubnetConfig],
        videos: Sequence[int],
        num_videos: int,
        num_classes: int,
        ensemble: str = "sum",
        subsets: Sequence[Collection[int]] | None = None,
    ):
        self.scores_of = {config: ViewScores(videos, num_classes, ensemble, subsets) for config in configs}
        self.label_V = torch.zeros(num_videos, dtype=torch.int64)
        self.views_V = torch.zeros(num_videos, dtype=torch.int64)
        self.failed_videos: set[int] = set()
        self.num_batches = 0

    def state_dict(self) -> dict[str, Any]:
        """Return everything, in tensors and plain values that it shares with the state."""
        return {
            "num_batches": self.num_batches,
            "failed_videos": sorted(self.failed_videos),
            **self._tensors(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the result of `state_dict`, of a test of the same sub-networks and videos.

        Args:
            state: result of `state_dict`.

        Raises:
            ValueError: it is of another test; nothing is loaded then.
        """
        own = self._tensors()
        for name, tensor in own.items():
            stored = state.get(name)
            if not isinstance(stored, torch.Tensor) or (stored.shape, stored.dtype) != (tensor.shape, tensor.dtype):
                raise ValueError(f"{name} is not that of this test")
        number, failed = state.get("num_batches"), state.get("failed_videos")
        if not isinstance(number, int) or not isinstance(failed, list):
            raise ValueError("num_batches or failed_videos is missing")
        for name, tensor in own.items():
            tensor.copy_(state[name])
        self.num_batches, self.failed_videos = number, set(failed)
        for scores in self.scores_of.values():
            scores.go_on(self.views_V[scores.videos].tolist())

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {"label_V": self.label_V, "views_V": self.views_V}
        for config, scores in self.scores_of.items():
            tensors[f"{config}: scores"] = scores.score_SVK
        return tensors

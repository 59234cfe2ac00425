"""Results of a test so far, from which a stopped test goes on and ends with the same numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from mutualnet3d.results.score_store import MappedScores
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
        scores_path: file of the scores, whose content a stored state goes on from; `subsets` are needed, all views
            first. None: the scores are in memory, and in the stored state.

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
        scores_path: str | None = None,
    ):
        assert scores_path is None or subsets, "a file of scores is of some subsets of views"
        shape = len(configs), len(subsets or [None]), len(videos), num_classes
        # A process may have no video at all, and no file is empty.
        self._mapped = None if scores_path is None or 0 in shape else MappedScores(scores_path, shape)
        memory = [None] * len(configs) if self._mapped is None else self._mapped.tensor
        self.scores_of = {
            config: ViewScores(videos, num_classes, ensemble, subsets, memory_SVK)
            for config, memory_SVK in zip(configs, memory, strict=True)
        }
        self._video_V, self._num_views = torch.tensor(videos, dtype=torch.int64), len(subsets[0]) if subsets else 0
        self.label_V = torch.zeros(num_videos, dtype=torch.int64)
        self.views_V = torch.zeros(num_videos, dtype=torch.int64)
        self.failed_videos: set[int] = set()
        self.num_batches = 0

    def state_dict(self) -> dict[str, Any]:
        """Return everything, in tensors and plain values that it shares with the state.

        A file of scores is synced. The result has the scores of the begun videos alone: later batches change the rows
        of other videos only.
        """
        if self._mapped is not None:
            self._mapped.sync()
        return {
            "num_batches": self.num_batches,
            "failed_videos": sorted(self.failed_videos),
            **self._tensors(),
            **self._begun_scores(),
        }

    def release(self) -> None:
        """Leave the memory of scores that are in a file to the system."""
        if self._mapped is not None:
            self._mapped.release()

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
        if self._mapped is not None:
            self._load_begun_scores(self._mapped, state)
        for name, tensor in own.items():
            tensor.copy_(state[name])
        self.num_batches, self.failed_videos = number, set(failed)
        views_of_videos = self.views_V[self._video_V].tolist()
        for scores in self.scores_of.values():
            scores.go_on(views_of_videos)

    def _begun_scores(self) -> dict[str, torch.Tensor]:
        """Return the rows of the videos of which some views have come, and their scores, without failed videos."""
        if self._mapped is None:
            return {}
        views_V = self.views_V[self._video_V]
        is_begun_V = (views_V > 0) & (views_V < self._num_views)
        is_begun_V &= ~torch.isin(self._video_V, torch.tensor(sorted(self.failed_videos), dtype=torch.int64))
        rows = is_begun_V.nonzero().flatten()
        return {"begun_rows": rows, "begun_scores": self._mapped.tensor[:, :, rows]}

    def _load_begun_scores(self, mapped: MappedScores, state: Mapping[str, Any]) -> None:
        rows, scores = state.get("begun_rows"), state.get("begun_scores")
        if mapped.is_new:
            raise ValueError(f"the scores are not in {mapped.path}")
        num_configs, num_subsets, num_videos, num_classes = mapped.tensor.shape
        if (
            not isinstance(rows, torch.Tensor)
            or not isinstance(scores, torch.Tensor)
            or (rows.dtype, rows.ndim, scores.dtype) != (torch.int64, 1, torch.float32)
            or scores.shape != (num_configs, num_subsets, len(rows), num_classes)
            or bool(((rows < 0) | (rows >= num_videos)).any())
        ):
            raise ValueError("begun_scores is not that of this test")
        mapped.tensor[:, :, rows] = scores

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {"label_V": self.label_V, "views_V": self.views_V}
        for config, scores in self.scores_of.items() if self._mapped is None else ():
            tensors[f"{config}: scores"] = scores.score_SVK
        return tensors

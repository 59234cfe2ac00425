"""Scores of videos from scores of their views, and what they say: accuracies and the confusion of classes.

Legend: B views of a batch, V videos, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mutualnet3d.files.atomic import write_atomically

ENSEMBLES = ("sum", "logits", "max")


@dataclass(frozen=True)
class Accuracy:
    """Accuracies in percent. Of fewer than five classes top-5 is of all.

    Args:
        top1, top5: over videos, the scores of each one's views put together.
        num_videos: how many.
        clip_top1, clip_top5: over single views of the same videos, as a test with one view would see them.
    """

    top1: float
    top5: float
    num_videos: int
    clip_top1: float
    clip_top5: float


class ViewScores:
    """One network's scores of the videos that one process has, put together from those of their views.

    Args:
        videos: positions in the list.
        num_classes: of the network.
        ensemble: "sum", the mean of the views' softmax (PySlowFast's name); "logits", the mean of their logits; "max",
            the largest softmax of each class.

    Raises:
        ValueError: another ensemble.
    """

    def __init__(self, videos: Sequence[int], num_classes: int, ensemble: str = "sum"):
        if ensemble not in ENSEMBLES:
            raise ValueError(f"views are put together by {', '.join(ENSEMBLES)}; got {ensemble!r}")
        self.videos, self.ensemble = list(videos), ensemble
        self._row_of = {video: row for row, video in enumerate(self.videos)}
        self.score_VK = torch.zeros(len(self.videos), num_classes)  # softmax is above 0: of the largest too
        self.hits_V2 = torch.zeros(len(self.videos), 2, dtype=torch.int64)  # views right by top-1 and by top-5

    def add(self, video_B: torch.Tensor, logits_BK: torch.Tensor, label_B: torch.Tensor) -> None:
        """Take in views, all on the CPU. The result depends on the order of a video's own views alone."""
        rows_B = torch.tensor([self._row_of[video] for video in video_B.tolist()])
        logits_BK = logits_BK.float()
        score_BK = logits_BK if self.ensemble == "logits" else logits_BK.softmax(dim=1)
        if self.ensemble == "max":
            for row, score_K in zip(rows_B.tolist(), score_BK, strict=True):
                self.score_VK[row].clamp_(min=score_K)
        else:
            self.score_VK.index_add_(0, rows_B, score_BK)
        self.hits_V2.index_add_(0, rows_B, hits(score_BK, label_B).long())

    def whole(self, num_videos: int, num_views: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (V, K) and right views (V, 2) of all `num_videos` of the list, zeros where it is another process's."""
        score_VK = torch.zeros(num_videos, self.score_VK.shape[1])
        hits_V2 = torch.zeros(num_videos, 2, dtype=torch.int64)
        score_VK[self.videos] = self.score_VK if self.ensemble == "max" else self.score_VK / num_views
        hits_V2[self.videos] = self.hits_V2
        return score_VK, hits_V2


def hits(score_VK: torch.Tensor, label_V: torch.Tensor) -> torch.Tensor:
    """Whether the label has the largest score, and whether it is among the five largest: bool (V, 2)."""
    hits_Vk = score_VK.topk(min(5, score_VK.shape[1]), dim=1).indices == label_V[:, None]
    return torch.stack([hits_Vk[:, 0], hits_Vk.any(dim=1)], dim=1)


def percent(hits_V: torch.Tensor, of_each: int = 1) -> float:
    """Mean of counts out of `of_each`, in percent; exact until the last division."""
    return 100.0 * int(hits_V.sum()) / (len(hits_V) * of_each)


def accuracy(score_VK: torch.Tensor, label_V: torch.Tensor, hits_V2: torch.Tensor, num_views: int) -> Accuracy:
    """Accuracies of videos by their scores, and of their views by how many of them were right."""
    of_videos_V2 = hits(score_VK, label_V)
    return Accuracy(
        top1=percent(of_videos_V2[:, 0]),
        top5=percent(of_videos_V2[:, 1]),
        num_videos=len(label_V),
        clip_top1=percent(hits_V2[:, 0], num_views),
        clip_top5=percent(hits_V2[:, 1], num_views),
    )


def confusion_matrix(score_VK: torch.Tensor, label_V: torch.Tensor) -> torch.Tensor:
    """How many videos of each class (rows) are taken for which (columns): int64 (K, K)."""
    num_classes = score_VK.shape[1]
    cells_V = label_V * num_classes + score_VK.argmax(dim=1)
    return torch.bincount(cells_V, minlength=num_classes**2).view(num_classes, num_classes)


def class_accuracy(confusion_KK: torch.Tensor) -> torch.Tensor:
    """Top-1 of each class in percent, float64 (K,); NaN for one without videos."""
    return 100.0 * confusion_KK.diagonal().double() / confusion_KK.sum(dim=1)


def save_scores(
    path: str, scores: dict[str, torch.Tensor], label_V: torch.Tensor, paths: Sequence[str], ensemble: str
) -> None:
    """Write all scores to one NumPy file (.npz), atomically, for ensembles of several runs:

        file = np.load(path)
        file["w1.0-s224-t16"], file["labels"], file["paths"], file["ensemble"]

    Args:
        scores: a sub-network's key to its scores (V, K), float32.
        label_V, paths: of the same videos, in the order of the list.
        ensemble: how views were put together.
    """
    arrays = {"labels": label_V.numpy(), "paths": np.array(paths), "ensemble": np.array(ensemble)}
    arrays |= {key: score_VK.numpy() for key, score_VK in scores.items()}
    write_atomically(path, lambda file: np.savez(file, allow_pickle=False, **arrays))

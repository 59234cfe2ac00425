"""Scores of videos from scores of their views, with accuracies and the confusion of classes.

Legend: B views of a batch, S subsets of views, V videos, K classes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import IO

import numpy as np
import torch

from mutualnet3d.files.atomic import write_atomically

_SIGMOID = "sigmoid_"
ENSEMBLES = ("sum", "logits", "max", *(f"{_SIGMOID}{name}" for name in ("sum", "logits", "max")))


@dataclass(frozen=True)
class Accuracy:
    """Accuracies in percent; with fewer than five classes top-5 is over all classes.

    Args:
        top1: top-1 over videos, by the scores of all their views.
        top5: top-5 over videos, by the scores of all their views.
        num_videos: number of videos.
        mean_ap: mean average precision of videos of several labels; None: each video has one label.
    """

    top1: float
    top5: float
    num_videos: int
    mean_ap: float | None = None

    @property
    def score(self) -> float:
        """Accuracy for the comparison of networks: the mean average precision if there is one, else top-1."""
        return self.top1 if self.mean_ap is None else self.mean_ap

    @property
    def measure(self) -> str:
        """Name of `score` for people: mAP or top-1."""
        return "top-1" if self.mean_ap is None else "mAP"


class ViewScores:
    """A network's scores of the videos of a process, put together from those of all or some of their views.

    Args:
        videos: positions of the videos in the list.
        num_classes: number of classes of the network.
        ensemble: way of putting views together: "sum", the mean of the views' softmax (PySlowFast's name); "logits",
            the mean of their logits; "max", the largest softmax of each class; with "sigmoid_" before it, by sigmoids
            in place of the softmax.
        subsets: numbers of the views of a video that are put together, for each kind of scores; None: all views only.
        memory_SVK: memory of the sums, float32 (S, V, K), any content; None: new memory.

    Attributes:
        score_SVK: sums or maxima so far, (S, V, K), of the videos that have come.

    Raises:
        ValueError: the ensemble is another one.
    """

    def __init__(
        self,
        videos: Sequence[int],
        num_classes: int,
        ensemble: str = "sum",
        subsets: Sequence[Collection[int]] | None = None,
        memory_SVK: torch.Tensor | None = None,
    ):
        if ensemble not in ENSEMBLES:
            raise ValueError(f"views are put together by {', '.join(ENSEMBLES)}; got {ensemble!r}")
        self.videos, self.ensemble = videos, ensemble
        # Arrays: a test of many sub-networks has as many of these objects.
        self._video_V = np.array(videos, np.int64)
        self._row_of_video = np.full(self._video_V.max(initial=-1) + 1, -1, np.int64)
        self._row_of_video[self._video_V] = np.arange(len(self._video_V))
        self._subsets = None if subsets is None else [frozenset(numbers) for numbers in subsets]
        # Softmax is above 0: of the largest too.
        shape = len(self._subsets or [None]), len(self._video_V), num_classes
        assert memory_SVK is None or memory_SVK.shape == shape, "the memory has another shape"
        self.score_SVK = torch.zeros(shape) if memory_SVK is None else memory_SVK
        self._num_views = np.zeros(len(self._video_V), np.int64)  # that came so far

    def add(self, video_B: torch.Tensor, logits_BK: torch.Tensor) -> None:
        """Add views, on the CPU, those of a video in their order, the videos in any order."""
        rows_B = torch.from_numpy(self._row_of_video[video_B.numpy()])
        assert not (rows_B < 0).any(), "a video of another process"
        score_BK, numbers = _scores_of_views(logits_BK, self.ensemble), self._count_views(rows_B)
        self.score_SVK[:, rows_B[torch.tensor(numbers) == 0]] = 0.0
        if self._subsets is None:
            _add_views(self.score_SVK[0], rows_B, score_BK, self.ensemble)
            return
        for total_VK, subset in zip(self.score_SVK, self._subsets, strict=True):
            of_subset_B = torch.tensor([number in subset for number in numbers])
            _add_views(total_VK, rows_B[of_subset_B], score_BK[of_subset_B], self.ensemble)

    def go_on(self, num_views: Sequence[int]) -> None:
        """Go on from scores that were put into this object, with the number of their views for each of `videos`."""
        self._num_views = np.array(num_views, np.int64)

    def _count_views(self, rows_B: torch.Tensor) -> list[int]:
        """Return the number of each view among those of its video, and update the counts of views."""
        numbers: list[int] = []
        for row in rows_B.tolist():
            numbers.append(int(self._num_views[row]))
            self._num_views[row] += 1
        return numbers

    def whole(self, num_videos: int, num_views: int, subset: int = 0) -> torch.Tensor:
        """Return the scores (V, K) of all videos of the list, zeros for those of other processes.

        Args:
            num_videos: number of videos of the list.
            num_views: number of views of each video that were put together.
            subset: position among the subsets.
        """
        score_VK = torch.zeros(num_videos, self.score_SVK.shape[2])
        score_VK[torch.from_numpy(self._video_V)] = _scores_of_videos(self.score_SVK[subset], num_views, self.ensemble)
        return score_VK


def ensemble_views(logits_BK: torch.Tensor, ensemble: str) -> torch.Tensor:
    """Return the scores (K,) of a video, put together from its views as `ViewScores` does."""
    total_VK = torch.zeros(1, logits_BK.shape[1])
    rows_B = torch.zeros(len(logits_BK), dtype=torch.int64)
    _add_views(total_VK, rows_B, _scores_of_views(logits_BK, ensemble), ensemble)
    return _scores_of_videos(total_VK, len(logits_BK), ensemble)[0]


def _scores_of_views(logits_BK: torch.Tensor, ensemble: str) -> torch.Tensor:
    logits_BK = logits_BK.float()
    if ensemble.endswith("logits"):
        return logits_BK
    return logits_BK.sigmoid() if ensemble.startswith(_SIGMOID) else logits_BK.softmax(dim=1)


def _add_views(total_VK: torch.Tensor, rows_B: torch.Tensor, score_BK: torch.Tensor, ensemble: str) -> None:
    """Add views to the totals of their videos, in their order.

    Args:
        total_VK: sum of the views so far, or their maximum; changed in place.
        rows_B: row of each view's video in `total_VK`.
        score_BK: logits of the views.
        ensemble: way of putting views together, see `ViewScores`.
    """
    if ensemble.endswith("max"):
        for row, score_K in zip(rows_B.tolist(), score_BK, strict=True):
            total_VK[row].clamp_(min=score_K)
    else:
        total_VK.index_add_(0, rows_B, score_BK)


def _scores_of_videos(total_VK: torch.Tensor, num_views: int, ensemble: str) -> torch.Tensor:
    return total_VK if ensemble.endswith("max") else total_VK / num_views


def hits(score_VK: torch.Tensor, label_V: torch.Tensor) -> torch.Tensor:
    """Return bool (V, 2): the label has the largest score; it is among the five largest."""
    hits_Vk = score_VK.topk(min(5, score_VK.shape[1]), dim=1).indices == label_V[:, None]
    return torch.stack([hits_Vk[:, 0], hits_Vk.any(dim=1)], dim=1)


def accuracy(score_VK: torch.Tensor, label_V: torch.Tensor) -> Accuracy:
    """Return the accuracies of videos by their scores, from exact counts."""
    right_2 = hits(score_VK, label_V).sum(dim=0).tolist()
    top1, top5 = (100.0 * right / len(label_V) for right in right_2)
    return Accuracy(top1, top5, len(label_V))


def confusion_matrix(score_VK: torch.Tensor, label_V: torch.Tensor) -> torch.Tensor:
    """Return the number of videos by true class (rows) and predicted class (columns), int64 (K, K)."""
    num_classes = score_VK.shape[1]
    cells_V = label_V * num_classes + score_VK.argmax(dim=1)
    return torch.bincount(cells_V, minlength=num_classes**2).view(num_classes, num_classes)


def class_accuracy(confusion_KK: torch.Tensor) -> torch.Tensor:
    """Return top-1 of each class in percent, float64 (K,); NaN for a class without videos."""
    return 100.0 * confusion_KK.diagonal().double() / confusion_KK.sum(dim=1)


def save_scores(
    path: str, scores: Mapping[str, torch.Tensor], label_V: torch.Tensor, paths: Sequence[str], ensemble: str
) -> None:
    """Write all scores to one NumPy file (.npz), atomically, for ensembles of several runs.

    file = np.load(path)
    file["w1.0-s224-t16"], file["labels"], file["paths"], file["ensemble"]

    Args:
        path: path of the file.
        scores: scores, float32 (V, K), by the sub-network's key; read one after the other.
        label_V: classes of the V videos, or their labels as bool (V, K), in the order of the list.
        paths: paths of the videos.
        ensemble: name of the way that views were put together.
    """
    arrays = {"labels": label_V.numpy(), "paths": np.array(paths), "ensemble": np.array(ensemble)}

    def write(file: IO[bytes]) -> None:  # as np.savez does, which has all arrays in memory
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for key, array in chain(arrays.items(), ((key, score_VK.numpy()) for key, score_VK in scores.items())):
                with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

    write_atomically(path, write)

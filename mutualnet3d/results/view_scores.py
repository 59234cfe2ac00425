"""Scores of videos from scores of their views, and what follows from them: accuracies and the confusion of classes.

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
    """Accuracies in percent. Of fewer than five classes top-5 is of all.

    Args:
        top1, top5: accuracy over videos, the scores of each one's views put together.
        num_videos: number of videos.
        mean_ap: mean average precision, of videos of several labels; None: each has one label.
    """

    top1: float
    top5: float
    num_videos: int
    mean_ap: float | None = None

    @property
    def score(self) -> float:
        """Accuracy that networks are compared by: the mean average precision where there is one, else top-1."""
        return self.top1 if self.mean_ap is None else self.mean_ap

    @property
    def measure(self) -> str:
        """Name of that accuracy for people: mAP or top-1."""
        return "top-1" if self.mean_ap is None else "mAP"


class ViewScores:
    """One network's scores of the videos of one process, put together from those of their views: of all, and of some.

    Args:
        videos: positions in the list.
        num_classes: number of classes of the network.
        ensemble: "sum", the mean of the views' softmax (PySlowFast's name); "logits", the mean of their logits; "max",
            the largest softmax of each class; with "sigmoid_" before it, sigmoids in place of the softmax.
        subsets: numbers of the views of a video that are put together, for each of the scores; None: all views, once.
        memory_SVK: memory of the sums, float32, whatever is in it; None: they have their own.

    Attributes:
        score_SVK: sums so far of each subset, or maxima, of the videos that have come.

    Raises:
        ValueError: another ensemble.
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
        """Take in views, all on the CPU. Those of a video come in their order; that of the videos changes nothing."""
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
        """Go on with scores that were put into these, of so many views of each of `videos`."""
        self._num_views = np.array(num_views, np.int64)

    def _count_views(self, rows_B: torch.Tensor) -> list[int]:
        """Return the number of each view among those of its video, and remember how many came."""
        numbers: list[int] = []
        for row in rows_B.tolist():
            numbers.append(int(self._num_views[row]))
            self._num_views[row] += 1
        return numbers

    def whole(self, num_videos: int, num_views: int, subset: int = 0) -> torch.Tensor:
        """Return the scores (V, K) of all `num_videos` of the list, zeros for other processes'.

        Args:
            num_views: number of views of each video that were put together.
            subset: position among the subsets.
        """
        score_VK = torch.zeros(num_videos, self.score_SVK.shape[2])
        score_VK[torch.from_numpy(self._video_V)] = _scores_of_videos(self.score_SVK[subset], num_views, self.ensemble)
        return score_VK


def ensemble_views(logits_BK: torch.Tensor, ensemble: str) -> torch.Tensor:
    """Return the scores (K,) of one video, put together from its views as `ViewScores` does."""
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
    """
    if ensemble.endswith("max"):
        for row, score_K in zip(rows_B.tolist(), score_BK, strict=True):
            total_VK[row].clamp_(min=score_K)
    else:
        total_VK.index_add_(0, rows_B, score_BK)


def _scores_of_videos(total_VK: torch.Tensor, num_views: int, ensemble: str) -> torch.Tensor:
    return total_VK if ensemble.endswith("max") else total_VK / num_views


def hits(score_VK: torch.Tensor, label_V: torch.Tensor) -> torch.Tensor:
    """Return bool (V, 2): True where the label has the largest score, and where it is among the five largest."""
    hits_Vk = score_VK.topk(min(5, score_VK.shape[1]), dim=1).indices == label_V[:, None]
    return torch.stack([hits_Vk[:, 0], hits_Vk.any(dim=1)], dim=1)


def accuracy(score_VK: torch.Tensor, label_V: torch.Tensor) -> Accuracy:
    """Return accuracies of videos by their scores; exact until the last division."""
    right_2 = hits(score_VK, label_V).sum(dim=0).tolist()
    top1, top5 = (100.0 * right / len(label_V) for right in right_2)
    return Accuracy(top1, top5, len(label_V))


def confusion_matrix(score_VK: torch.Tensor, label_V: torch.Tensor) -> torch.Tensor:
    """Return the number of videos of each class (rows) that are taken for each (columns): int64 (K, K)."""
    num_classes = score_VK.shape[1]
    cells_V = label_V * num_classes + score_VK.argmax(dim=1)
    return torch.bincount(cells_V, minlength=num_classes**2).view(num_classes, num_classes)


def class_accuracy(confusion_KK: torch.Tensor) -> torch.Tensor:
    """Return top-1 of each class in percent, float64 (K,); NaN for one without videos."""
    return 100.0 * confusion_KK.diagonal().double() / confusion_KK.sum(dim=1)


def save_scores(
    path: str, scores: Mapping[str, torch.Tensor], label_V: torch.Tensor, paths: Sequence[str], ensemble: str
) -> None:
    """Write all scores to one NumPy file (.npz), atomically, for ensembles of several runs.

    file = np.load(path)
    file["w1.0-s224-t16"], file["labels"], file["paths"], file["ensemble"]

    Args:
        scores: sub-network's key -> its scores (V, K), float32; one of them is in memory at a time, if they are
            computed when asked for.
        label_V, paths: class, or labels as bool (V, K), and path of each of these videos, in the order of the list.
        ensemble: name of the way that views were put together.
    """
    arrays = {"labels": label_V.numpy(), "paths": np.array(paths), "ensemble": np.array(ensemble)}

    def write(file: IO[bytes]) -> None:  # as np.savez does, which has all arrays in memory
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for key, array in chain(arrays.items(), ((key, score_VK.numpy()) for key, score_VK in scores.items())):
                with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

    write_atomically(path, write)

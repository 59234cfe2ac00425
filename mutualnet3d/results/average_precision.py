"""Accuracy where a video may have several labels: average precision of each class, and its mean.

Legend: V videos, K classes.
"""

from __future__ import annotations

import numpy as np
import torch

from mutualnet3d.results.view_scores import Accuracy


def average_precisions(score_VK: torch.Tensor, label_VK: torch.Tensor) -> torch.Tensor:
    """Return the average precision of each class, 0 to 1, float64 (K,); NaN for a class that no video has.

    It is the sum over the distinct scores of the class, the highest first, of the precision among the videos of at
    least that score times the growth of the recall there (scikit-learn's `average_precision_score`).

    Args:
        score_VK: scores of the videos, (V, K).
        label_VK: labels, bool (V, K), True for a class that the video has.
    """
    columns = zip(score_VK.double().numpy().T, label_VK.bool().numpy().T, strict=True)
    return torch.tensor([_average_precision(score_V, label_V) for score_V, label_V in columns], dtype=torch.float64)


def _average_precision(score_V: np.ndarray, label_V: np.ndarray) -> float:
    num_positive = int(label_V.sum())
    if not num_positive:
        return float("nan")
    order = np.argsort(-score_V, kind="stable")
    # The last video of each distinct score.
    ends = np.flatnonzero(np.diff(score_V[order], append=-np.inf))
    hits = np.cumsum(label_V[order])[ends]
    growth = np.diff(hits, prepend=0) / num_positive
    return float(np.sum(growth * hits / (ends + 1)))


def accuracy_of_several(score_VK: torch.Tensor, label_VK: torch.Tensor) -> Accuracy:
    """Return the accuracies of videos of several labels by their scores.

    They are the mean average precision over the classes that videos have, and as top-1 and top-5 the fractions of
    videos with a label of the largest score, or among the five largest.

    Args:
        score_VK: scores of the videos, (V, K).
        label_VK: labels, bool (V, K), True for a class that the video has.
    """
    best_Vk = label_VK.bool().gather(1, score_VK.topk(min(5, score_VK.shape[1]), dim=1).indices)
    top1, top5 = (100.0 * int(hits_V.sum()) / len(score_VK) for hits_V in (best_Vk[:, 0], best_Vk.any(dim=1)))
    of_classes_K = average_precisions(score_VK, label_VK)
    mean_ap = 100.0 * float(of_classes_K.nanmean()) if label_VK.any() else 0.0
    return Accuracy(top1, top5, len(score_VK), mean_ap)

"""The losses of mutual learning."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def label_loss(
    logits_BK: torch.Tensor, labels: torch.Tensor, class_weight_K: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the cross-entropy with the labels, classes (B,) or probabilities (B, K), as the mean over the batch.

    With weights of the classes it is the sum of the weighted ones over the number of clips, not over the sum of their
    weights: so that the parts of a batch, on several processes, make up the whole one's.
    """
    if class_weight_K is None:
        return F.cross_entropy(logits_BK, labels)
    return F.cross_entropy(logits_BK, labels, class_weight_K.to(logits_BK.dtype), reduction="none").mean()


def distillation_loss(logits_BK: torch.Tensor, teacher_logits_BK: torch.Tensor) -> torch.Tensor:
    """Return KL(full || sub) of the softmax outputs, temperature 1, summed over classes, mean over the batch.

    The teacher's logits carry no gradient (TPAMI 2022, equation 2).
    """
    return F.kl_div(
        F.log_softmax(logits_BK, dim=1), F.softmax(teacher_logits_BK.detach(), dim=1), reduction="batchmean"
    )


def subnet_loss(
    logits_BK: torch.Tensor,
    teacher_logits_BK: torch.Tensor,
    labels: torch.Tensor,
    label_weight: float = 0.0,
    class_weight_K: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return a sub-network's loss: (1 - label_weight) times the one with the full network, label_weight times the one
    with the labels, in which classes have their weights. The paper's is the first alone."""
    if label_weight == 0.0:
        return distillation_loss(logits_BK, teacher_logits_BK)
    loss = label_weight * label_loss(logits_BK, labels, class_weight_K)
    if label_weight < 1.0:
        loss = loss + (1.0 - label_weight) * distillation_loss(logits_BK, teacher_logits_BK)
    return loss

"""Losses of mutual learning, for one class per clip or for several labels per clip.

Legend: B clips, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F


def label_loss(
    logits_BK: torch.Tensor, labels: torch.Tensor, class_weight_K: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the cross-entropy with the labels, classes (B,) or probabilities (B, K), as the mean over the batch.

    With class weights it is the sum of the weighted losses divided by the number of clips, not by the sum of the
    weights, so that the losses of a batch's parts, on several processes, add up to the loss of the whole batch.
    """
    if class_weight_K is None:
        return F.cross_entropy(logits_BK, labels)
    return F.cross_entropy(logits_BK, labels, class_weight_K.to(logits_BK), reduction="none").mean()


def distillation_loss(logits_BK: torch.Tensor, teacher_logits_BK: torch.Tensor) -> torch.Tensor:
    """Return KL(full || sub) of the softmax outputs, temperature 1, summed over classes, mean over the batch.

    The teacher's logits carry no gradient (TPAMI 2022, equation 2).
    """
    return F.kl_div(
        F.log_softmax(logits_BK, dim=1), F.softmax(teacher_logits_BK.detach(), dim=1), reduction="batchmean"
    )


def binary_label_loss(logits_BK: torch.Tensor, label_BK: torch.Tensor) -> torch.Tensor:
    """Return the binary cross-entropy with the labels, float (B, K) of 0 and 1, as the mean over clips and classes."""
    return F.binary_cross_entropy_with_logits(logits_BK, label_BK.to(logits_BK))


def binary_distillation_loss(logits_BK: torch.Tensor, teacher_logits_BK: torch.Tensor) -> torch.Tensor:
    """Return the binary cross-entropy with the teacher's sigmoid outputs, as the mean over clips and classes.

    The teacher's logits carry no gradient.
    """
    return F.binary_cross_entropy_with_logits(logits_BK, teacher_logits_BK.detach().sigmoid())


def best_is_label(logits_BK: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return True for each clip whose label, or whose label of most weight in (B, K), has the largest logit."""
    return logits_BK.argmax(dim=1) == (labels if labels.ndim == 1 else labels.argmax(dim=1))


def best_is_among_labels(logits_BK: torch.Tensor, label_BK: torch.Tensor) -> torch.Tensor:
    """Return True for each clip with a label that has the largest logit."""
    return label_BK.gather(1, logits_BK.argmax(dim=1, keepdim=True))[:, 0] > 0


@dataclass(frozen=True)
class Losses:
    """Losses of a training.

    Args:
        label: function from logits (B, K) and labels to the loss with the labels.
        distillation: function from logits and the teacher's logits (B, K) to the loss with these.
        hits: function from logits and labels to a mask of the clips that are right, bool (B,).
    """

    label: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = label_loss
    distillation: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = distillation_loss
    hits: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = best_is_label

    def of_subnet(
        self,
        logits_BK: torch.Tensor,
        teacher_logits_BK: torch.Tensor,
        labels: torch.Tensor,
        label_weight: float = 0.0,
    ) -> torch.Tensor:
        """Return a sub-network's loss: the weighted mean of its distillation loss and its label loss.

        It is `1 - label_weight` times the loss with the full network plus `label_weight` times the loss with the
        labels. The paper has the first alone.
        """
        if label_weight == 0.0:
            return self.distillation(logits_BK, teacher_logits_BK)
        loss = label_weight * self.label(logits_BK, labels)
        if label_weight < 1.0:
            loss = loss + (1.0 - label_weight) * self.distillation(logits_BK, teacher_logits_BK)
        return loss


ONE_LABEL = Losses()
SEVERAL_LABELS = Losses(binary_label_loss, binary_distillation_loss, best_is_among_labels)

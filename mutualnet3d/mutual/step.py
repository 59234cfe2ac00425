"""The paper's training step (Yang et al., TPAMI 2022, algorithm 1), without the optimizer.

full, *subnets = space.at_step(seed, step)
losses = mutual_step(model, clips_for, labels, full, subnets)
optimizer.step()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch

from mutualnet3d.mutual.losses import distillation_loss, label_loss
from mutualnet3d.shapes import SubnetConfig


class Switchable(Protocol):
    """What the method needs of a network."""

    def __call__(self, clips: Sequence[torch.Tensor]) -> torch.Tensor: ...

    def active(self, config: SubnetConfig) -> AbstractContextManager[object]: ...

    def same_batch(self) -> AbstractContextManager[None]: ...


def mutual_step(
    model: Switchable,
    clips_for: Callable[[SubnetConfig], Sequence[torch.Tensor]],
    labels: torch.Tensor,
    full: SubnetConfig,
    subnets: Sequence[SubnetConfig],
) -> dict[str, torch.Tensor]:
    """Add the gradients of one mutual step to the parameters' `.grad`.

    The full network learns from the labels; each sub-network learns the full one's softmax, from the same clips at its
    own size and frame count. Each is backpropagated before the next one runs, so that one graph is alive at a time and
    the step needs the full network's memory. What a network has in common to all its sub-networks it computes once for
    the step (`same_batch`). With no sub-networks this is ordinary training.

    Args:
        model: in training mode; called outside `active` it is the full network, which alone tracks statistics.
        clips_for: the clips that a config needs, one float tensor (B, C, T, H, W) per pathway.
        labels: classes, int64 (B,), or their probabilities, float (B, K), of mixed clips.
        full: the config of the full network.
        subnets: the configs that distil it.

    Returns:
        The loss of each network, detached, by its key; the full network's first.
    """
    with model.same_batch():
        logits_BK = model(clips_for(full))
        loss = label_loss(logits_BK, labels)
        loss.backward()
        teacher_BK = logits_BK.detach()
        losses = {str(full): loss.detach()}
        del logits_BK, loss
        for config in subnets:
            with model.active(config):
                loss = distillation_loss(model(clips_for(config)), teacher_BK)
                loss.backward()
            losses[str(config)] = loss.detach()
            del loss
    return losses

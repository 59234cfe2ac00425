"""The paper's training step (Yang et al., TPAMI 2022, algorithm 1), without the optimizer.

full, *subnets = space.at_step(seed, step)
result = mutual_step(model, clips_for, labels, full, subnets)
optimizer.step()
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from mutualnet3d.mutual.losses import ONE_LABEL, Losses
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.slimmable_model import SlimmableForward


@dataclass(frozen=True)
class StepResult:
    """Losses and hits of a step's networks by their keys, the full network's first.

    A sub-network that was drawn again has a number after its key.

    Args:
        losses: detached scalar of each network.
        top1: fraction of the clips whose label had the largest logit, for each network; for mixed clips the label of
            most weight, for several labels any of them.
    """

    losses: dict[str, torch.Tensor]
    top1: dict[str, torch.Tensor]


def mutual_step(
    model: SlimmableForward,
    clips_for: Callable[[SubnetConfig], Sequence[torch.Tensor]],
    labels: torch.Tensor,
    full: SubnetConfig,
    subnets: Sequence[SubnetConfig],
    *,
    teacher: Callable[[Sequence[torch.Tensor]], torch.Tensor] | None = None,
    label_weight: float = 0.0,
    subnet_dropout: bool = True,
    losses: Losses = ONE_LABEL,
    backward: Callable[[torch.Tensor], Any] = torch.Tensor.backward,
    no_sync: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> StepResult:
    """Add the gradients of one mutual step to the parameters' `.grad`.

    The full network learns from the labels; each sub-network learns the full one's softmax, from the same clips at its
    own size and frame count, or that and the labels. Each network is backpropagated before the next one runs, so that
    one graph is alive at a time and the step needs the full network's memory only. Parts that all sub-networks have in
    common are computed once for the step (`shared_fast_features`). With no sub-networks this is ordinary training.

    Args:
        model: network in training mode; outside `active` it is the full network, which alone tracks statistics.
        clips_for: function from a config to its clips, one float tensor (B, C, T, H, W) per pathway.
        labels: classes, int64 (B,), or their probabilities, float (B, K), of mixed clips; or, with losses of several
            labels, float (B, K) of 0 and 1.
        full: config of the full network.
        subnets: configs of the sub-networks that learn from it.
        teacher: function from the full network's clips to the logits (B, K) that are distilled; None: the full
            network's own.
        label_weight: weight in [0, 1] of the labels in a sub-network's loss, beside that of the teacher's outputs; 0 is
            the paper's.
        subnet_dropout: True for dropout in the sub-networks and in the logits that they learn, as in the paper; False
            for neither, where only the full network's own loss meets dropout.
        losses: losses with the labels and with the teacher.
        backward: function that backpropagates a loss.
        no_sync: context inside which a forward and its backward leave their gradients on this process. Only the last
            network's, and the end of `shared_fast_features`, are outside: one exchange per step.
    """
    loss_of: dict[str, torch.Tensor] = {}
    top1: dict[str, torch.Tensor] = {}
    with model.shared_fast_features():
        for place, config in enumerate((full, *subnets)):
            is_full, is_last = place == 0, place == len(subnets)
            with nullcontext() if is_full else model.active(config), nullcontext() if is_last else no_sync():
                clips = clips_for(config)
                if is_full:
                    logits_BK, teacher_BK = _full_logits(model, clips, has_own_dropout=subnet_dropout or is_last)
                    if teacher is not None and not is_last:
                        teacher_BK = teacher(clips)
                    loss = losses.label(logits_BK, labels)
                else:
                    with nullcontext() if subnet_dropout else model.dropout.off():
                        logits_BK = model(clips)
                    loss = losses.of_subnet(logits_BK, teacher_BK, labels, label_weight)
                backward(loss)
            key = _new_key(str(config), loss_of)
            loss_of[key] = loss.detach()
            top1[key] = losses.hits(logits_BK.detach(), labels).float().mean()
            del clips, logits_BK, loss
    return StepResult(loss_of, top1)


def _full_logits(
    model: SlimmableForward, clips: Sequence[torch.Tensor], has_own_dropout: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the full network's logits (B, K), and the logits (B, K) that sub-networks learn.

    The second are the same, or made without dropout.
    """
    if has_own_dropout:
        logits_BK = model(clips)
        return logits_BK, logits_BK.detach()
    with model.dropout.clean_logits():
        logits_BK = model(clips)
        clean_BK = model.dropout.clean_BK
    assert clean_BK is not None, "the forward pass has set it"
    return logits_BK, clean_BK.to(logits_BK.dtype)


def _new_key(key: str, keys: Container[str]) -> str:
    """Return `key` with the lowest number after it that is not among `keys`.

    A space of one width draws the same network twice, or draws the full one, which has another loss.
    """
    numbers = (f"{key} ({number})" for number in itertools.count(2))
    return key if key not in keys else next(new for new in numbers if new not in keys)

"""Accuracy of sub-networks: every clip is loaded once and run by all of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import torch

from mutualnet3d import distributed
from mutualnet3d.engine.train_step import Prepare
from mutualnet3d.mutual.calibrate import Calibratable
from mutualnet3d.shapes import ClipBatch, SubnetConfig


@dataclass(frozen=True)
class Accuracy:
    """Accuracies in percent over `num_videos` videos, softmax averaged over the views of each."""

    top1: float
    top5: float
    num_videos: int


@torch.no_grad()
def evaluate(
    model: Calibratable,
    configs: Sequence[SubnetConfig],
    batches: Iterable[ClipBatch],
    prepare: Prepare,
    device: torch.device,
    num_videos: int,
    num_views: int,
    num_classes: int,
    could_not_be_had: Collection[int] = (),
) -> dict[SubnetConfig, Accuracy]:
    """Accuracy of each of `configs`, the same on all processes of a job, which have a share of the videos each.

    Args:
        model: able to evaluate all of them (calibrated).
        batches: every view of every video of this process's share once, in all shapes that the configs need.
        num_videos: in the whole list; num_views: of each video; num_classes: of the network.
        could_not_be_had: videos of the share of which a view is missing; looked at behind the last batch. They do not
            count.

    Raises:
        ValueError: a video that came with more or fewer views; or no video is left.
    """
    scores = {config: torch.zeros(num_videos, num_classes, dtype=torch.float64) for config in configs}
    label_V = torch.zeros(num_videos, dtype=torch.int64)
    views_V = torch.zeros(num_videos, dtype=torch.int64)
    was_training = model.training
    model.train(False)
    try:
        for batch in batches:
            label_V[batch.video_B] = batch.label_B
            views_V.index_add_(0, batch.video_B, torch.ones_like(batch.video_B))
            on_device = batch.to(device)
            for config in configs:
                with model.active(config):
                    score_BK = model(prepare(on_device, config)).float().softmax(dim=1).cpu()
                scores[config].index_add_(0, batch.video_B, score_BK.double())
    finally:
        model.train(was_training)
    failed_V = torch.zeros(num_videos, dtype=torch.int64)
    failed_V[sorted(could_not_be_had)] = 1
    # A video is one process's; the others add zeros, which changes no bit.
    for tensor in (label_V, views_V, failed_V, *scores.values()):
        distributed.sum_over_ranks(tensor)
    counts_V = failed_V == 0
    odd = (counts_V & (views_V != num_views)).nonzero().flatten().tolist()
    if odd:
        raise ValueError(f"video {odd[0]} came with {int(views_V[odd[0]])} views, expected {num_views}")
    if not counts_V.any():
        raise ValueError(f"none of {num_videos} videos could be decoded; there is no accuracy")
    return {config: accuracy(score_VK[counts_V], label_V[counts_V]) for config, score_VK in scores.items()}


def accuracy(score_VK: torch.Tensor, label_V: torch.Tensor) -> Accuracy:
    """Top-1 and top-5 (of fewer than five classes: of all) of scores (V, K) against labels (V,)."""
    ranked_Vk = score_VK.topk(min(5, score_VK.shape[1]), dim=1).indices
    hits_Vk = ranked_Vk == label_V[:, None]
    return Accuracy(
        top1=100.0 * hits_Vk[:, 0].double().mean().item(),
        top5=100.0 * hits_Vk.any(dim=1).double().mean().item(),
        num_videos=len(label_V),
    )

"""Accuracy of sub-networks: every clip is loaded once and run by all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

from mutualnet3d import distributed
from mutualnet3d.engine.evaluation_state import EvaluationState
from mutualnet3d.engine.train_step import Prepare
from mutualnet3d.results.view_scores import Accuracy, accuracy
from mutualnet3d.shapes import ClipBatch, SubnetConfig
from mutualnet3d.slimmable_model import SlimmableModel

# (sub-network, a clip tensor for each pathway) -> logits (B, K), in evaluation mode.
SubnetForward = Callable[[SubnetConfig, Sequence[torch.Tensor]], torch.Tensor]


@dataclass(frozen=True)
class Evaluation:
    """Result of a test, over the videos of which every view could be decoded.

    Args:
        accuracies: accuracy of each sub-network, over all processes' videos.
        scores: scores of each sub-network, float32 (V, K), where they were to be kept; else empty.
        label_V: classes of the V videos.
        video_V: their positions in the list, ascending.
    """

    accuracies: dict[SubnetConfig, Accuracy]
    scores: dict[SubnetConfig, torch.Tensor]
    label_V: torch.Tensor
    video_V: torch.Tensor


@contextmanager
def evaluation_forward(model: SlimmableModel) -> Iterator[SubnetForward]:
    """Yield `model`'s forward pass of a sub-network, in evaluation mode inside the block; its mode comes back after it.

    Args:
        model: network that can evaluate the sub-networks (calibrated).
    """

    def forward(config: SubnetConfig, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        with model.active(config):
            return model(clips)

    was_training = model.training
    model.train(False)
    try:
        yield forward
    finally:
        model.train(was_training)


@torch.no_grad()
def evaluate(
    forward: SubnetForward,
    configs: Sequence[SubnetConfig],
    batches: Iterable[ClipBatch],
    prepare: Prepare,
    device: torch.device,
    *,
    videos: Sequence[int],
    num_videos: int,
    num_views: int,
    num_classes: int,
    failed_videos: Collection[int] = (),
    ensemble: str = "sum",
    middle_view: int | None = None,
    keep_scores: bool = False,
    batch_context: Callable[[], AbstractContextManager[object]] = nullcontext,
    state: EvaluationState | None = None,
    after_batch: Callable[[EvaluationState], object] = lambda state: None,
) -> Evaluation:
    """Test `configs` in one pass: every clip is loaded once, in the shapes that they need, and run by all of them.

    The accuracies are the same on all processes of a job, each of which has a shard of the videos, and do not depend on
    the number of processes: all views of a video are one process's, and counts are added up.

    Args:
        forward: (sub-network, clips) -> logits; see `evaluation_forward`.
        configs: sub-networks to test.
        batches: every view of every one of `videos` once, in all shapes that the configs need.
        prepare: (batch on the device, sub-network) -> clips that `forward` takes.
        device: device that batches are moved to.
        videos: this process's shard, positions in the list.
        num_videos: number of videos in the whole list.
        num_views: number of views of each video.
        num_classes: number of classes of the network.
        failed_videos: videos of the shard of which a view is missing, which do not count; read after the last batch.
        ensemble: way of putting a video's views together: see `ViewScores`.
        middle_view: number of the view that a test of one view has; None: none is the same, and accuracy over single
            views is over all. See `ViewScores`.
        keep_scores: True to have the scores in the result, on this process.
        batch_context: context of the forward passes of one batch, such as SlowFast's `shared_fast_features`.
        state: results of the batches before `batches`, which go on in it; None: there are none.
        after_batch: called with the results so far after each batch.

    Raises:
        ValueError: a video that came with more or fewer views; or no video is left.
    """
    state = state or EvaluationState(configs, videos, num_videos, num_classes, ensemble, middle_view)
    scores_of, label_V, views_V = state.scores_of, state.label_V, state.views_V
    for batch in batches:
        label_V[batch.video_B] = batch.label_B
        views_V.index_add_(0, batch.video_B, torch.ones_like(batch.video_B))
        on_device = batch.to(device)
        with batch_context():
            for config, scores in scores_of.items():
                logits_BK = forward(config, prepare(on_device, config)).cpu()
                scores.add(batch.video_B, logits_BK, batch.label_B)
        after_batch(state)
    failed_V = torch.zeros(num_videos, dtype=torch.int64)
    failed_V[sorted(state.failed_videos.union(failed_videos))] = 1
    # A video is one process's; the others add zeros, which changes no bit.
    for tensor in (label_V, views_V, failed_V):
        distributed.sum_over_ranks(tensor)
    counts_V = failed_V == 0
    odd = (counts_V & (views_V != num_views)).nonzero().flatten().tolist()
    if odd:
        raise ValueError(f"video {odd[0]} came with {int(views_V[odd[0]])} views, expected {num_views}")
    if not counts_V.any():
        raise ValueError(f"none of {num_videos} videos could be decoded; there is no accuracy")
    accuracies, kept = {}, {}
    for config in configs:
        score_VK, hits_V2 = scores_of.pop(config).whole(num_videos, num_views)  # one of whole size at a time
        distributed.sum_over_ranks(score_VK)
        distributed.sum_over_ranks(hits_V2)
        score_VK, hits_V2 = score_VK[counts_V], hits_V2[counts_V]
        num_counted = num_views if middle_view is None else 1
        accuracies[config] = accuracy(score_VK, label_V[counts_V], hits_V2, num_counted)
        if keep_scores:
            kept[config] = score_VK
    return Evaluation(accuracies, kept, label_V[counts_V], counts_V.nonzero().flatten())

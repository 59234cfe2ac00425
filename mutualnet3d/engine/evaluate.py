"""Test of sub-networks, which all run every clip that is loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

from mutualnet3d import distributed
from mutualnet3d.engine.evaluation_state import EvaluationState
from mutualnet3d.engine.train_step import Prepare
from mutualnet3d.results.average_precision import accuracy_of_several
from mutualnet3d.results.row import Views
from mutualnet3d.results.score_store import ComputedScores, ScoreFile
from mutualnet3d.results.view_scores import Accuracy, accuracy
from mutualnet3d.shapes import ClipBatch, SubnetConfig
from mutualnet3d.slimmable_model import SlimmableModel

# (sub-network, a clip tensor for each pathway) -> logits (B, K), in evaluation mode.
SubnetForward = Callable[[SubnetConfig, Sequence[torch.Tensor]], torch.Tensor]


@dataclass(frozen=True)
class Evaluation:
    """Result of a test, over the videos whose views could all be decoded.

    Args:
        row_accuracies: accuracy of each sub-network with each number of views, over all processes' videos.
        row_scores: scores of each sub-network with each number of views, float32 (V, K); empty unless they were asked
            for. Scores in a file are read at each access.
        views: all views of a video.
        label_V: classes of the V videos, or, of several labels a video, the numbers of their sets.
        video_V: positions of the V videos in the list, ascending.
    """

    row_accuracies: dict[tuple[SubnetConfig, Views], Accuracy]
    row_scores: Mapping[tuple[SubnetConfig, Views], torch.Tensor]
    views: Views
    label_V: torch.Tensor
    video_V: torch.Tensor

    @property
    def accuracies(self) -> dict[SubnetConfig, Accuracy]:
        """Accuracy of each sub-network over all views."""
        return {config: accuracy for (config, views), accuracy in self.row_accuracies.items() if views == self.views}

    def accuracies_of(self, config: SubnetConfig) -> dict[Views, Accuracy]:
        """Return the accuracy of a sub-network with each number of views, all of them first."""
        return {views: accuracy for (other, views), accuracy in self.row_accuracies.items() if other == config}

    @property
    def scores(self) -> Mapping[SubnetConfig, torch.Tensor]:
        """Scores of each sub-network over all views, float32 (V, K); empty unless they were asked for."""
        configs = [config for config, views in self.row_scores if views == self.views]
        return ComputedScores(configs, lambda config: self.row_scores[config, self.views])


@contextmanager
def evaluation_forward(model: SlimmableModel) -> Iterator[SubnetForward]:
    """Yield the forward pass of a model's sub-networks, in evaluation mode inside the block.

    The model's own mode comes back after the block.

    Args:
        model: network that can evaluate the sub-networks (calibrated).

    Yields:
        Function from a sub-network and its clips to logits.
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
    subsets: Mapping[Views, Sequence[int]] | None = None,
    keep_scores: bool = False,
    score_folder: str | None = None,
    label_sets_SK: torch.Tensor | None = None,
    batch_context: Callable[[], AbstractContextManager[object]] = nullcontext,
    state: EvaluationState | None = None,
    after_batch: Callable[[EvaluationState], object] = lambda state: None,
) -> Evaluation:
    """Test `configs` in one pass: every clip is loaded once, in the shapes they need, and all of them run it.

    The accuracies are the same on all processes of a job, which share the videos, and do not depend on the number of
    processes: one process has all views of a video, and counts are added up.

    Args:
        forward: function from a sub-network and its clips to logits, see `evaluation_forward`.
        configs: sub-networks to test.
        batches: batches with every view of `videos` once, in all shapes that the configs need.
        prepare: function from a batch on the device and a sub-network to the clips that `forward` takes.
        device: device that batches are moved to.
        videos: this process's shard, positions in the list.
        num_videos: number of videos in the whole list.
        num_views: number of views of each video.
        num_classes: number of classes of the network.
        failed_videos: videos of the shard with a missing view, which do not count; read after the last batch.
        ensemble: way of putting a video's views together, see `ViewScores`.
        subsets: numbers of the views that are put together, by their `Views`, all views of a video first; each entry
            has accuracies and scores of its own. None: all views only.
        keep_scores: True for scores in the result, on this process.
        score_folder: folder on whose disk the scores of the result are; None: they are in memory.
        label_sets_SK: sets of labels, bool (S, K), whose numbers are the videos' labels; None: the labels are classes.
        batch_context: context of the forward passes of one batch, such as SlowFast's `shared_fast_features`.
        state: results of earlier batches, to which `batches` add; None: no earlier batches.
        after_batch: function that is called with the results so far after each batch.

    Raises:
        ValueError: a video came with more or fewer views, or no video is left.
    """
    subsets = {Views(num_views): range(num_views)} if subsets is None else subsets
    assert len(next(iter(subsets.values()))) == num_views, "all views come first"
    state = state or EvaluationState(configs, videos, num_videos, num_classes, ensemble, list(subsets.values()))
    scores_of, label_V, views_V = state.scores_of, state.label_V, state.views_V
    for batch in batches:
        label_V[batch.video_B] = batch.label_B
        views_V.index_add_(0, batch.video_B, torch.ones_like(batch.video_B))
        on_device = batch.to(device)
        with batch_context():
            for config, scores in scores_of.items():
                logits_BK = forward(config, prepare(on_device, config)).cpu()
                scores.add(batch.video_B, logits_BK)
        after_batch(state)
        state.release()
    failed_V = torch.zeros(num_videos, dtype=torch.int64)
    failed_V[sorted(state.failed_videos.union(failed_videos))] = 1
    label_V, views_V = label_V.clone(), views_V.clone()  # the state stays this process's own, to be stored again
    # A video is one process's; the others add zeros, which changes no bit.
    for tensor in (label_V, views_V, failed_V):
        distributed.sum_over_ranks(tensor)
    counts_V = failed_V == 0
    odd = (counts_V & (views_V != num_views)).nonzero().flatten().tolist()
    if odd:
        raise ValueError(f"video {odd[0]} came with {int(views_V[odd[0]])} views, expected {num_views}")
    if not counts_V.any():
        raise ValueError(f"none of {num_videos} videos could be decoded; there is no accuracy")
    accuracies: dict[tuple[SubnetConfig, Views], Accuracy] = {}
    score_tensors: dict[tuple[SubnetConfig, Views], torch.Tensor] | ScoreFile[tuple[SubnetConfig, Views]] = {}
    if keep_scores and score_folder is not None:
        score_tensors = ScoreFile(score_folder)
    for config in configs:
        scores = scores_of.pop(config)
        for number, (views, numbers) in enumerate(subsets.items()):
            score_VK = scores.whole(num_videos, len(numbers), number)  # one of whole size at a time
            state.release()
            distributed.sum_over_ranks(score_VK)
            score_VK = score_VK[counts_V]
            labels = label_V[counts_V]
            accuracies[config, views] = (
                accuracy(score_VK, labels)
                if label_sets_SK is None
                else accuracy_of_several(score_VK, label_sets_SK[labels])
            )
            if keep_scores:
                score_tensors[config, views] = score_VK
    all_views = next(iter(subsets))
    return Evaluation(accuracies, score_tensors, all_views, label_V[counts_V], counts_V.nonzero().flatten())

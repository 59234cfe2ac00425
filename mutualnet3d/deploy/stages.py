"""Run of many videos through the stages of a cascade; a further stage runs only on videos without a sure result.

A stage's clips are read when it runs, and freed after it. If two stages take one clip of a video each, both are read at
once, since the second adds little to the decoding. If the next stage takes more views, they are read later, since most
videos need none of them. In memory are the clips of a forward pass, as many for the next one, and a small clip of each
video.

Legend: V views, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import Generic, TypeAlias, TypeVar

import numpy as np
import torch

from mutualnet3d.deploy.prediction import ReadVideo, StageRun, Timing, score_views
from mutualnet3d.results.cascade import Cascade, confidence, probabilities
from mutualnet3d.results.row import Row, Views
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.video.errors import VideoDecodeError

Source = TypeVar("Source")
Item = TypeVar("Item")
# Clips of a sub-network (views of several videos, one tensor for each pathway) -> logits, and the seconds they took.
Forward: TypeAlias = Callable[[SubnetConfig, Sequence[torch.Tensor]], tuple[torch.Tensor, float]]


@dataclass(frozen=True)
class PlannedStage:
    """Sub-network and views that run on a video, and the confidence from which on no further stage runs.

    Args:
        config: sub-network.
        views: views of the video.
        threshold: confidence, 0 to 1, from which on no further stage runs; 0: none in any case.
        gflops: cost of a clip, 1e9 multiply-adds.
    """

    config: SubnetConfig
    views: Views
    threshold: float
    gflops: float


# (video, stages of the same views) -> clips for each of them.
Read: TypeAlias = Callable[[Source, Sequence[PlannedStage]], list[ReadVideo]]


@dataclass(frozen=True)
class Plan:
    """Stages that videos are predicted by.

    Args:
        stages: stages, the cheapest first; a single one if the sub-network is the same for every video.
        cascade: cascade of the stages; None without any.
        row: row of the query table about a sub-network without cascade; None without any.
    """

    stages: tuple[PlannedStage, ...]
    cascade: Cascade | None = None
    row: Row | None = None


@dataclass
class StagedResult:
    """Result of a video so far.

    Args:
        source: path of the video, or "frames".
        score_K: scores of the last stage that ran.
        runs: stages that ran.
        timing: times of the stages; a video has its part of a forward pass of several videos.
        frames: first view of the last stage, uint8 (T, S, S, 3).
    """

    source: str
    score_K: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    runs: list[StageRun] = field(default_factory=list)
    timing: Timing = field(default_factory=lambda: Timing(0.0, 0.0, 0.0))
    frames: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def add(
        self, stage: PlannedStage, clips: ReadVideo, logits_VK: torch.Tensor, seconds: float, ensemble: str
    ) -> None:
        """Add a stage that ran.

        Args:
            stage: stage that ran.
            clips: clips that the stage ran on.
            logits_VK: logits of the views, (V, K).
            seconds: time of the video's part of the forward pass.
            ensemble: way of putting views together.
        """
        self.score_K = score_views(logits_VK, ensemble)
        self.runs.append(StageRun(stage.config, stage.views.count, stage.gflops * stage.views.count))
        self.timing += Timing(1e3 * clips.decode_seconds, 1e3 * clips.prepare_seconds, 1e3 * seconds)
        self.frames = clips.clips[0][0].numpy()

    def is_sure(self, threshold: float, ensemble: str) -> bool:
        """Return True for a result that needs no further stage.

        Args:
            threshold: confidence from which on no further stage runs.
            ensemble: way of putting views together.
        """
        return float(confidence(probabilities(self.score_K[None], ensemble))) >= threshold


def run_in_stages(
    sources: Iterable[Source],
    stages: Sequence[PlannedStage],
    read: Read[Source],
    forward: Forward,
    ensemble: str,
    batch_size: int,
) -> Iterator[StagedResult | VideoDecodeError]:
    """Yield the results of the videos in their order, or the error of a video that cannot be read.

    Args:
        sources: videos, which are taken as they are needed.
        stages: stages, the cheapest first.
        read: function from a video and stages of the same views to the clips for each stage, decoded once.
        forward: forward pass of clips of one shape.
        ensemble: way of putting a video's views together, see `view_scores.ViewScores`.
        batch_size: number of videos that go through the stages together, and largest number of clips of a forward pass,
            unless a video has more.
    """
    for videos in _batches(sources, batch_size):
        batch = _Batch(videos, read, forward, ensemble)
        for stage, following in zip_longest(stages, stages[1:]):
            batch.run(stage, following, max(1, batch_size // stage.views.count))
        yield from (batch.results[number] for number in range(len(videos)))


class _Batch(Generic[Source]):
    """Videos that go through the stages together.

    Args:
        videos: videos of the batch.
        read: function that reads a video, see `run_in_stages`.
        forward: forward pass of clips of one shape.
        ensemble: way of putting a video's views together.

    Attributes:
        results: results so far, or errors, by the number of the video.
    """

    def __init__(self, videos: Sequence[Source], read: Read[Source], forward: Forward, ensemble: str):
        self._videos, self._read, self._forward, self._ensemble = videos, read, forward, ensemble
        self._unsure = list(range(len(videos)))
        self._clips: dict[int, list[ReadVideo]] = {}  # that were read ahead
        self.results: dict[int, StagedResult | VideoDecodeError] = {}

    def run(self, stage: PlannedStage, following: PlannedStage | None, size: int) -> None:
        """Run a stage on the videos without a sure result.

        Args:
            stage: stage to run.
            following: next stage; None without any.
            size: number of videos in a forward pass.
        """
        together = read_together(stage, following)
        next_clips: dict[int, list[ReadVideo]] = {}
        still_unsure: list[int] = []
        for numbers in _batches(self._unsure, size):
            clips_of: dict[int, ReadVideo] = {}
            for number in numbers:
                try:
                    clips_of[number], *next_clips[number] = self._clips_of(number, together)
                except VideoDecodeError as error:
                    self.results[number] = error
            still_unsure += self._run_pass(stage, clips_of)
        self._unsure = still_unsure
        self._clips = {number: next_clips[number] for number in still_unsure}

    def _clips_of(self, number: int, stages: Sequence[PlannedStage]) -> list[ReadVideo]:
        """Return the clips of a video for the first of some stages, or, unless read ahead, for all of them."""
        return self._clips.get(number) or self._read(self._videos[number], stages)

    def _run_pass(self, stage: PlannedStage, clips_of: Mapping[int, ReadVideo]) -> Iterator[int]:
        """Run a forward pass, add its output to the results, and yield the videos without a sure result."""
        if not clips_of:
            return
        logits_of, seconds = run_pass(stage, list(clips_of.values()), self._forward)
        for (number, clips), logits_VK in zip(clips_of.items(), logits_of, strict=True):
            result = self.results.setdefault(number, StagedResult(clips.source))
            assert isinstance(result, StagedResult)
            result.add(stage, clips, logits_VK, seconds / len(clips_of), self._ensemble)
            if not result.is_sure(stage.threshold, self._ensemble):
                yield number


def run_pass(stage: PlannedStage, videos: Sequence[ReadVideo], forward: Forward) -> tuple[torch.Tensor, float]:
    """Return the outputs for the views of some videos, one after the other, and the seconds of the forward pass.

    Args:
        stage: stage that runs.
        videos: clips of the videos for the stage, of at least one video.
        forward: forward pass of clips of one shape.

    Returns:
        Logits of the videos, (N, V, K), or other values of as many views; seconds.
    """
    pathways = zip(*(video.clips for video in videos), strict=True)
    joined = [views[0] if len(views) == 1 else torch.cat(views) for views in pathways]
    values, seconds = forward(stage.config, joined)
    return values.view(len(videos), stage.views.count, *values.shape[1:]), seconds


def read_together(stage: PlannedStage, following: PlannedStage | None) -> list[PlannedStage]:
    """Return the stages whose clips are read when `stage` runs: with `following` if both take one clip.

    Args:
        stage: stage that runs.
        following: next stage; None without any.
    """
    is_cheap = following is not None and following.views.count == stage.views.count == 1
    return [stage, following] if following is not None and is_cheap else [stage]


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield the items in lists of `size`."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch

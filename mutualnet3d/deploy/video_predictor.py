"""Prediction of one or many videos, by a sub-network for all, or a cascade that goes on with the unsure ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from mutualnet3d.data.clip_reader import Frames
from mutualnet3d.deploy.backend import Forward
from mutualnet3d.deploy.forked import run_in_fork
from mutualnet3d.deploy.prediction import Prediction, ReadVideo, best_labels
from mutualnet3d.deploy.stages import Plan, PlannedStage, StagedResult, run_in_stages
from mutualnet3d.deploy.subnet_predictor import SubnetPredictor, ViewsWanted
from mutualnet3d.results.query_table import Row, Views
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.open import refuse_fps_of_file
from mutualnet3d.video.paths import is_folder


class VideoPredictor(SubnetPredictor):
    """Base of `Predictor`, with the prediction of videos that this process reads."""

    def predict(
        self,
        source: str | os.PathLike[str] | Frames,
        gflops: float | None = None,
        milliseconds: float | None = None,
        config: SubnetConfig | str | None = None,
        views: ViewsWanted = None,
        fps: float | None = None,
        top: int = 5,
        mean_gflops: float | None = None,
        mean_milliseconds: float | None = None,
    ) -> Prediction:
        """Predict the labels of a video.

        The sub-network is the most accurate one within the budget, `config`, or, without either, the most expensive
        one. A budget is for the video: it chooses sub-network and views together among the rows of the table, or the
        sub-network for `views`. Only the frames that it needs are decoded. The accuracy is with the same views if the
        table has it; otherwise the accuracy with one view or the test's views chooses the sub-network, and the
        prediction has no accuracy.

        With a mean budget a cascade of the table runs: a cheap sub-network first, and a dearer one if the first is not
        sure of the video (`Prediction.stages`). Some videos cost more than the budget, others less.

        Args:
            source: path of a video file or of a folder of pictures; or frames, uint8 (T, H, W, 3), RGB.
            gflops: largest cost of the video with all its views, 1e9 multiply-adds.
            milliseconds: largest time of the network for the video on this machine, measured when first needed.
            config: sub-network, or its key.
            views: number of clips over the video, (clips, crops of each) with 1 or 3 crops, or views of a row; their
                scores are put together. None: chosen by the budget, or a single clip without a budget.
            fps: frame rate of frames or of a folder, frames per second; None: the network's.
            top: number of labels, at least 1.
            mean_gflops: largest mean cost of a video, over many like those of the test, 1e9 multiply-adds.
            mean_milliseconds: largest mean time of the networks for a video, measured like `milliseconds`.

        Raises:
            VideoDecodeError: the video cannot be read.
            ValueError: nothing fits the budget, the sub-network is unknown, frames, views or `top` are not allowed, or
                there is a mean budget and the table has no cascades.
        """
        plan = self.plan(gflops, milliseconds, config, views, mean_gflops, mean_milliseconds)
        (predicted,) = self._predict([source], plan, fps, top, batch_size=1)
        if isinstance(predicted, VideoDecodeError):
            raise predicted
        return predicted

    def predict_many(
        self,
        sources: Iterable[str | os.PathLike[str] | Frames],
        gflops: float | None = None,
        milliseconds: float | None = None,
        config: SubnetConfig | str | None = None,
        views: ViewsWanted = None,
        fps: float | None = None,
        top: int = 5,
        mean_gflops: float | None = None,
        mean_milliseconds: float | None = None,
        batch_size: int = 8,
    ) -> Iterator[Prediction | VideoDecodeError]:
        """Return an iterator of the predictions of videos, in their order.

        For a video that cannot be read it gives the error, and goes on. Budget and sub-network are those of `predict`,
        chosen once for all videos. `batch_size` videos run together; those that a cascade's first stage is not sure of
        go through the next stage together.

        Args:
            sources: videos as for `predict`, which are read when their turn comes, or while a batch fills.
            gflops: largest cost of a video, see `predict`.
            milliseconds: largest time of a video, see `predict`.
            config: sub-network, or its key.
            views: clips over a video, see `predict`.
            fps: frame rate of frames or of a folder, see `predict`.
            top: number of labels, at least 1.
            mean_gflops: largest mean cost of a video, see `predict`.
            mean_milliseconds: largest mean time of a video, see `predict`.
            batch_size: number of videos at a time, at least 1, and of clips of a forward pass unless a video has more.

        Raises:
            ValueError: at once: an error of `predict`, or a `batch_size` that is not allowed.
        """
        check_batch_size(batch_size)
        plan = self.plan(gflops, milliseconds, config, views, mean_gflops, mean_milliseconds)
        return self._predict(sources, plan, fps, top, batch_size)

    def _predict(
        self,
        sources: Iterable[str | os.PathLike[str] | Frames],
        plan: Plan,
        fps: float | None,
        top: int,
        batch_size: int,
    ) -> Iterator[Prediction | VideoDecodeError]:
        check_top(top)
        results = run_in_stages(
            sources,
            plan.stages,
            lambda source, stages: self._read(source, stages, plan.row, fps),
            self._forward,
            self.preprocessing.ensemble,
            batch_size,
        )
        return (
            result if isinstance(result, VideoDecodeError) else self._prediction(result, plan, top)
            for result in results
        )

    def read(
        self,
        source: str | os.PathLike[str] | Frames,
        gflops: float | None = None,
        milliseconds: float | None = None,
        config: SubnetConfig | str | None = None,
        views: ViewsWanted = None,
        fps: float | None = None,
    ) -> ReadVideo:
        """Read the clips of a video for the sub-network that `predict` takes, the first half of `predict`.

        It needs no network. Arguments and errors are those of `predict`.
        """
        plan = self.plan(gflops, milliseconds, config, views)
        return self._read(source, plan.stages[:1], plan.row, fps)[0]

    def run(self, video: ReadVideo, top: int = 5) -> Prediction:
        """Predict the labels of clips that were read, the second half of `predict`.

        Args:
            video: result of `read`.
            top: number of labels, at least 1.

        Raises:
            ValueError: `top` is not allowed.
        """
        check_top(top)
        return self._prediction_of(video, *self._forward(video.config, video.clips), top)

    def _prediction_of(self, video: ReadVideo, logits_VK: torch.Tensor, seconds: float, top: int) -> Prediction:
        """Return the prediction from the logits (V, K) of a single stage and their seconds."""
        stage = PlannedStage(video.config, Views(len(logits_VK)), 0.0, self._networks.gflops(video.config))
        result = StagedResult(video.source)
        result.add(stage, video, logits_VK, seconds, self.preprocessing.ensemble)
        return self._prediction(result, Plan((stage,), row=video.row), top)

    def _read(
        self,
        source: str | os.PathLike[str] | Frames,
        stages: Sequence[PlannedStage],
        row: Row | None,
        fps: float | None,
    ) -> list[ReadVideo]:
        """Return the clips of a video for each of some stages of the same views, with the time at the first."""
        source = os.fspath(source) if isinstance(source, os.PathLike) else source
        if isinstance(source, str) and fps is not None and not is_folder(source):
            refuse_fps_of_file(fps)
        shapes_of = {stage.config: self._networks.shapes(stage.config) for stage in stages}
        shapes = list(dict.fromkeys(shape for shapes in shapes_of.values() for shape in shapes))
        views = stages[0].views
        read = self._reader.read(source, shapes, views.spans, views.crops, fps)
        name = source if isinstance(source, str) else "frames"
        seconds = [(read.decode_seconds, read.prepare_seconds), *[(0.0, 0.0)] * (len(stages) - 1)]
        return [
            ReadVideo(
                name, config, row, tuple(read.clips[shape] for shape in shapes), *times, read.span_times, read.place
            )
            for (config, shapes), times in zip(shapes_of.items(), seconds, strict=True)
        ]

    def _forward(self, config: SubnetConfig, clips: Sequence[torch.Tensor]) -> tuple[torch.Tensor, float]:
        """Return the logits of clips, and the seconds that they took."""
        return self._timed(self._backend.forward, config, clips)

    def _timed(
        self, forward_of: Callable[[SubnetConfig], Forward], config: SubnetConfig, clips: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, float]:
        """Return the output of a forward pass on uint8 clips (V, T, S, S, 3), and its seconds."""
        run_in_fork()
        with self._lock:
            forward = forward_of(self._subnets.runnable(config))
            started = time.perf_counter()
            values = forward(clips)
            return values, time.perf_counter() - started

    def _prediction(self, result: StagedResult, plan: Plan, top: int) -> Prediction:
        last = result.runs[-1]
        return Prediction(
            source=result.source,
            labels=best_labels(result.score_K, self.class_names, top),
            config=last.config,
            gflops=self._networks.gflops(last.config),
            row=plan.row,
            backend=self.backend,
            views=last.views,
            timing=result.timing,
            frames=result.frames,
            cascade=plan.cascade,
            stages=tuple(result.runs),
        )


def check_top(top: int) -> None:
    """Refuse a number of labels that is not allowed.

    Args:
        top: number of labels.

    Raises:
        ValueError: the number is no integer of at least 1.
    """
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise ValueError(f"top is {top!r}; it must be an integer of at least 1")


def check_batch_size(batch_size: int) -> None:
    """Refuse a number of videos or windows at a time that is not allowed.

    Args:
        batch_size: number of videos or windows at a time.

    Raises:
        ValueError: the number is no integer of at least 1.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size is {batch_size!r}; it must be an integer of at least 1")

"""Features of videos at any budget: the classifier's input for each clip or window, or the map of a layer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch

from mutualnet3d.data.clip_reader import Frames
from mutualnet3d.data.file_reader import UnreadFile
from mutualnet3d.data.outage import OutageCheck
from mutualnet3d.data.window_reader import WindowReader
from mutualnet3d.data.window_sampling import check_every
from mutualnet3d.deploy.file_predictor import FilePredictor
from mutualnet3d.deploy.file_stages import run_files
from mutualnet3d.deploy.forked import run_in_fork
from mutualnet3d.deploy.prediction import Timing
from mutualnet3d.deploy.stages import Plan, PlannedStage
from mutualnet3d.deploy.subnet_predictor import ViewsWanted
from mutualnet3d.deploy.video_features import ClipFeatures, VideoFeatures
from mutualnet3d.deploy.video_predictor import check_batch_size
from mutualnet3d.deploy.window_scores import Progress, window_values
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.video.errors import VideoDecodeError

# Clips of a sub-network -> their features, and the seconds that they took.
_FeatureForward: TypeAlias = Callable[[Sequence[torch.Tensor]], tuple[torch.Tensor, float]]


class FeaturePredictor(FilePredictor):
    """Base of `Predictor`, without loading, pickling, streams and segments."""

    def features(
        self,
        source: str | os.PathLike[str] | Frames,
        gflops: float | None = None,
        milliseconds: float | None = None,
        config: SubnetConfig | str | None = None,
        views: ViewsWanted = None,
        every: float | None = None,
        per_clip: bool = False,
        layer: str | None = None,
        fps: float | None = None,
        batch_size: int = 8,
        progress: Progress | None = None,
    ) -> VideoFeatures:
        """Return the features of a video: the pooled vector that the classifier reads, or the maps of a layer.

        Without `every` the video has a vector that is the mean over the clips of `predict`, or a vector for each clip.
        With `every` there is a vector for each window, as in `segments`. A narrower sub-network may have shorter
        vectors; vectors of different sub-networks are not comparable.

        Args:
            source: path of a video file or of a folder of pictures; or frames, uint8 (T, H, W, 3), RGB.
            gflops: largest cost of the video, or with `every` of a window, 1e9 multiply-adds, see `predict`.
            milliseconds: largest time of the video, or with `every` of a window, see `predict`.
            config: sub-network, or its key, see `predict`.
            views: clips over the video, see `predict`; None with `every`.
            every: seconds from the start of a window to that of the next; None: clips instead of windows.
            per_clip: True for a vector of each clip; False for their mean.
            layer: name of the layer whose maps are the features, by PyTorch alone; None: pooled vectors.
            fps: frame rate of frames or of a folder, frames per second; None: the network's.
            batch_size: number of windows in a forward pass, at least 1.
            progress: function from the windows and their number to the windows, for a progress bar.

        Raises:
            VideoDecodeError: the video cannot be read, or no window has half of its frames.
            ValueError: nothing fits the budget, a sub-network or layer is unknown, a value is not allowed, or the back
                end's networks give no features; the message names those that do.
        """
        check_batch_size(batch_size)
        plan = self.feature_plan(gflops, milliseconds, config, views, every)
        (stage,) = plan.stages
        forward = self._feature_forward(stage.config, layer)
        if every is not None:
            return self._window_features(source, stage, forward, every, layer, fps, batch_size, progress)
        (video,) = self._read(source, plan.stages, plan.row, fps)
        values_VC, seconds = forward(video.clips)
        result = ClipFeatures(video.source)
        result.add(stage, video, values_VC, seconds, self.preprocessing.ensemble)
        return self._clip_features(result, stage, per_clip, layer)

    def feature_plan(
        self,
        gflops: float | None = None,
        milliseconds: float | None = None,
        config: SubnetConfig | str | None = None,
        views: ViewsWanted = None,
        every: float | None = None,
    ) -> Plan:
        """Return the sub-network and views that `features` takes with the same arguments."""
        if every is not None:
            check_every(every)
            if views is not None:
                raise ValueError("give views of the video, or windows over it (every), not both")
        return self.plan(gflops, milliseconds, config, views if every is None else 1)

    def features_of_files(
        self,
        paths: Sequence[str],
        plan: Plan | None = None,
        every: float | None = None,
        per_clip: bool = False,
        layer: str | None = None,
        batch_size: int = 8,
        workers: int | None = None,
        timeout: float = 300.0,
    ) -> Iterator[tuple[int, VideoFeatures | UnreadFile]]:
        """Return an iterator of the features of many files, with their places in `paths`, in the order of completion.

        For a file that cannot be read it gives the reason, and goes on. Processes read the files as in `predict_files`;
        with `every` this process reads them, one after the other.

        Args:
            paths: video files, or folders of pictures, which are read when their turn comes.
            plan: result of `feature_plan`, which takes a budget; None: the most expensive sub-network.
            every: seconds from the start of a window to that of the next, see `features`.
            per_clip: True for a vector of each clip, see `features`.
            layer: name of the layer whose maps are the features, see `features`.
            batch_size: largest number of clips of a forward pass, see `predict_files`.
            workers: number of processes that read, see `predict_files`; ignored with `every`.
            timeout: longest time of reading a file, seconds, see `predict_files`; ignored with `every`.

        Returns:
            Iterator of (place in `paths`, features or reason).

        Raises:
            ValueError: at once: a value is not allowed, or the plan is a cascade; see `features`.
            DataAway: the disk of the videos is missing.
        """
        chosen = self.feature_plan(every=every) if plan is None else plan
        if len(chosen.stages) != 1:
            raise ValueError("features are of one sub-network; a cascade runs several")
        (stage,) = chosen.stages
        if every is not None and stage.views.count != 1:
            raise ValueError(f"windows have one view each, the plan has {stage.views.count}")
        forward = self._feature_forward(stage.config, layer)
        if every is not None:
            check_every(every)
            check_batch_size(batch_size)
            return self._files_by_windows(paths, stage, forward, every, layer, batch_size)
        work = self._file_work(chosen, lambda config, clips: forward(clips), batch_size, workers, timeout)
        return (
            (number, result if isinstance(result, UnreadFile) else self._clip_features(result, stage, per_clip, layer))
            for number, result in run_files(paths, replace(work, new_result=ClipFeatures))
        )

    def _feature_forward(self, config: SubnetConfig, layer: str | None) -> _FeatureForward:
        """Return the timed forward pass that gives features, compiled."""
        run_in_fork()
        with self._lock:
            runnable = self._subnets.runnable(config)
            if layer is None:
                forward = self._backend.forward(runnable, features=True)
            else:
                forward = self._backend.map_forward(runnable, layer)
        return lambda clips: self._timed(lambda _: forward, config, clips)

    def _clip_features(self, result: object, stage: PlannedStage, per_clip: bool, layer: str | None) -> VideoFeatures:
        assert isinstance(result, ClipFeatures)
        return VideoFeatures(
            source=result.source,
            **result.arrays(per_clip),
            config=stage.config,
            gflops=stage.gflops,
            backend=self.backend,
            layer=layer,
            num_clips=stage.views.count,
            num_lost=0,
            timing=result.timing,
        )

    def _files_by_windows(
        self,
        paths: Sequence[str],
        stage: PlannedStage,
        forward: _FeatureForward,
        every: float,
        layer: str | None,
        batch_size: int,
    ) -> Iterator[tuple[int, VideoFeatures | UnreadFile]]:
        outage = OutageCheck(paths)
        for number, path in enumerate(paths):
            try:
                yield number, self._window_features(path, stage, forward, every, layer, None, batch_size, None)
            except VideoDecodeError as error:
                unread = UnreadFile.of(path, error)
                outage.refuse(unread.reason)
                yield number, unread

    def _window_features(
        self,
        source: str | os.PathLike[str] | Frames,
        stage: PlannedStage,
        forward: _FeatureForward,
        every: float,
        layer: str | None,
        fps: float | None,
        batch_size: int,
        progress: Progress | None,
    ) -> VideoFeatures:
        path = os.fspath(source) if isinstance(source, os.PathLike) else source
        reader = WindowReader(path, self.preprocessing, self._networks.shapes(stage.config), every, fps)
        windows, network_seconds = reader.windows, 0.0
        values: list[np.ndarray] = []
        starts: list[float] = []
        items: Iterable[tuple[torch.Tensor | None, float]] = window_values(reader, forward, batch_size)
        if progress is not None:
            items = progress(items, len(windows))
        for start, (value, seconds) in zip(windows.start_N.tolist(), items, strict=True):
            network_seconds += seconds
            if value is not None:
                values.append(value.numpy())
                starts.append(start)
        reader.check_any(len(values))
        return VideoFeatures(
            source=reader.name,
            feature_NC=np.stack(values),
            start_N=np.array(starts),
            end_N=np.array(starts) + windows.span_seconds,
            config=stage.config,
            gflops=stage.gflops,
            backend=self.backend,
            layer=layer,
            num_clips=len(values),
            num_lost=len(windows) - len(values),
            timing=Timing(1e3 * reader.seconds, 0.0, 1e3 * network_seconds),
        )

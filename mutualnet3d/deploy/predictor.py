"""Predictor of a checkpoint or bundle: labels of a video from the best sub-network within any budget.

predictor = Predictor.load("output/demo/calibrated.pyth")
print(predictor.predict("video.mp4", gflops=0.01).labels[0])
"""

from __future__ import annotations

import os
import pickle
import time
from typing import Any

from mutualnet3d.data.clip_reader import Frames, Reader
from mutualnet3d.data.window_reader import WindowReader
from mutualnet3d.deploy.bundle import Bundle
from mutualnet3d.deploy.feature_predictor import FeaturePredictor
from mutualnet3d.deploy.load import load_checkpoint_networks
from mutualnet3d.deploy.map_predictor import MapPredictor
from mutualnet3d.deploy.networks import NetworkStore
from mutualnet3d.deploy.pickled_files import PickledFiles
from mutualnet3d.deploy.segmented_video import SegmentedVideo
from mutualnet3d.deploy.stream import Stream
from mutualnet3d.deploy.video_predictor import check_batch_size
from mutualnet3d.deploy.window_scores import Progress, run_windows
from mutualnet3d.results.segments import SegmentRules, find_segments
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.video.frame_stream import StreamInput


class Predictor(FeaturePredictor, MapPredictor):
    """Predictor of the labels of videos, at a cost that each call chooses.

    Several threads may call it. They read videos at the same time, but one network runs at a time, among all predictors
    that run the same model by PyTorch. A predictor can be pickled: its copy has the same back end and loads the same
    files, or contains networks that were not loaded by `load`. PyTorch has one thread in a forked process.

    Arguments, attributes and errors are those of `SubnetPredictor`.

    Examples:
        After `make demo`:

        >>> predictor = m3.Predictor.load("output/demo/calibrated.pyth")
        >>> result = predictor.predict("data/moving_shapes/val/00000.mp4", gflops=0.006)
        >>> print(result.labels[0].name, result.labels[0].score, result.config)
        move_... 0... w...-s...-t...
    """

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        table: str | os.PathLike[str] | None = None,
        backend: str = "auto",
        device: str | None = None,
        threads: int | None = None,
    ) -> Predictor:
        """Load a bundle (a folder that `mutualnet3d export` wrote) or the calibrated.pyth of a test run.

        Args:
            path: path of the bundle's folder, or of the checkpoint.
            table: path of the checkpoint's query table; None: query_table.json beside it, if there is one.
            backend: name of the back end, or "auto" or "fast", see the class.
            device: name of the device, "cpu" or "cuda", see the class.
            threads: number of threads of the CPU, see the class.

        Raises:
            FileNotFoundError: nothing is at `path` or `table`.
            ValueError: the path is neither a bundle nor a checkpoint, a file of the bundle is damaged, or the table is
                another checkpoint's.
        """
        place, table = os.fspath(path), None if table is None else os.fspath(table)
        predictor = cls(load_networks(place, table), backend, device, threads)
        predictor._files = PickledFiles.of(place, table)
        return predictor

    def __reduce__(self) -> tuple[Any, ...]:
        networks: PickledFiles | bytes
        if self._files is not None:
            networks = self._files
        else:
            try:
                networks = pickle.dumps(self._networks)
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise pickle.PicklingError(
                    f"the networks of {self._networks.path} do not pickle ({error}); a predictor that `Predictor.load` "
                    "made does: it is loaded anew"
                ) from error
        return _unpickled, (networks, self.backend, *self._settings, self._given_reader, self.trials, self.rejected)

    def stream(
        self,
        source: StreamInput,
        milliseconds: float,
        fps: float | None = None,
        live: bool | None = None,
        stride: float | None = None,
    ) -> Stream:
        """Predict a window that slides over a file, a camera or pictures, within a time for each place.

        The sub-network moves along the measured front as the machine gets busy or idle, see `Stream`.

        Args:
            source: path of a file or of a folder of pictures, a camera's number, or pictures, uint8 (H, W, 3), RGB.
            milliseconds: largest time of a window, cropping and resizing included.
            fps: frame rate of pictures, frames per second, see `Stream`.
            live: True for a source that goes on while the network runs, see `Stream`.
            stride: seconds from a window to the next, see `Stream`.

        Raises:
            ValueError, VideoDecodeError: see `Stream`.
        """
        return Stream(
            lambda pictures, rate, config: self.predict(pictures, config=config, fps=rate),
            self.points(views=1),
            self.preprocessing,
            source,
            milliseconds=milliseconds,
            fps=fps,
            live=live,
            stride=stride,
        )

    def segments(
        self,
        source: str | os.PathLike[str] | Frames,
        every: float = 1.0,
        gflops: float | None = None,
        milliseconds: float | None = None,
        config: SubnetConfig | str | None = None,
        rules: SegmentRules | None = None,
        fps: float | None = None,
        batch_size: int = 8,
        progress: Progress | None = None,
    ) -> SegmentedVideo:
        """Label the time of a long video: scores of windows are smoothed, and neighbours with the same label joined.

        It is labelling over time; the network was not trained to locate the begin of an action. The video is decoded
        once from its start to its end, and memory does not grow with its length but for the scores, four bytes for each
        class and window. A window is the clip that `predict` makes of the same time. Damaged and missing frames are
        counted, and do not shift later times.

        Args:
            source: path of a video file or of a folder of pictures; or frames, uint8 (T, H, W, 3), RGB.
            every: seconds from the start of a window to that of the next.
            gflops: largest cost of a window, 1e9 multiply-adds, see `predict`.
            milliseconds: largest time of a window, see `predict`.
            config: sub-network, or its key, see `predict`.
            rules: rules by which scores become segments; None: the defaults of `SegmentRules`.
            fps: frame rate of frames or of a folder, frames per second; None: the network's.
            batch_size: number of windows in a forward pass, at least 1.
            progress: function from the windows and their number to the windows, for a progress bar.

        Returns:
            The segments, and the scores of the windows.

        Raises:
            VideoDecodeError: the video cannot be read, or no window has half of its frames.
            ValueError: nothing fits the budget, the sub-network is unknown, or a value is not allowed.
        """
        check_batch_size(batch_size)
        rules = rules or SegmentRules()
        started = time.perf_counter()
        plan = self.plan(gflops, milliseconds, config, views=1)
        (stage,) = plan.stages
        path = os.fspath(source) if isinstance(source, os.PathLike) else source
        reader = WindowReader(path, self.preprocessing, self._networks.shapes(stage.config), every, fps)
        windows, network_seconds = run_windows(
            reader,
            lambda clips: self._forward(stage.config, clips),
            self.preprocessing.ensemble,
            batch_size,
            self.class_names,
            progress,
        )
        return SegmentedVideo(
            source=reader.name,
            segments=find_segments(windows, rules),
            windows=windows,
            every=reader.windows.every,
            rules=rules,
            config=stage.config,
            gflops=stage.gflops,
            row=plan.row,
            backend=self.backend,
            num_frames=reader.num_frames,
            num_lost=reader.num_lost,
            num_damaged=reader.num_damaged,
            decode_seconds=reader.seconds,
            network_seconds=network_seconds,
            seconds=time.perf_counter() - started,
        )


def load_networks(path: str, table: str | None = None) -> NetworkStore:
    """Return the sub-networks of a bundle or a checkpoint, see `Predictor.load`."""
    if not os.path.isdir(path):
        return load_checkpoint_networks(path, table)
    if table is not None:
        raise ValueError(f"{path} is a bundle and has a table of its own; table= is for a checkpoint")
    return Bundle.load(path)


def _unpickled(
    networks: PickledFiles | bytes,
    backend: str,
    device: str | None,
    threads: int | None,
    reader: Reader | None,
    trials: dict[str, float],
    rejected: dict[str, str],
) -> Predictor:
    """Return the copy of a predictor that was pickled."""
    if isinstance(networks, bytes):
        predictor = Predictor(pickle.loads(networks), backend, device, threads, reader)
    else:
        networks.check()
        predictor = Predictor(load_networks(networks.path, networks.table), backend, device, threads, reader)
        predictor._files = networks
    predictor.trials, predictor.rejected = trials, rejected
    return predictor

"""One checkpoint or bundle, any budget: labels of a video from the best sub-network that fits.

predictor = Predictor.load("output/demo/calibrated.pyth")
print(predictor.predict("video.mp4", gflops=0.01).labels[0])
"""

from __future__ import annotations

import os
import pickle
import time
from typing import Any

from mutualnet3d.data.clip_reader import Frames, Reader
from mutualnet3d.deploy.bundle import Bundle
from mutualnet3d.deploy.forked import run_in_fork
from mutualnet3d.deploy.load import load_checkpoint_networks
from mutualnet3d.deploy.networks import NetworkStore
from mutualnet3d.deploy.pickled_files import PickledFiles
from mutualnet3d.deploy.prediction import Prediction, ReadVideo, Timing, best_labels, score_views
from mutualnet3d.deploy.stream import Stream
from mutualnet3d.deploy.subnet_predictor import SubnetPredictor, ViewsWanted
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.video.frame_stream import StreamInput
from mutualnet3d.video.open import refuse_fps_of_file
from mutualnet3d.video.paths import is_folder


class Predictor(SubnetPredictor):
    """Labels of videos, at a cost that each call chooses.

    Several threads may call it. They read videos at the same time; then one network runs at a time, of all predictors
    that run the same model by PyTorch. A predictor pickles: its copy has the same back end and loads the same files; of
    networks that were not loaded by `load` it has a copy. In a process that was forked PyTorch has one thread.

    Args, attributes and errors are those of `SubnetPredictor`.
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
            path: folder of the bundle, or the checkpoint.
            table: a checkpoint's query table, where it is not query_table.json beside it.
            backend, device, threads: see the class.

        Raises:
            FileNotFoundError: nothing is at `path` or `table`.
            ValueError: neither bundle nor checkpoint, a damaged file of a bundle, a table of another checkpoint.
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

    def predict(
        self,
        source: str | os.PathLike[str] | Frames,
        gflops: float | None = None,
        milliseconds: float | None = None,
        config: SubnetConfig | str | None = None,
        views: ViewsWanted = None,
        fps: float | None = None,
        top: int = 5,
    ) -> Prediction:
        """Predict the labels of a video.

        The sub-network is the most accurate one within the budget, `config`, or, without either, the most expensive.
        A budget is of the video: it chooses sub-network and views together, of the rows of the table, or the
        sub-network for `views`. Only the frames that it needs are decoded. Accuracy is that of as many views, where the
        table has it; otherwise the sub-network is chosen by the accuracy of one view or of the test's views, and the
        prediction has none.

        Args:
            source: path of a video file or of a folder of pictures; or frames, uint8 (T, H, W, 3), RGB.
            gflops: 1e9 multiply-adds that the video may take, all its views together.
            milliseconds: time that the network may take for the video, on this machine; measured when first needed.
            config: sub-network, or its key.
            views: clips over the video, or (clips, crops of each), 1 or 3, or those of a row; their scores are put
                together. None: chosen by the budget; without one a single clip.
            fps: frames per second of frames or of a folder; None: the rate that the network is meant for.
            top: number of labels, at least 1.

        Raises:
            VideoDecodeError: the video cannot be read.
            ValueError: nothing fits the budget; an unknown sub-network; frames, views or `top` that are not allowed.
        """
        _check_top(top)
        return self.run(self.read(source, gflops, milliseconds, config, views, fps), top)

    def read(
        self,
        source: str | os.PathLike[str] | Frames,
        gflops: float | None = None,
        milliseconds: float | None = None,
        config: SubnetConfig | str | None = None,
        views: ViewsWanted = None,
        fps: float | None = None,
    ) -> ReadVideo:
        """Read the clips of a video for the sub-network that `predict` takes: its first half, which needs no network.

        Args and errors are those of `predict`.
        """
        source = os.fspath(source) if isinstance(source, os.PathLike) else source
        if isinstance(source, str) and fps is not None and not is_folder(source):
            refuse_fps_of_file(fps)
        chosen, num_views, row = self._choose(gflops, milliseconds, config, views)
        row = row if row and row.views == num_views else None  # accuracy of what is run, or none
        shapes = self._networks.shapes(chosen)
        read = self._reader.read(source, shapes, num_views.spans, num_views.crops, fps)
        clips = tuple(read.clips[shape] for shape in shapes)
        name = source if isinstance(source, str) else "frames"
        return ReadVideo(name, chosen, row, clips, read.decode_seconds, read.prepare_seconds)

    def run(self, video: ReadVideo, top: int = 5) -> Prediction:
        """Predict the labels of clips that were read: the second half of `predict`.

        Args:
            video: result of `read`.
            top: number of labels, at least 1.

        Raises:
            ValueError: a `top` that is not allowed.
        """
        _check_top(top)
        run_in_fork()
        with self._lock:
            forward = self._backend.forward(self._subnets.runnable(video.config))
            started = time.perf_counter()
            logits_VK = forward(video.clips)
            seconds = time.perf_counter() - started
        score_K = score_views(logits_VK, self.preprocessing.ensemble)
        return Prediction(
            source=video.source,
            labels=best_labels(score_K, self.class_names, top),
            config=video.config,
            gflops=self._networks.gflops(video.config),
            row=video.row,
            backend=self.backend,
            views=len(logits_VK),
            timing=Timing(1e3 * video.decode_seconds, 1e3 * video.prepare_seconds, 1e3 * seconds),
            frames=video.clips[0][0].numpy(),
        )

    def stream(
        self,
        source: StreamInput,
        milliseconds: float,
        fps: float | None = None,
        live: bool | None = None,
        stride: float | None = None,
    ) -> Stream:
        """Predict a window that slides over a file, a camera or pictures, each within a time.

        The sub-network moves along the measured front as the machine is busy or idle. See `Stream`.

        Args:
            source: path of a file or of a folder of pictures, a camera's number, or pictures, uint8 (H, W, 3), RGB.
            milliseconds: time that a window may take, cropping and resizing included.
            fps, live, stride: see `Stream`.

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


def load_networks(path: str, table: str | None = None) -> NetworkStore:
    """Return the sub-networks of a bundle or a checkpoint; see `Predictor.load`."""
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


def _check_top(top: int) -> None:
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise ValueError(f"top is {top!r}; it must be an integer of at least 1")

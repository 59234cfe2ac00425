"""One checkpoint or bundle, any budget: labels of a video from the best sub-network that fits.

predictor = Predictor.load("output/demo/calibrated.pyth")
print(predictor.predict("video.mp4", gflops=0.01).labels[0])
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence

from mutualnet3d.data.clip_reader import ClipReader, Frames
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy.backend_choice import choose_backend
from mutualnet3d.deploy.bundle import Bundle
from mutualnet3d.deploy.load import load_checkpoint_networks
from mutualnet3d.deploy.networks import NetworkStore
from mutualnet3d.deploy.prediction import Prediction, Timing, best_labels, score_views
from mutualnet3d.deploy.stream import Stream
from mutualnet3d.deploy.subnet_choice import SubnetChoice
from mutualnet3d.results.query_table import QueryTable, Row, Views
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.video.frame_stream import StreamInput
from mutualnet3d.video.open import refuse_fps_of_file
from mutualnet3d.video.paths import is_folder


class Predictor:
    """Labels of videos, at a cost that each call chooses. Calls from several threads wait for each other.

    Args:
        networks: store of the sub-networks.
        backend: a name in `BACKENDS`; "auto": the fastest here of those that compute in float32, as the query table
            was measured; "fast": of all, where they agree on a clip of noise, and int8 where the table says that it
            costs next to nothing. These two run all candidates now, but "pt2", which is code: see `choose_backend`.
        device: "cpu" or "cuda"; None: a GPU where there is one, for PyTorch, and the CPU for the other libraries,
            which run there alone.
        threads: threads of the CPU; None: as many as each library takes by itself.

    Attributes:
        backend: name of the back end.
        trials: milliseconds of each back end that was tried when one was chosen.
        rejected: reason why others were not taken, by their names.

    Raises:
        ValueError: an unknown back end or device; one that cannot run here, with the reason.
        ModuleNotFoundError: the back end's library is not installed; it says what to install.
    """

    def __init__(
        self, networks: NetworkStore, backend: str = "auto", device: str | None = None, threads: int | None = None
    ):
        choice = choose_backend(networks, backend, device, threads)
        self._networks, self._backend = networks, choice.backend
        self.backend, self.trials, self.rejected = choice.backend.name, choice.trials, choice.rejected
        self._subnets = SubnetChoice(networks, choice.backend)
        self._reader = ClipReader(networks.preprocessing)
        self._lock = threading.RLock()

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
        networks = load_networks(os.fspath(path), None if table is None else os.fspath(table))
        return cls(networks, backend, device, threads)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._networks.class_names

    @property
    def preprocessing(self) -> Preprocessing:
        return self._networks.preprocessing

    @property
    def configs(self) -> tuple[SubnetConfig, ...]:
        """Sub-networks, the most expensive first."""
        return self._networks.configs

    @property
    def table(self) -> QueryTable:
        """Query table of the back end, with milliseconds of this machine once they were measured.

        Raises:
            ValueError: the checkpoint has none, or none of int8 for "openvino-int8".
        """
        return self._subnets.table

    def points(self) -> tuple[Row, ...]:
        """Return the Pareto front over milliseconds of this machine and back end, the cheapest first."""
        return self.measure().pareto("milliseconds")

    def predict(
        self,
        source: str | os.PathLike[str] | Frames,
        gflops: float | None = None,
        milliseconds: float | None = None,
        config: SubnetConfig | str | None = None,
        views: int | tuple[int, int] = 1,
        fps: float | None = None,
        top: int = 5,
    ) -> Prediction:
        """Predict the labels of a video.

        The sub-network is the most accurate one within the budget, `config`, or, without either, the most expensive.
        Only the frames that it needs are decoded.

        Args:
            source: path of a video file or of a folder of pictures; or frames, uint8 (T, H, W, 3), RGB.
            gflops: 1e9 multiply-adds that a clip may take.
            milliseconds: time that the network may take for a clip, on this machine; measured when first needed.
            config: sub-network, or its key.
            views: clips over the video, or (clips, crops of each), 1 or 3; their scores are averaged.
            fps: frames per second of frames or of a folder; None: the rate that the network is meant for.
            top: number of labels, at least 1.

        Raises:
            VideoDecodeError: the video cannot be read.
            ValueError: nothing fits the budget; an unknown sub-network; frames, views or `top` that are not allowed.
        """
        source = os.fspath(source) if isinstance(source, os.PathLike) else source
        num_views = _views(views)
        _check(source, fps, top)
        with self._lock:
            chosen, row = self._subnets.choose(gflops, milliseconds, config)
            forward = self._backend.forward(self._subnets.runnable(chosen))
            shapes = self._networks.shapes(chosen)
            video = self._reader.read(source, shapes, num_views.spans, num_views.crops, fps)
            clips = [video.clips[shape] for shape in shapes]
            started = time.perf_counter()
            logits_VK = forward(clips)
            seconds = time.perf_counter() - started
        score_K = score_views(logits_VK, self.preprocessing.ensemble)
        return Prediction(
            source=source if isinstance(source, str) else "frames",
            labels=best_labels(score_K, self.class_names, top),
            config=chosen,
            gflops=self._networks.gflops(chosen),
            row=row,
            backend=self.backend,
            views=len(logits_VK),
            timing=Timing(1e3 * video.decode_seconds, 1e3 * video.prepare_seconds, 1e3 * seconds),
            frames=clips[0][0].numpy(),
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
            self.points(),
            self.preprocessing,
            source,
            milliseconds=milliseconds,
            fps=fps,
            live=live,
            stride=stride,
        )

    def choose(
        self,
        gflops: float | None = None,
        milliseconds: float | None = None,
        config: SubnetConfig | str | None = None,
    ) -> tuple[SubnetConfig, Row | None]:
        """Return the sub-network that `predict` takes, and its row of the table; see `predict`."""
        with self._lock:
            return self._subnets.choose(gflops, milliseconds, config)

    def prepare(self, configs: Sequence[SubnetConfig | str] | None = None) -> None:
        """Make sub-networks ready, all of the table's front or `configs`, so that no later call has to: back ends but
        PyTorch compile each, with weights of its own.

        Raises:
            ValueError: there is no such sub-network, or neither `configs` nor a table.
        """
        if isinstance(configs, str):
            raise ValueError(f"configs is {configs!r}; it must be a list of sub-networks or their keys")
        with self._lock:
            for config in self._subnets.front() if configs is None else list(map(self._subnets.runnable, configs)):
                self._backend.forward(config)

    def measure(self, again: bool = False) -> QueryTable:
        """Return the table of the sub-networks on its Pareto fronts, with milliseconds of this machine, measured once.

        Args:
            again: True to measure once more, as the machine has changed.

        Raises:
            ValueError: the checkpoint has no query table.
        """
        with self._lock:
            return self._subnets.measure(again)


def load_networks(path: str, table: str | None = None) -> NetworkStore:
    """Return the sub-networks of a bundle or a checkpoint; see `Predictor.load`."""
    if not os.path.isdir(path):
        return load_checkpoint_networks(path, table)
    if table is not None:
        raise ValueError(f"{path} is a bundle and has a table of its own; table= is for a checkpoint")
    return Bundle.load(path)


def _check(source: str | Frames, fps: float | None, top: int) -> None:
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise ValueError(f"top is {top!r}; it must be an integer of at least 1")
    if isinstance(source, str) and fps is not None and not is_folder(source):
        refuse_fps_of_file(fps)


def _views(views: int | tuple[int, int]) -> Views:
    spans, crops = views if isinstance(views, tuple) and len(views) == 2 else (views, 1)
    if isinstance(spans, bool) or not isinstance(spans, int) or spans < 1 or crops not in (1, 3):
        raise ValueError(
            f"views is {views!r}; allowed: clips over the video, 1 or more, or (clips, crops), crops 1 or 3"
        )
    return Views(spans, crops)

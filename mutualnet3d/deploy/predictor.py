"""One checkpoint or bundle, any budget: labels of a video from the best sub-network that fits.

predictor = Predictor.load("output/demo/calibrated.pyth")
print(predictor.predict("video.mp4", gflops=0.01).labels[0])
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from mutualnet3d.data.clip_reader import ClipReader, Frames
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy.backend_choice import find_fastest
from mutualnet3d.deploy.backends import BACKENDS, CHOICES, Backend, OpenVINOInt8
from mutualnet3d.deploy.build import read_checkpoint
from mutualnet3d.deploy.bundle import Bundle
from mutualnet3d.deploy.clip_network import random_clips
from mutualnet3d.deploy.networks import NetworkStore
from mutualnet3d.deploy.prediction import Prediction, Timing, best_labels, score_views
from mutualnet3d.deploy.stream import Stream
from mutualnet3d.log import logger
from mutualnet3d.results.latency import device_name
from mutualnet3d.results.query_table import COSTS, QueryTable, Row, checked_bounds
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.video.frame_stream import Source

# Timed passes of each sub-network when times are measured: as many as fit into so many seconds, within these bounds.
_MEASURING_SECONDS, _FEWEST_RUNS, _MOST_RUNS = 3.0, 3, 25


class Predictor:
    """Labels of videos, at a cost that each call chooses. Calls from several threads wait for each other.

    Args:
        source: the networks.
        backend: a name in `BACKENDS`; "auto": the fastest here of those that compute in float32, as the query table
            was measured; "fast": of all, where they agree on the first clip, and int8 where the table says that it
            costs next to nothing. Found by running them, when first needed.
        device: "cpu" or "cuda"; None: a GPU where there is one, for PyTorch, and the CPU for the other libraries,
            which run there alone.
        threads: of the CPU; None: as many as each library takes by itself.

    Attributes:
        trials: milliseconds of each back end that was tried when one was chosen.
        rejected: why others were not taken, by their names.

    Raises:
        ValueError: an unknown back end or device; one that cannot run here, with the reason.
        ModuleNotFoundError: the back end's library is not installed; it says what to install.
    """

    def __init__(
        self,
        source: NetworkStore,
        backend: str = "auto",
        device: str | None = None,
        threads: int | None = None,
    ):
        if backend not in BACKENDS and backend not in CHOICES:
            raise ValueError(f"unknown back end {backend!r}; allowed: {', '.join([*CHOICES, *BACKENDS])}")
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise ValueError(f"threads is {threads!r}; it must be an integer of at least 1")
        self._source, self._device, self._threads = source, _device(device), threads
        self._choice = CHOICES.get(backend, (backend,))
        self._backend: Backend | None = None
        self.trials: dict[str, float] = {}
        self.rejected: dict[str, str] = {}
        self._measured: QueryTable | None = None
        self._int8_table: QueryTable | None = None
        self._reader = ClipReader(source.preprocessing)
        self._lock = threading.RLock()
        if len(self._choice) == 1:
            self._backend = self._named(self._choice[0], source.configs[0])

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        table: str | os.PathLike[str] | None = None,
        backend: str = "auto",
        device: str | None = None,
        threads: int | None = None,
    ) -> Predictor:
        """From a bundle (a folder that `tools/export.py` wrote) or from the calibrated.pyth of a test run.

        Args:
            table: a checkpoint's query table, where it is not query_table.json beside it.
            backend, device, threads: as of the class.

        Raises:
            FileNotFoundError: nothing is at `path` or `table`.
            ValueError: neither bundle nor checkpoint, a damaged file of a bundle, a table of another checkpoint.
        """
        path, table = os.fspath(path), None if table is None else os.fspath(table)
        if os.path.isdir(path):
            if table is not None:
                raise ValueError(f"{path} is a bundle and has a table of its own; table= is for a checkpoint")
            return cls(Bundle.load(path), backend, device, threads)
        return cls(read_checkpoint(path, table), backend, device, threads)

    # ---- what it has -------------------------------------------------------------------------------------------------

    @property
    def backend(self) -> str | None:
        """The back end's name; None: not chosen yet."""
        return None if self._backend is None else self._backend.name

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._source.class_names

    @property
    def preprocessing(self) -> Preprocessing:
        return self._source.preprocessing

    @property
    def configs(self) -> tuple[SubnetConfig, ...]:
        """The sub-networks, the most expensive first."""
        return self._source.configs

    @property
    def table(self) -> QueryTable:
        """The query table: with milliseconds of this machine and back end, once they were measured. Of the back end
        "openvino-int8" it has the accuracy of int8, and those sub-networks alone of which that is known.

        Raises:
            ValueError: the checkpoint has none, or none of int8.
        """
        if self._measured is not None:
            return self._measured
        return self._accuracies()

    def points(self) -> tuple[Row, ...]:
        """The Pareto front over milliseconds of this machine and back end, the cheapest first; measured when first
        asked for."""
        return self.measure().pareto("milliseconds")

    # ---- what it does ------------------------------------------------------------------------------------------------

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
        """The labels of a video.

        The sub-network is the most accurate one within the budget, `config`, or, without either, the most expensive.
        Only the frames that it needs are decoded.

        Args:
            source: a video's path, or its frames: uint8 (T, H, W, 3), RGB.
            gflops: 1e9 multiply-adds that a clip may take.
            milliseconds: that the network may take for a clip, on this machine; measured when first needed.
            config: a sub-network, or its key.
            views: clips over the video, or (clips, crops of each), 1 or 3; their scores are averaged.
            fps: of frames; None: the rate that the network is meant for.
            top: how many labels.

        Raises:
            VideoDecodeError: the video cannot be read.
            ValueError: nothing fits the budget; an unknown sub-network; frames, views or `top` that cannot be.
        """
        num_spans, num_crops = _views(views)
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise ValueError(f"top is {top!r}; it must be an integer of at least 1")
        if isinstance(source, os.PathLike):
            source = os.fspath(source)
        if isinstance(source, str) and fps is not None:
            raise ValueError("fps is of frames; a file tells its own")
        with self._lock:
            chosen, row = self.choose(gflops, milliseconds, config)
            shapes = self._source.shapes(chosen)
            read = self._reader.read(source, shapes, num_spans, num_crops, fps)
            clips = [read.clips[shape] for shape in shapes]
            runner = self._chosen_backend(chosen, clips).runner(chosen)
            started = time.perf_counter()
            logits_VK = runner(clips)
            seconds = time.perf_counter() - started
            if self.backend == OpenVINOInt8.name:  # which may just have been chosen, after the row
                row = self._row(chosen)
        score_K = score_views(logits_VK, self.preprocessing.ensemble)
        return Prediction(
            source=source if isinstance(source, str) else "frames",
            labels=best_labels(score_K, self.class_names, top),
            config=chosen,
            gflops=self._source.gflops(chosen),
            row=row,
            backend=self.backend or "",
            views=len(logits_VK),
            timing=Timing(1e3 * read.decode_seconds, 1e3 * read.prepare_seconds, 1e3 * seconds),
            frames=clips[0][0].numpy(),
        )

    def stream(
        self,
        source: Source,
        milliseconds: float,
        fps: float | None = None,
        live: bool | None = None,
        stride: float | None = None,
    ) -> Stream:
        """Predictions of a window that slides over a file, a camera or pictures that come, each within a time: the
        sub-network moves along the measured front as the machine is busy or idle. See `Stream`.

        Args:
            source: a path, a camera's number, or pictures, uint8 (H, W, 3), RGB.
            milliseconds: that a window may take, cropping and resizing included.
            fps, live, stride: as of `Stream`.

        Raises:
            ValueError, VideoDecodeError: as of `Stream`.
        """

        def predict(pictures: list[np.ndarray], rate: float, config: SubnetConfig) -> Prediction:
            return self.predict(pictures, config=config, fps=rate)

        points = self.points()
        return Stream(
            predict, points, self.preprocessing, source, milliseconds=milliseconds, fps=fps, live=live, stride=stride
        )

    def choose(
        self,
        gflops: float | None = None,
        milliseconds: float | None = None,
        config: SubnetConfig | str | None = None,
    ) -> tuple[SubnetConfig, Row | None]:
        """The sub-network that `predict` takes, and its row of the table.

        Raises:
            ValueError: as of `predict`.
        """
        if config is not None:
            if gflops is not None or milliseconds is not None:
                raise ValueError("give a budget (gflops, milliseconds) or a sub-network (config), not both")
            wanted = self._known(config)
            return wanted, self._row(wanted)
        if milliseconds is not None:
            checked_bounds(gflops, milliseconds)  # before anything is measured
            row = self.measure().best(gflops=gflops, milliseconds=milliseconds)
        elif gflops is not None:
            row = self._accuracies().best(gflops=gflops)
        else:
            return self.configs[0], self._row(self.configs[0])
        return row.config, row

    def prepare(self, configs: Sequence[SubnetConfig | str] | None = None) -> None:
        """Make sub-networks ready, all of the table's front or `configs`, so that no later call has to. PyTorch needs
        nothing; the other back ends compile each, with weights of its own.

        Raises:
            ValueError: there is no such sub-network, or neither `configs` nor a table.
        """
        if isinstance(configs, str):
            raise ValueError(f"configs is {configs!r}; it must be a list of sub-networks or their keys")
        with self._lock:
            for config in self._front() if configs is None else list(map(self._known, configs)):
                self._chosen_backend(config, None).runner(config)

    def measure(self, again: bool = False) -> QueryTable:
        """The query table of the sub-networks on its Pareto fronts, with milliseconds of this machine and back end.

        They take turns, and the median counts. Done once.

        Args:
            again: do it once more: the machine has changed.

        Raises:
            ValueError: the checkpoint has no query table.
        """
        with self._lock:
            if self._measured is None or again:
                self._measured = self._measure()
            return self._measured

    # ---- within ------------------------------------------------------------------------------------------------------

    def _measure(self) -> QueryTable:
        backend = self._chosen_backend(self._front()[0], None)  # before the table: int8 has its own
        table, front = self._accuracies(), self._front()
        clips = {config: random_clips(self._source.shapes(config), 1) for config in front}
        logger.info("measuring %d sub-networks on %s", len(front), backend.name)
        runners = {config: backend.runner(config) for config in front}
        seconds: dict[SubnetConfig, list[float]] = {config: [] for config in front}
        began, num_runs = time.perf_counter(), 0
        while num_runs < _FEWEST_RUNS or (num_runs < _MOST_RUNS and time.perf_counter() - began < _MEASURING_SECONDS):
            num_runs += 1
            for config, runner in runners.items():
                runner(clips[config])  # weights come into the caches that the one before has filled
                started = time.perf_counter()
                runner(clips[config])
                seconds[config].append(time.perf_counter() - started)
        rows = tuple(
            replace(row, milliseconds=1e3 * statistics.median(seconds[row.config]))
            for row in table.rows
            if row.config in seconds
        )
        context = {
            **table.context,
            "device": device_name(backend.device),
            "threads": self._threads or torch.get_num_threads(),
            "batch_size": 1,
            "backend": backend.name,
            "latency_runs": num_runs,
        }
        if self._threads is None and backend.module:  # not torch, and how many it takes is its own affair
            del context["threads"]
        return QueryTable(rows, context)

    def _known(self, config: SubnetConfig | str) -> SubnetConfig:
        """A sub-network or its key, if it can be run."""
        wanted = SubnetConfig.parse(config) if isinstance(config, str) else config
        if not self._source.formats(wanted):
            known = ", ".join(map(str, self.configs))
            raise ValueError(f"{self._source.path} has no sub-network {wanted} that can be run; it has {known}")
        return wanted

    def _accuracies(self) -> QueryTable:
        if self._source.table is None:
            raise ValueError(
                f"{self._source.path}: no query table beside it; a budget needs the query_table.json of its test run "
                "(table=...), or ask for a sub-network by its key (config=...)"
            )
        if self.backend != OpenVINOInt8.name:
            return self._source.table
        if self._int8_table is not None:
            return self._int8_table
        try:
            self._int8_table = self._source.table.int8()
            return self._int8_table
        except ValueError as error:
            raise ValueError(
                f"{self._source.path}: {error}; a budget needs accuracies (`mutualnet3d export --int8` finds them), "
                "or ask for a sub-network by its key (config=...)"
            ) from error

    def _front(self) -> list[SubnetConfig]:
        """The sub-networks that are worth their cost, the most expensive first."""
        fronts = self._accuracies().fronts()
        return [config for config in self.configs if any(config in fronts[cost] for cost in COSTS)]

    def _row(self, config: SubnetConfig) -> Row | None:
        try:
            rows = self.table.rows
        except ValueError:  # there is no table, or none of int8
            return None
        return next((row for row in rows if row.config == config), None)

    def _named(self, name: str, config: SubnetConfig) -> Backend:
        kind = BACKENDS[name]
        if problem := kind.why_not(self._source, config, self._device):
            if "pip install" in problem:
                raise ModuleNotFoundError(problem)
            raise ValueError(f"back end {name}: {problem}")
        return kind(self._source, self._device, self._threads)

    def _chosen_backend(self, config: SubnetConfig, clips: Sequence[torch.Tensor] | None) -> Backend:
        """The back end; if none is chosen yet, the one that is fastest with `config`.

        Args:
            clips: to try them with, one view or more; None: noise.
        """
        if self._backend is None:
            given = clips or random_clips(self._source.shapes(config), 1)
            front = () if self._source.table is None else self._front()
            found = find_fastest(
                self._source, self._choice, config, [clip[:1] for clip in given], front, self._device, self._threads
            )
            self.trials, self.rejected, self._backend = found.trials, found.rejected, found.backend
        if self._backend.format not in self._source.formats(config):
            raise ValueError(f"{self._source.path} has no {self._backend.format} network of {config}")
        return self._backend


def _device(name: str | None) -> torch.device | None:
    if name is None:
        return None
    if name not in ("cpu", "cuda"):
        raise ValueError(f"device is {name!r}; allowed: cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch sees no GPU here; allowed: cpu")
    return torch.device(name)


def _views(views: int | tuple[int, int]) -> tuple[int, int]:
    spans, crops = views if isinstance(views, tuple) and len(views) == 2 else (views, 1)
    if isinstance(spans, bool) or not isinstance(spans, int) or spans < 1 or crops not in (1, 3):
        raise ValueError(
            f"views is {views!r}; allowed: clips over the video, 1 or more, or (clips, crops), crops 1 or 3"
        )
    return spans, crops

"""Sliding window over a file, a camera or pictures, with predictions within a time.

with predictor.stream("video.mp4", milliseconds=100) as stream:
    for window in stream:
        print(window.start_seconds, window.prediction.labels[0].name, window.milliseconds)
save_trace_plot(stream.trace, 100, "trace.png", "video.mp4")

The times of the windows before choose the sub-network of a window (budget.py). A live source is read in a thread of its
own, which never waits for the network: the network gets the newest window whenever it is free, and frames that came
meanwhile are counted and not queued. Any other source is read as it is needed, and all its windows run.
"""

from __future__ import annotations

import math
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mutualnet3d.data.clip_sampling import span_length
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy.budget import BudgetController
from mutualnet3d.deploy.prediction import Prediction
from mutualnet3d.deploy.windows import Cutter, Reader, WindowClip, in_order, newest_windows
from mutualnet3d.results.query_table import Row
from mutualnet3d.results.trace import TracePoint
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.video.frame_stream import StreamInput, open_frame_stream

Predict = Callable[[list[np.ndarray], float, SubnetConfig], Prediction]

# The newest windows of the trace are kept, about 20 MB of them: three hours at ten a second.
MAX_TRACE = 100_000


@dataclass(frozen=True)
class Window:
    """Prediction of a window.

    Args:
        prediction: labels, and the sub-network that gave them.
        start_seconds: start in the source, which begins at 0.
        end_seconds: end in the source.
        milliseconds: wall time of cutting, resizing and the network.
        num_skipped: number of frames of the source between the window before and this one, which are in no window.
    """

    prediction: Prediction
    start_seconds: float
    end_seconds: float
    milliseconds: float
    num_skipped: int


class Stream:
    """Iterator over the windows of a source, and context manager that closes the source.

    A window spans the time of the network's clip, `num_frames * sampling_rate / target_fps` seconds. A shorter source
    gives one window of all its frames; otherwise all windows are whole.

    Args:
        predict: function from pictures, their frame rate and a sub-network to a prediction.
        rows: sub-networks with their milliseconds on this machine when idle, see `BudgetController`.
        preprocessing: shapes, frame rate and normalisation of the network's clips.
        source: path of a file or of a folder of pictures; number of a camera; or pictures, uint8 (H, W, 3), RGB, in an
            array, a list, or an iterable.
        milliseconds: largest time of a window.
        fps: frame rate of pictures, frames per second. None: the network's; for live pictures, the rate at which they
            come.
        live: True for a source that goes on while the network runs. None: True for cameras and for iterables of
            pictures. A file or list that is played live keeps to its own times.
        stride: seconds from a window to the next. None: windows follow each other without overlap; for a live source,
            as soon as the network is free and there is a new frame.
        clock: clock that measures times, in seconds.

    Attributes:
        is_live: True for a source that goes on while the network runs.
        span_seconds: length of a whole window, seconds.
        milliseconds: budget of a window.

    Raises:
        ValueError: nothing fits the budget, the source, `fps` or `stride` is not allowed, or, during the run, an object
            is no picture. Other errors of an iterable are raised unchanged, after the windows before them.
        VideoDecodeError: the file or camera cannot be read.
    """

    def __init__(
        self,
        predict: Predict,
        rows: Sequence[Row],
        preprocessing: Preprocessing,
        source: StreamInput,
        *,
        milliseconds: float,
        fps: float | None = None,
        live: bool | None = None,
        stride: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        if stride is not None and (
            isinstance(stride, bool) or not isinstance(stride, int | float) or not 0 < stride < math.inf
        ):
            raise ValueError(f"stride is {stride!r}; it must be a number above 0, seconds")
        self._controller = BudgetController(rows, milliseconds)
        self._predict, self._clock = predict, clock
        self.milliseconds = self._controller.milliseconds
        target_fps = float(preprocessing.target_fps)
        self.span_seconds = span_length(preprocessing.num_frames, preprocessing.sampling_rate, target_fps, 1.0)
        self._source = open_frame_stream(source, fps, live, target_fps, max_short_side=2 * preprocessing.scale)
        self.is_live = self._source.is_live
        self._cutter = Cutter(self.span_seconds, self._source.fps, target_fps)
        self._stride = stride
        self._trace: deque[TracePoint] = deque(maxlen=MAX_TRACE)
        self._began: float | None = None
        self._reader: Reader | None = None
        self._clips: Iterator[WindowClip] | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        """Return a line with kind of source, budget, number of windows so far, and next sub-network."""
        kind = "live source" if self.is_live else "source"
        state = "closed" if self._is_closed else f"next {self.row.config}"
        return f"<Stream of a {kind}: {self.milliseconds:g} ms for a window, {len(self._trace)} windows, {state}>"

    @property
    def row(self) -> Row:
        """Row of the sub-network that the next window runs."""
        return self._controller.row

    @property
    def load(self) -> float:
        """Ratio of a window's time now to that on the idle machine."""
        return self._controller.load

    @property
    def trace(self) -> list[TracePoint]:
        """Windows so far, the oldest first, at most the newest `MAX_TRACE`."""
        return list(self._trace)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Window:
        if self._is_closed:
            raise StopIteration
        try:
            if self._clips is None:
                self._clips = self._start()
            return self._run(next(self._clips))
        except BaseException:  # the end of the source too
            self.close()
            raise

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading, and close the source; the trace stays.

        It waits some seconds for an iterable that does not give its next picture, and then abandons it. Call it in the
        thread that takes the windows: an iterable that is not live runs in it, and no other thread can end it.
        """
        self._is_closed = True
        if self._reader is not None:
            self._reader.close()
        else:
            self._source.close()

    def _start(self) -> Iterator[WindowClip]:
        self._began = self._clock()
        if not self.is_live:
            return in_order(self._source, self._cutter, self.span_seconds if self._stride is None else self._stride)
        self._reader = Reader(self._source, self._cutter)
        # A stream that is dropped without being closed stops reading.
        weakref.finalize(self, self._reader.stop)
        return newest_windows(self._reader, self._stride or 0.0)

    def _run(self, clip: WindowClip) -> Window:
        config = self.row.config
        started = self._clock()
        prediction = self._predict(clip.pictures, clip.fps, config)
        milliseconds = 1e3 * (self._clock() - started)
        self._controller.observe(milliseconds, min(prediction.timing.network, milliseconds))
        assert self._began is not None
        point = TracePoint(started - self._began, config, milliseconds, self.load, clip.num_skipped)
        self._trace.append(point)
        return Window(prediction, clip.start_seconds, clip.end_seconds, milliseconds, clip.num_skipped)

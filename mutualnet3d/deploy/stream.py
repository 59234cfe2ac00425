"""Sliding window over a file, a camera or pictures: one prediction after the other, each within a time.

with predictor.stream("video.mp4", milliseconds=100) as stream:
    for window in stream:
        print(window.start_seconds, window.prediction.labels[0].name, window.milliseconds)
save_trace_plot(stream.trace, 100, "trace.png", "video.mp4")

The sub-network of each window is chosen by the times of those before (budget.py). A live source is read in a thread of
its own, which never waits for the network: the network gets the newest window whenever it is free, and frames that came
meanwhile are counted and not queued. Any other source is read as it is needed, and every window of it is run.
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
    """Prediction of one window.

    Args:
        prediction: labels, and the sub-network that gave them.
        start_seconds, end_seconds: start and end in the source, which begins at 0.
        milliseconds: wall time of cutting out, resizing and the network.
        num_skipped: frames of the source between the window before and this one, which are in no window.
    """

    prediction: Prediction
    start_seconds: float
    end_seconds: float
    milliseconds: float
    num_skipped: int


class Stream:
    """Windows of a source, one at a time: an iterator, and a context manager that closes the source.

    A window spans the time of the network's clip, `num_frames * sampling_rate / target_fps` seconds. A shorter source
    gives one window of all its frames; otherwise all windows are whole.

    Args:
        predict: (pictures, their frame rate, sub-network) -> prediction.
        rows: sub-networks with their milliseconds on this machine when it is idle; see `BudgetController`.
        preprocessing: shapes, frame rate and normalisation of the network's clips.
        source: path of a file or of a folder of pictures; a camera's number; or pictures, uint8 (H, W, 3), RGB: an
            array, a list, or an iterable.
        milliseconds: time that each window may take.
        fps: frames per second of pictures. None: the rate that the network is meant for; for pictures that come live,
            the rate at which they come.
        live: True if the source goes on while the network runs. None: True for cameras and for iterables of pictures. A
            file or list that is played live keeps to its own times.
        stride: seconds from a window to the next. None: windows follow each other without overlap; for a live source,
            as soon as the network is free and there is a new frame.
        clock: clock that measures times, in seconds.

    Attributes:
        is_live: True if the source goes on while the network runs.
        span_seconds: time that a whole window spans.
        milliseconds: budget of a window.

    Raises:
        ValueError: a budget that nothing fits, a source, `fps` or `stride` that is not allowed; while it runs, objects
            that are no pictures. Other errors of an iterable come as they are, after the windows before them.
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
        """Return one line: kind of source, budget, windows so far, the next sub-network."""
        kind = "live source" if self.is_live else "source"
        state = "closed" if self._is_closed else f"next {self.row.config}"
        return f"<Stream of a {kind}: {self.milliseconds:g} ms for a window, {len(self._trace)} windows, {state}>"

    @property
    def row(self) -> Row:
        """Row of the sub-network that the next window runs."""
        return self._controller.row

    @property
    def load(self) -> float:
        """Time of a window now, relative to that on the idle machine."""
        return self._controller.load

    @property
    def trace(self) -> list[TracePoint]:
        """Windows so far, the oldest first; of very many, the newest `MAX_TRACE`."""
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

        An iterable that does not give its next picture is waited for some seconds, and then abandoned. Call it in the
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

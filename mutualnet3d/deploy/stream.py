"""A sliding window over a file, a camera or pictures that come: one prediction after the other, each within a time.

with predictor.stream("video.mp4", milliseconds=100) as stream:
    for window in stream:
        print(window.start_seconds, window.prediction.labels[0].name, window.milliseconds)
save_trace_plot(stream.trace, 100, "trace.png", "video.mp4")

The sub-network of each window is chosen by the times of those before (budget.py). A live source is read in a thread of
its own, which nothing holds up: the network gets the newest window whenever it is free, and what came meanwhile is
counted and not queued. Any other source is read as it is needed, and every window of it is run.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mutualnet3d.data.clip_sampling import span_length
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy.budget import BudgetController
from mutualnet3d.deploy.frame_source import FrameSource, Source, open_source
from mutualnet3d.deploy.prediction import Prediction
from mutualnet3d.engine.query_table import Row
from mutualnet3d.log import logger
from mutualnet3d.shapes import SubnetConfig

Predict = Callable[[list[np.ndarray], float, SubnetConfig], Prediction]

# Of the trace the newest windows are kept, about 20 MB of them: three hours at ten a second.
MAX_TRACE = 100_000
# Frames of a source that has more than so many times the rate that the network is meant for are left out.
_MOST_OVER_TARGET_FPS = 4
# A source that does not end within so many seconds of being told to is left to itself.
_CLOSING_SECONDS = 5.0
# Times that differ by less are equal, seconds.
_EPSILON = 1e-6


@dataclass(frozen=True)
class Window:
    """What the network says of one window.

    Args:
        start_seconds, end_seconds: of the source, which begins at 0.
        milliseconds: the wall time of cutting out, resizing and the network.
        num_skipped: frames of the source between the window before and this one, which are in no window.
    """

    prediction: Prediction
    start_seconds: float
    end_seconds: float
    milliseconds: float
    num_skipped: int


@dataclass(frozen=True)
class TracePoint:
    """A window as the trace has it.

    Args:
        seconds: when its run began, since the stream began, by the clock on the wall.
        config: the sub-network that ran.
        milliseconds, num_skipped: as of `Window`.
        load: how many times as long as on the idle machine windows take, as was estimated when it had run.
    """

    seconds: float
    config: SubnetConfig
    milliseconds: float
    load: float
    num_skipped: int


class Stream:
    """The windows of a source, one at a time: an iterator, and a context manager that closes the source.

    A window spans what the network's clip does, `num_frames * sampling_rate / target_fps` seconds. A source that is
    shorter gives one window of what there is; otherwise all windows are whole.

    Args:
        predict: labels of pictures at a frame rate, by a sub-network.
        rows: the sub-networks with their milliseconds on this machine when it is idle; see `BudgetController`.
        preprocessing: what the network's clips are.
        source: a path; a camera's number; or pictures, uint8 (H, W, 3), RGB: an array, a list, or whatever gives one
            after the other.
        milliseconds: that each window may take.
        fps: of pictures, frames per second. None: the rate that the network is meant for; of what gives them live, the
            rate at which it does.
        live: the source goes on while the network runs. None: cameras, and what gives pictures one after the other. A
            file or list that is played live keeps to its own times.
        stride: seconds from a window to the next. None: windows follow each other without overlap; of a live source,
            as soon as the network is free and there is a new frame.
        clock: in seconds, what times are measured by.

    Attributes:
        is_live: whether the source is.
        span_seconds: that a whole window spans.
        milliseconds: the budget.

    Raises:
        ValueError: a budget that nothing fits, a source, `fps` or `stride` that cannot be; while it runs, pictures that
            are none. Other errors of what gives the pictures come as they are, behind the windows before them.
        VideoDecodeError: the file or camera cannot be read.
    """

    def __init__(
        self,
        predict: Predict,
        rows: Sequence[Row],
        preprocessing: Preprocessing,
        source: Source,
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
        self._source = open_source(source, fps, live, target_fps, max_short_side=2 * preprocessing.scale)
        self.is_live = self._source.is_live
        self._cutter = _Cutter(self.span_seconds, self._source.fps, target_fps)
        self._stride = stride
        self._trace: deque[TracePoint] = deque(maxlen=MAX_TRACE)
        self._began: float | None = None
        self._reader: _Reader | None = None
        self._clips: Iterator[_Clip] | None = None
        self._is_closed = False

    @property
    def row(self) -> Row:
        """Of the sub-network that the next window runs."""
        return self._controller.row

    @property
    def load(self) -> float:
        """How many times as long as on the idle machine windows take now."""
        return self._controller.load

    @property
    def trace(self) -> list[TracePoint]:
        """The windows so far, the oldest first; of very many, the newest `MAX_TRACE`."""
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
        """Stop reading, and let go of the source. The trace stays. What gives pictures and does not give the next one
        is waited for some seconds, and then left behind."""
        self._is_closed = True
        if self._reader is not None:
            self._reader.close()
        else:
            self._source.close()

    def _start(self) -> Iterator[_Clip]:
        self._began = self._clock()
        if not self.is_live:
            return _in_order(self._source, self._cutter, self.span_seconds if self._stride is None else self._stride)
        self._reader = _Reader(self._source, self._cutter)
        # A stream that is forgotten instead of closed does not go on reading.
        weakref.finalize(self, self._reader.stop)
        return _newest_ones(self._reader, self._stride or 0.0)

    def _run(self, clip: _Clip) -> Window:
        config = self.row.config
        started = self._clock()
        prediction = self._predict(clip.pictures, clip.fps, config)
        milliseconds = 1e3 * (self._clock() - started)
        self._controller.observe(milliseconds, min(prediction.timing.network, milliseconds))
        assert self._began is not None
        point = TracePoint(started - self._began, config, milliseconds, self.load, clip.num_skipped)
        self._trace.append(point)
        return Window(prediction, clip.start_seconds, clip.end_seconds, milliseconds, clip.num_skipped)


# ---- from frames to windows ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Frame:
    number: int
    seconds: float
    picture: np.ndarray


@dataclass(frozen=True)
class _Clip:
    """What a window shows."""

    pictures: list[np.ndarray]
    fps: float
    start_seconds: float
    end_seconds: float
    num_skipped: int
    last_number: int


class _Cutter:
    """Cuts windows out of frames.

    Args:
        span: seconds of a window.
        fps: frames per second that the source tells; None: none.
        target_fps: that the network is meant for.
    """

    def __init__(self, span: float, fps: float | None, target_fps: float):
        self.span, self._fps, self._target_fps = span, fps, target_fps
        self._shortest = 1 / (_MOST_OVER_TARGET_FPS * target_fps)

    def numbered(self, source: FrameSource) -> Iterator[_Frame]:
        """Its frames, but for those of a source of a very high rate that lie too close: the number of frames in a
        window is bounded."""
        number, due = 0, 0.0
        for seconds, picture in source:
            if seconds >= due - _EPSILON:
                yield _Frame(number, seconds, picture)
                number, due = number + 1, seconds + self._shortest

    def end_of(self, frame: _Frame) -> float:
        """When the next one is due."""
        return frame.seconds + (max(1 / self._fps, self._shortest) if self._fps else 0.0)

    def clip(self, frames: Sequence[_Frame], start: float, end: float, after: int) -> _Clip:
        """The window of `frames`, which spans these seconds.

        Args:
            after: the number of the last frame of the window before; -1: it is the first.
        """
        return _Clip(
            [frame.picture for frame in frames],
            self._rate(frames),
            start,
            end,
            max(0, frames[0].number - after - 1),
            frames[-1].number,
        )

    def _rate(self, frames: Sequence[_Frame]) -> float:
        """Frames per second: measured, as headers and cameras may promise others; what the source tells, which is
        exact, where the two agree."""
        seconds = frames[-1].seconds - frames[0].seconds
        if seconds <= 0:
            return self._fps or self._target_fps
        measured = (len(frames) - 1) / seconds
        return self._fps if self._fps and abs(self._fps - measured) <= 0.01 * measured else measured


def _in_order(source: FrameSource, cutter: _Cutter, stride: float) -> Iterator[_Clip]:
    """All windows of a source, from its first frame on every `stride` seconds, as soon as they are whole. An error of
    the source comes behind the windows that are whole without what it has kept back."""
    kept: deque[_Frame] = deque()
    number, after = 0, -1
    error: Exception | None = None
    frames = cutter.numbered(source)
    while True:
        try:
            frame = next(frames, None)
        except Exception as raised:  # noqa: BLE001 - it is raised below
            error, frame = raised, None
        end = frame.seconds if frame else cutter.end_of(kept[-1]) if kept else 0.0
        while kept and number * stride + cutter.span <= end + _EPSILON:
            start = number * stride
            # The last frame before a window is what a window without frames shows.
            while len(kept) > 1 and kept[1].seconds < start - _EPSILON:
                kept.popleft()
            shown = [each for each in kept if start - _EPSILON <= each.seconds < start + cutter.span - _EPSILON]
            clip = cutter.clip(shown or [kept[0]], start, start + cutter.span, after)
            yield clip
            number, after = number + 1, clip.last_number
        if frame is None:
            break
        kept.append(frame)
        while len(kept) > 1 and kept[1].seconds < number * stride - _EPSILON:
            kept.popleft()
    if error is not None:
        raise error
    if number == 0 and kept:
        yield cutter.clip(kept, 0.0, end, after)


def _newest_ones(reader: _Reader, stride: float) -> Iterator[_Clip]:
    """The newest window whenever one is asked for and has a new frame."""
    after, due = -1, 0.0
    while (clip := reader.newest(after, due)) is not None:
        yield clip
        after, due = clip.last_number, clip.end_seconds + stride


class _Reader:
    """Reads a live source in a thread, and keeps the frames of the newest window.

    Args:
        source: read and closed by the thread alone.
        cutter: cuts the windows.
    """

    def __init__(self, source: FrameSource, cutter: _Cutter):
        self._source, self._cutter = source, cutter
        self._frames: deque[_Frame] = deque()
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._has_ended = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._read, name="mutualnet3d stream", daemon=True)
        self._thread.start()

    def newest(self, after: int, due: float) -> _Clip | None:
        """The newest whole window that ends with a frame behind number `after`, and not before `due`, in seconds; it
        is waited for. Where the source ends before the first one: what there is. None: the source has ended.

        Raises:
            Exception: the source's.
        """
        with self._changed:
            while not self._stopped.is_set():
                clip = self._clip(after, due)
                if clip is not None:
                    return clip
                if self._has_ended:
                    if self._error is not None:
                        raise self._error
                    return None
                self._changed.wait()
        return None

    def _clip(self, after: int, due: float) -> _Clip | None:
        if not self._frames or self._frames[-1].number <= after:
            return None
        end = self._cutter.end_of(self._frames[-1])
        if end >= max(self._cutter.span, due) - _EPSILON:
            return self._cutter.clip(self._frames, max(end - self._cutter.span, 0.0), end, after)
        if self._has_ended and self._error is None and after < 0:
            return self._cutter.clip(self._frames, 0.0, end, after)
        return None

    def stop(self) -> None:
        """Tell the thread to end, and do not wait for it."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread. If the source does not give its next frame, it is left to end when it does."""
        self.stop()
        self._thread.join(_CLOSING_SECONDS)
        if self._thread.is_alive():
            logger.warning("%s: no frame within %g s; left to itself", self._source.name, _CLOSING_SECONDS)

    def _read(self) -> None:
        began = time.monotonic()
        try:
            for frame in self._cutter.numbered(self._source):
                ahead = began + frame.seconds - time.monotonic() if self._source.is_paced else 0.0
                if self._stopped.wait(max(ahead, 0.0)):
                    break
                self._add(frame)
        except Exception as error:  # noqa: BLE001 - raised where the windows are asked for
            self._error = error
        finally:
            self._end()

    def _add(self, frame: _Frame) -> None:
        with self._changed:
            self._frames.append(frame)
            start = self._cutter.end_of(frame) - self._cutter.span
            while self._frames[0].seconds < start - _EPSILON:
                self._frames.popleft()
            self._changed.notify_all()

    def _end(self) -> None:
        try:
            self._source.close()
        except Exception as error:  # noqa: BLE001 - as above
            self._error = self._error or error
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

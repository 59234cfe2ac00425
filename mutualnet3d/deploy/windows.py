"""From frames to windows: all of them in their order, or the newest whenever one is asked for."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mutualnet3d.log import logger
from mutualnet3d.video.frame_stream import FrameStream

# Frames of a source that has more than so many times the rate that the network is meant for are left out.
_MOST_OVER_TARGET_FPS = 4
# A source that does not end within so many seconds of being told to is left to itself.
_CLOSING_SECONDS = 5.0
# Times that differ by less are equal, seconds.
_EPSILON = 1e-6


@dataclass(frozen=True)
class NumberedFrame:
    """A frame of a source: its number, from 0, of those that are taken, and its time."""

    number: int
    seconds: float
    picture: np.ndarray


@dataclass(frozen=True)
class WindowClip:
    """What a window shows."""

    pictures: list[np.ndarray]
    fps: float
    start_seconds: float
    end_seconds: float
    num_skipped: int
    last_number: int


class Cutter:
    """Cuts windows out of frames.

    Args:
        span: seconds of a window.
        fps: frames per second that the source tells; None: none.
        target_fps: that the network is meant for.
    """

    def __init__(self, span: float, fps: float | None, target_fps: float):
        self.span, self._fps, self._target_fps = span, fps, target_fps
        self._shortest = 1 / (_MOST_OVER_TARGET_FPS * target_fps)

    def numbered(self, source: FrameStream) -> Iterator[NumberedFrame]:
        """Its frames, but for those of a source of a very high rate that lie too close: the number of frames in a
        window is bounded."""
        number, due = 0, 0.0
        for seconds, picture in source:
            if seconds >= due - _EPSILON:
                yield NumberedFrame(number, seconds, picture)
                number, due = number + 1, seconds + self._shortest

    def end_of(self, frame: NumberedFrame) -> float:
        """When the next one is due."""
        return frame.seconds + (max(1 / self._fps, self._shortest) if self._fps else 0.0)

    def clip(self, frames: Sequence[NumberedFrame], start: float, end: float, after: int) -> WindowClip:
        """The window of `frames`, which spans these seconds.

        Args:
            after: the number of the last frame of the window before; -1: it is the first.
        """
        return WindowClip(
            [frame.picture for frame in frames],
            self._rate(frames),
            start,
            end,
            max(0, frames[0].number - after - 1),
            frames[-1].number,
        )

    def _rate(self, frames: Sequence[NumberedFrame]) -> float:
        """Frames per second: measured, as headers and cameras may promise others; what the source tells, which is
        exact, where the two agree."""
        seconds = frames[-1].seconds - frames[0].seconds
        if seconds <= 0:
            return self._fps or self._target_fps
        measured = (len(frames) - 1) / seconds
        return self._fps if self._fps and abs(self._fps - measured) <= 0.01 * measured else measured


def in_order(source: FrameStream, cutter: Cutter, stride: float) -> Iterator[WindowClip]:
    """All windows of a source, from its first frame on every `stride` seconds, as soon as they are whole. An error of
    the source comes behind the windows that are whole without what it has kept back."""
    kept: deque[NumberedFrame] = deque()
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


def newest_ones(reader: Reader, stride: float) -> Iterator[WindowClip]:
    """The newest window whenever one is asked for and has a new frame."""
    after, due = -1, 0.0
    while (clip := reader.newest(after, due)) is not None:
        yield clip
        after, due = clip.last_number, clip.end_seconds + stride


class Reader:
    """Reads a live source in a thread, and keeps the frames of the newest window.

    Args:
        source: read and closed by the thread alone.
        cutter: cuts the windows.
    """

    def __init__(self, source: FrameStream, cutter: Cutter):
        self._source, self._cutter = source, cutter
        self._frames: deque[NumberedFrame] = deque()
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._has_ended = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._read, name="mutualnet3d stream", daemon=True)
        self._thread.start()

    def newest(self, after: int, due: float) -> WindowClip | None:
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

    def _clip(self, after: int, due: float) -> WindowClip | None:
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

    def _add(self, frame: NumberedFrame) -> None:
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

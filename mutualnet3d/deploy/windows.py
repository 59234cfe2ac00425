"""Windows of frames: all of them in their order, or the newest whenever one is asked for."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mutualnet3d.log import logger
from mutualnet3d.video.errors import too_late
from mutualnet3d.video.frame_stream import FrameStream

# A source's rate is limited to so many times the rate that the network is meant for; other frames are left out.
_MAX_OVER_TARGET_FPS = 4
# A source that has not ended so many seconds after a stop is left to itself.
_CLOSING_SECONDS = 5.0
# Times that differ by less are equal, seconds.
_EPSILON = 1e-6


@dataclass(frozen=True)
class NumberedFrame:
    """Frame of a source: its number, from 0, among those that are taken, and its time."""

    number: int
    seconds: float
    picture: np.ndarray


@dataclass(frozen=True)
class WindowClip:
    """Pictures of a window.

    Args:
        pictures: uint8 (H, W, 3), RGB.
        fps: their frame rate.
        start_seconds, end_seconds: start and end in the source.
        num_skipped: frames between the window before and this one.
        last_number: number of its last frame.
    """

    pictures: list[np.ndarray]
    fps: float
    start_seconds: float
    end_seconds: float
    num_skipped: int
    last_number: int


class Cutter:
    """Cutter of windows out of frames.

    Args:
        span: length of a window, seconds.
        fps: frames per second that the source tells; None: it tells none.
        target_fps: frame rate that the network is meant for.
    """

    def __init__(self, span: float, fps: float | None, target_fps: float):
        self.span, self._fps, self._target_fps = span, fps, target_fps
        self._shortest = 1 / (_MAX_OVER_TARGET_FPS * target_fps)

    def numbered(self, source: FrameStream) -> Iterator[NumberedFrame]:
        """Yield the frames of a source, numbered.

        At a very high rate those that lie too close are left out, so that the number of frames in a window is bounded.
        """
        number, due = 0, 0.0
        for seconds, picture in source:
            if seconds >= due - _EPSILON:
                yield NumberedFrame(number, seconds, picture)
                number, due = number + 1, seconds + self._shortest

    def end_of(self, frame: NumberedFrame) -> float:
        """Return the time at which the frame after this one is due."""
        return frame.seconds + (max(1 / self._fps, self._shortest) if self._fps else 0.0)

    def clip(self, frames: Sequence[NumberedFrame], start: float, end: float, after: int) -> WindowClip:
        """Return the window of `frames`.

        Args:
            frames: frames of the window, at least one.
            start, end: seconds in the source.
            after: number of the last frame of the window before; -1: it is the first.
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
        """Return frames per second: the source's own rate, which is exact, where the measured one agrees with it.

        Otherwise the measured one counts, as headers and cameras may promise another.
        """
        seconds = frames[-1].seconds - frames[0].seconds
        if seconds <= 0:
            return self._fps or self._target_fps
        measured = (len(frames) - 1) / seconds
        return self._fps if self._fps and abs(self._fps - measured) <= 0.01 * measured else measured


def in_order(source: FrameStream, cutter: Cutter, stride: float) -> Iterator[WindowClip]:
    """Yield all windows of a source, every `stride` seconds from its first frame on, as soon as they are whole.

    An error of the source comes after the windows that are whole without its missing frames.
    """
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
            # A window without frames shows the last frame before it.
            while len(kept) > 1 and kept[1].seconds < start - _EPSILON:
                kept.popleft()
            shown = [kept_frame for kept_frame in kept if _is_within(kept_frame, start, start + cutter.span)]
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


def _is_within(frame: NumberedFrame, start: float, end: float) -> bool:
    return start - _EPSILON <= frame.seconds < end - _EPSILON


def newest_windows(reader: Reader, stride: float) -> Iterator[WindowClip]:
    """Yield the newest window whenever one is asked for and has a new frame.

    Args:
        reader: reader of a live source.
        stride: least time from the end of a window to that of the next, seconds.
    """
    after, due = -1, 0.0
    while (clip := reader.newest(after, due)) is not None:
        yield clip
        after, due = clip.last_number, clip.end_seconds + stride


class Reader:
    """Reader of a live source in a thread; it keeps the frames of the newest window.

    Args:
        source: source that the thread alone reads and closes.
        cutter: cutter of the windows.
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
        """Wait for the newest whole window and return it; None: the source has ended.

        A source that ends before the first whole window gives one of all its frames.

        Args:
            after: number that its last frame is greater than.
            due: earliest end of the window, seconds in the source.

        Raises:
            Exception: error of the source.
            VideoDecodeError: no frame came within the source's `longest_wait`.
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
                self._wait()
        return None

    def _wait(self) -> None:
        """Wait for the next frame or the end; a driver may hold the thread that reads for ever."""
        seconds = None if self._source.is_paced else self._source.longest_wait
        if not self._changed.wait(seconds):
            assert seconds is not None
            raise too_late(self._source.name, seconds, "no frame came")

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
        """Ask the thread to end, and do not wait for it."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread; if the source does not give its next frame, it is left to end when it does."""
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
        except Exception as error:  # noqa: BLE001 - raised in the thread that asks for windows
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

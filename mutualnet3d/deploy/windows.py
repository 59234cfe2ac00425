"""Windows of frames: all of them in their order, or the newest one on demand."""

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
from mutualnet3d.video.frame_times import typical_distances

# A source's rate is limited to so many times the rate that the network is meant for; other frames are left out.
_MAX_OVER_TARGET_FPS = 4
# A source that has not ended so many seconds after a stop is left to itself.
_CLOSING_SECONDS = 5.0
# Times that differ by less are equal, seconds.
_EPSILON = 1e-6


@dataclass(frozen=True)
class NumberedFrame:
    """Frame of a source, with its number, from 0, among the frames that are used, and its time."""

    number: int
    seconds: float
    picture: np.ndarray


@dataclass(frozen=True)
class WindowClip:
    """Pictures of a window.

    Args:
        pictures: frames of the window, uint8 (H, W, 3), RGB.
        fps: frame rate of the pictures, frames per second.
        start_seconds: start in the source.
        end_seconds: end in the source.
        num_skipped: number of frames between the window before and this one.
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
        fps: frame rate of the source by its header, frames per second; None: unknown.
        target_fps: frame rate that the network is meant for, frames per second.
    """

    def __init__(self, span: float, fps: float | None, target_fps: float):
        self.span, self._fps, self._target_fps = span, fps, target_fps
        self._shortest = 1 / (_MAX_OVER_TARGET_FPS * target_fps)

    def numbered(self, source: FrameStream) -> Iterator[NumberedFrame]:
        """Yield the frames of a source, numbered.

        At a very high rate frames that are too close are left out, so that the number of frames in a window is bounded.
        """
        number, due = 0, 0.0
        for seconds, picture in source:
            if seconds >= due - _EPSILON:
                yield NumberedFrame(number, seconds, picture)
                number, due = number + 1, seconds + self._shortest

    def end_of(self, frame: NumberedFrame) -> float:
        """Return the time at which the frame after this one is due."""
        return frame.seconds + (max(1 / self._fps, self._shortest) if self._fps else 0.0)

    def clip(self, kept: Sequence[NumberedFrame], start: float, end: float, after: int) -> WindowClip:
        """Return the window of the frames that begin in it, or else of the last frame before it.

        Args:
            kept: frames of the window, at least one, perhaps with the last frame before it in front.
            start: start of the window, seconds in the source.
            end: end of the window, seconds in the source.
            after: number of the last frame of the window before; -1 for the first window.
        """
        frames = [frame for frame in kept if frame.seconds >= start - _EPSILON] or kept[:1]
        pictures, fps = [frame.picture for frame in frames], self._rate(frames)
        if not _are_even(frames) or frames[0].seconds - start > 1.5 / fps:
            pictures, fps = self._at_even_times(kept, np.diff([frame.seconds for frame in frames]), start, end)
        return WindowClip(pictures, fps, start, end, max(0, frames[0].number - after - 1), frames[-1].number)

    def _at_even_times(
        self, kept: Sequence[NumberedFrame], distances: np.ndarray, start: float, end: float
    ) -> tuple[list[np.ndarray], float]:
        """Return the pictures at even times (during a pause the last one before it), and their rate."""
        fps = self._fps or self._target_fps
        if distances.size:
            fps = self._agreeing(1 / float(typical_distances(distances).mean()))
        times = start + np.arange(max(1, round((end - start) * fps))) / fps
        places = np.searchsorted([frame.seconds for frame in kept], times + _EPSILON, side="right") - 1
        return [kept[place].picture for place in np.maximum(places, 0)], fps

    def _rate(self, frames: Sequence[NumberedFrame]) -> float:
        """Return the frame rate: the source's own rate, which is exact, if the measured rate agrees with it.

        Otherwise it is the measured rate, since headers and cameras may state another one.
        """
        seconds = frames[-1].seconds - frames[0].seconds
        if seconds <= 0:
            return self._fps or self._target_fps
        return self._agreeing((len(frames) - 1) / seconds)

    def _agreeing(self, measured: float) -> float:
        """Return the source's own rate if the measured rate agrees with it, else the measured rate."""
        return self._fps if self._fps and abs(self._fps - measured) <= 0.01 * measured else measured


def _are_even(frames: Sequence[NumberedFrame]) -> bool:
    """Return True if all frames come within half a frame of their times in an even video.

    Frames of cameras come a little early or late.
    """
    seconds = np.array([frame.seconds for frame in frames])
    if len(seconds) < 3:
        return True
    errors = seconds - np.linspace(seconds[0], seconds[-1], len(seconds))
    return bool(np.abs(errors).max() <= 0.5 * (seconds[-1] - seconds[0]) / (len(seconds) - 1))


def in_order(source: FrameStream, cutter: Cutter, stride: float) -> Iterator[WindowClip]:
    """Yield all windows of a source, every `stride` seconds from its first frame on, as soon as they are whole.

    An error of the source is raised after the windows that are whole without its missing frames.
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
            while len(kept) > 1 and kept[1].seconds < start - _EPSILON:
                kept.popleft()
            begun = [kept_frame for kept_frame in kept if kept_frame.seconds < start + cutter.span - _EPSILON]
            clip = cutter.clip(begun or [kept[0]], start, start + cutter.span, after)
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
        yield cutter.clip(list(kept), 0.0, end, after)


def newest_windows(reader: Reader, stride: float) -> Iterator[WindowClip]:
    """Yield the newest window on demand, once it has a new frame.

    Args:
        reader: reader of a live source.
        stride: shortest time from the end of a window to that of the next, seconds.
    """
    after, due = -1, 0.0
    while (clip := reader.newest(after, due)) is not None:
        yield clip
        after, due = clip.last_number, clip.end_seconds + stride


class Reader:
    """Reader of a live source in a thread; it keeps the frames of the newest window.

    Args:
        source: source, which only the thread reads and closes.
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
        """Wait for the newest whole window and return it; None after the source's end.

        A source that ends before the first whole window gives one of all its frames.

        Args:
            after: number that the number of its last frame exceeds.
            due: earliest end of the window, seconds in the source.

        Raises:
            Exception: the source raised an error.
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
        """Wait for the next frame or the end, with a limit, since a driver may block the reading thread for ever."""
        seconds = None if self._source.is_paced else self._source.longest_wait
        if not self._changed.wait(seconds):
            assert seconds is not None
            raise too_late(self._source.name, seconds, "no frame came")

    def _clip(self, after: int, due: float) -> WindowClip | None:
        if not self._frames or self._frames[-1].number <= after:
            return None
        end = self._cutter.end_of(self._frames[-1])
        if end >= max(self._cutter.span, due) - _EPSILON:
            return self._cutter.clip(list(self._frames), max(end - self._cutter.span, 0.0), end, after)
        if self._has_ended and self._error is None and after < 0:
            return self._cutter.clip(list(self._frames), 0.0, end, after)
        return None

    def stop(self) -> None:
        """Ask the thread to end, without waiting for it."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread, or leave it to end when the source gives its next frame."""
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
            # The last frame before the window stays where it is seen at the window's start.
            while self._frames[0].seconds < start - _EPSILON and self._frames[1].seconds <= start + _EPSILON:
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

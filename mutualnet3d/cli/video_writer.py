"""H.264 files whose pictures have their own times."""

from __future__ import annotations

import os
from fractions import Fraction

import av
import numpy as np

USUAL_FPS = 30.0
_TIME_BASE = Fraction(1, 90000)  # usual in video: all usual frame rates fit
_BT709, _LIMITED = 1, 1  # libav's numbers of the colour space, primaries and curve, and of the range of values


class VideoWriter:
    """Writer of pictures with their times as H.264 into a file that has its name only once it is whole.

    A context manager: an exception leaves no file, and an older one of the name what it was.

    Args:
        path: name of the file, .mp4.
        fps: frames per second, about; frames have their own times.
    """

    def __init__(self, path: str, fps: float | None):
        self._path, self._rate = path, Fraction(fps or USUAL_FPS).limit_denominator(1001)
        folder, name = os.path.split(path)
        # From the root on: libav takes a name such as "12:30.mp4" for a protocol's.
        self._part = os.path.join(os.path.abspath(folder), f".{name}.{os.getpid()}.tmp")
        self._stream: av.VideoStream | None = None
        self._last_pts = -1
        self._is_closed = False

    def __enter__(self) -> VideoWriter:
        os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
        # The index is put at the file's start: players begin there.
        self._container = av.open(self._part, "w", format="mp4", options={"movflags": "+faststart"})
        return self

    def write(self, picture_HWC: np.ndarray, seconds: float, pixel_aspect: Fraction | None = None) -> None:
        """Add a picture, uint8 RGB, all of one size, that is shown from `seconds` on.

        Args:
            pixel_aspect: width over height of a pixel in the first picture; None: not known.

        Raises:
            ValueError: the file is closed; H.264 has no pictures of that size.
        """
        if self._is_closed:  # a camera that was given up may still come back
            raise ValueError(f"{self._path}: the file is closed")
        # The encoder halves colours in both directions: an odd line at the edge is left out.
        height, width = (side // 2 * 2 for side in picture_HWC.shape[:2])
        if self._stream is None:
            self._stream = self._add_stream(width, height, pixel_aspect)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_HWC[:height, :width]), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED)
        self._last_pts = max(round(seconds / _TIME_BASE), self._last_pts + 1)
        frame.pts, frame.time_base = self._last_pts, _TIME_BASE
        frame.duration = max(1, round(1 / (self._rate * _TIME_BASE)))
        self._container.mux(self._stream.encode(frame))

    def _add_stream(self, width: int, height: int, pixel_aspect: Fraction | None) -> av.VideoStream:
        if not width or not height:
            raise ValueError(f"{self._path}: H.264 has no pictures that are a pixel wide or high, as the input's are")
        stream = self._container.add_stream("libx264", rate=self._rate, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.thread_count = 1  # others would take the cores from the network, whose time is measured
        stream.time_base = context.time_base = _TIME_BASE
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        if pixel_aspect:
            context.sample_aspect_ratio = pixel_aspect
        try:
            context.open()
        except av.FFmpegError as error:
            raise ValueError(
                f"{self._path}: the encoder does not take pictures of {width} x {height}: {error}"
            ) from error
        return stream

    def __exit__(self, kind: object, *_: object) -> None:
        self._is_closed = True
        try:
            if kind is None and self._stream is not None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            if kind is None:
                os.replace(self._part, self._path)
        finally:
            if os.path.exists(self._part):
                os.remove(self._part)

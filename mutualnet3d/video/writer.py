"""H.264 files in mp4, the package's only encoder. A file has its name only once it is whole.

with open_video_writer("out.mp4", fps=24) as writer:
    for picture_HWC in pictures:
        writer.write(picture_HWC)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from mutualnet3d.files.atomic import atomic_file
from mutualnet3d.video.errors import VideoEncodeError
from mutualnet3d.video.frame_rate import rate_fraction
from mutualnet3d.video.picture import LIMITED_RANGE

_RGB, _UNSPECIFIED = 0, 2  # libav's numbers of colour spaces


@dataclass(frozen=True)
class Colours:
    """libav's numbers of what a picture's values mean: its colour space, primaries and transfer curve.

    The range of the values is the limited one, which goes without saying in yuv420p.
    """

    space: int
    primaries: int
    transfer: int


BT709 = Colours(1, 1, 1)


def colours_of(frame: av.VideoFrame) -> Colours:
    """Return the colours that a decoded frame has once it is in yuv420p."""
    space = _UNSPECIFIED if frame.colorspace == _RGB else frame.colorspace
    return Colours(space, frame.color_primaries, frame.color_trc)


@contextmanager
def open_video_writer(
    path: str,
    fps: float | None = None,
    *,
    options: Mapping[str, str] | None = None,
    time_base: Fraction | None = None,
    colours: Colours | None = None,
    sync: bool = True,
) -> Iterator[VideoWriter]:
    """Yield a writer of the video at `path`; the file is whole when the block ends well, and absent if it raises.

    Args:
        path: path of the file, .mp4.
        fps: frames per second, about: the encoder spends its bits by it, and frames may have times of their own. None:
            not known.
        options: libx264's, by libav's names: crf, preset, g (frames from a keyframe to the next, at most), x264-params.
        time_base: seconds of a unit of the frames' times; None: one frame.
        colours: meaning of the pictures' values; RGB pictures are converted to them. None: not stated.
        sync: True to wait for the disk; False for many small files that can be made again.

    Raises:
        OSError: the file cannot be written.
        VideoEncodeError: the encoder fails.
        ValueError: nothing was written, or H.264 has no such pictures.
    """
    with atomic_file(path, sync) as temporary:
        try:
            # From the root on: libav takes a name such as "12:30.mp4" for a protocol's. The index is put at the file's
            # start: readers begin there.
            with av.open(
                os.path.abspath(temporary), "w", format="mp4", options={"movflags": "+faststart"}
            ) as container:
                writer = VideoWriter(path, container, rate_fraction(fps), dict(options or {}), time_base, colours)
                try:
                    yield writer
                    writer.finish()
                finally:
                    writer.close()
        except av.FFmpegError as error:
            if isinstance(error, OSError):  # the disk, not the pictures
                raise
            raise VideoEncodeError(f"{path}: cannot be encoded: {type(error).__name__}: {error}") from error


class VideoWriter:
    """Encoder of one video: see `open_video_writer`. Its pictures have the size of the first."""

    def __init__(
        self,
        path: str,
        container: av.container.OutputContainer,
        rate: Fraction,
        options: dict[str, str],
        time_base: Fraction | None,
        colours: Colours | None,
    ):
        self._path, self._container, self._options, self._colours = path, container, options, colours
        self._rate, self._time_base = rate, time_base or 1 / rate
        self._duration = max(1, round(1 / (rate * self._time_base)))
        self._last_pts = -self._duration
        self._stream: av.VideoStream | None = None
        self._reformatter = VideoReformatter()
        self._is_closed = False

    def write(
        self, picture_HWC: np.ndarray, seconds: float | None = None, pixel_aspect: Fraction | None = None
    ) -> None:
        """Add a picture. An odd line at its edge is left out: the encoder halves colours both ways.

        Args:
            picture_HWC: picture, uint8 (H, W, 3), RGB.
            seconds: time from which it is shown; None: one frame after the last picture.
            pixel_aspect: width over height of a pixel, by the first picture; None: unknown.

        Raises:
            ValueError: the file is closed; H.264 has no pictures of that size.
        """
        height, width = (side // 2 * 2 for side in picture_HWC.shape[:2])
        if not width or not height:
            raise ValueError(f"{self._path}: H.264 has no pictures that are a pixel wide or high")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_HWC[:height, :width]), format="rgb24")
        if self._colours is not None:
            frame = self._reformatter.reformat(
                frame, format="yuv420p", dst_colorspace=self._colours.space, dst_color_range=LIMITED_RANGE
            )
        self.write_frame(frame, None if seconds is None else round(seconds / self._time_base), pixel_aspect)

    def write_frame(self, frame: av.VideoFrame, pts: int | None = None, pixel_aspect: Fraction | None = None) -> None:
        """Add a frame of libav's.

        Args:
            frame: frame of libav's.
            pts: time from which it is shown, in units of the time base; None: one frame after the last.
            pixel_aspect: see `write`.

        Raises:
            ValueError: see `write`.
        """
        if self._is_closed:  # a camera that was given up may still come back
            raise ValueError(f"{self._path}: the file is closed")
        if self._stream is None:
            self._stream = self._add_stream(frame.width, frame.height, pixel_aspect)
        time = self._last_pts + self._duration if pts is None else pts
        frame.pts = self._last_pts = max(time, self._last_pts + 1)  # broken files have two frames at one time
        frame.time_base, frame.duration = self._time_base, self._duration
        frame.pict_type = PictureType.NONE  # else the encoder makes keyframes where a source has them
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write the pictures that the encoder holds back.

        Raises:
            ValueError: there was no picture.
        """
        if self._stream is None:
            raise ValueError(f"{self._path}: no picture was written")
        self._container.mux(self._stream.encode(None))

    def close(self) -> None:
        """Take no more pictures."""
        self._is_closed = True

    def _add_stream(self, width: int, height: int, pixel_aspect: Fraction | None) -> av.VideoStream:
        stream = self._container.add_stream("libx264", rate=self._rate, options=self._options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.thread_count = 1  # others would take the cores from whoever decodes, or runs a network, meanwhile
        stream.time_base = context.time_base = self._time_base
        if self._colours is not None:
            context.colorspace, context.color_range = self._colours.space, LIMITED_RANGE
            context.color_primaries, context.color_trc = self._colours.primaries, self._colours.transfer
        if pixel_aspect:
            context.sample_aspect_ratio = pixel_aspect
        try:
            context.open()
        except av.FFmpegError as error:
            raise ValueError(
                f"{self._path}: the encoder does not take pictures of {width} x {height}: {error}"
            ) from error
        return stream

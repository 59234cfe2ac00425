"""Where a stream's pictures come from: a file, a camera, or whatever gives pictures; one after the other, each with its
time. Nothing is read that was not asked for, and nothing is kept."""

from __future__ import annotations

import glob
import math
import os
import stat
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from fractions import Fraction
from typing import Any, Protocol

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from iopath.common.file_io import g_pathmgr

from mutualnet3d.video.reader import (
    DECODER_ERRORS,
    FPS_RANGE,
    MAX_PIXELS,
    VideoDecodeError,
    quarter_turns,
    upright_pixel_aspect,
)

# What PyAV raises on damaged files, and at the end of one in which streams have appeared since it was opened.
_ERRORS = (*DECODER_ERRORS, IndexError)
# A longer pause between two frames is taken for damage, seconds.
_LONGEST_PAUSE = 60.0
# Frames of a video that tells no rate are taken for so many a second, where they have no times either.
_USUAL_FPS = 30.0

# What can be streamed: a path, a camera's number, pictures.
Source = str | os.PathLike[str] | int | Iterable[Any]


class FrameSource(Protocol):
    """Pictures with their times, to be read once.

    Attributes:
        name: for messages.
        fps: frames per second; None: not known before they come.
        is_live: its frames come at their own times, taken or not.
        pixel_aspect: width over height of an upright picture's pixels; None: not known, or not before the first frame.
        is_paced: who reads it has to keep to its times, as it would give all at once: a file that is played live.
    """

    name: str
    fps: float | None
    is_live: bool
    is_paced: bool
    pixel_aspect: Fraction | None

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Seconds since the first frame, ascending, and the picture: RGB, uint8 (H, W, 3), all of the first's size."""
        ...

    def close(self) -> None:
        """Let go of the file or device. To be called by the thread that reads."""
        ...


def open_source(
    source: Source,
    fps: float | None = None,
    live: bool | None = None,
    usual_fps: float = _USUAL_FPS,
    max_short_side: int | None = None,
) -> FrameSource:
    """What `source` stands for.

    Args:
        source: a path; a camera's number, of Linux's /dev/video*; or pictures, uint8 (H, W, 3), RGB: an array, a list,
            or whatever gives one after the other.
        fps: of pictures, frames per second. Of a camera: what it is asked for.
        live: whether frames come at their own times; None: those of a camera, and of what gives pictures one after the
            other.
        usual_fps: of pictures without `fps`; but what gives them live tells by when each comes.
        max_short_side: pixels; larger pictures are shrunk to it.

    Raises:
        ValueError: something else; an `fps` that is not a number above 0, or of a file; there is no such camera.
        VideoDecodeError: the file or camera cannot be read.
    """
    is_number = isinstance(fps, int | float) and not isinstance(fps, bool)
    if fps is not None and not (is_number and 0 < fps < math.inf):
        raise ValueError(f"fps is {fps!r}; it must be a number above 0, frames per second")
    if isinstance(source, str | os.PathLike):
        if fps is not None:
            raise ValueError("fps is of pictures; a file tells its own")
        return FileSource(os.fspath(source), bool(live), max_short_side)
    if isinstance(source, int) and not isinstance(source, bool):
        return CameraSource(source, fps, live is not False, max_short_side)
    if isinstance(source, bool) or not isinstance(source, Iterable):
        raise ValueError(f"a stream's source is a path, a camera's number or pictures; got {source!r:.60}")
    is_stored = hasattr(source, "__len__") and hasattr(source, "__getitem__")
    is_live = not is_stored if live is None else live
    tells_by_coming = is_live and not is_stored
    return PictureSource(
        source,
        usual_fps if fps is None and not tells_by_coming else fps,
        is_live,
        is_paced=is_live and is_stored,
        max_short_side=max_short_side,
    )


class _ContainerSource:
    """What libav reads.

    Args:
        name: for messages.
        open_container: gives what is read.
        max_short_side: as of `open_source`.

    Raises:
        VideoDecodeError: it cannot be opened, or has no video.
    """

    is_endless = False

    def __init__(
        self,
        name: str,
        open_container: Callable[[], av.container.InputContainer],
        is_live: bool,
        is_paced: bool,
        max_short_side: int | None,
    ):
        self.name, self.is_live, self.is_paced = name, is_live, is_paced
        self.pixel_aspect: Fraction | None = None
        self._shaper = _Shaper(max_short_side)
        self._container: av.container.InputContainer | None = None
        try:
            self._container = open_container()
            self._choose_stream(self._container)
        except _ERRORS as error:
            self.close()
            raise self._failure(error) from error

    def _choose_stream(self, container: av.container.InputContainer) -> None:
        # A "video" stream may be the cover of an audio file.
        cover = av.stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not streams:
            raise VideoDecodeError(f"{self.name}: there is no video stream")
        self._stream = streams[0]
        for other in container.streams:
            if other is not self._stream:
                other.discard = av.stream.Discard.all
        if self._stream.codec_context is None:
            raise VideoDecodeError(f"{self.name}: the video stream is of a codec that this libav does not know")
        # One thread: libav's frame threads can hang on an early stop.
        self._stream.codec_context.thread_count = 1
        self._stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        low, high = FPS_RANGE
        said = [float(rate) for rate in (self._stream.average_rate, self._stream.guessed_rate) if rate]
        self.fps: float | None = next((rate for rate in said if low <= rate <= high), None)

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        assert self._container is not None, "a source is read once"
        # AVI knows the order of decoding alone; what libav gives for times there is made up.
        has_times = self._container.format.name != "avi"
        step = 1 / (self.fps or _USUAL_FPS)
        before, start = -step, None
        try:
            for frame in self._decoded(self._container):
                seconds = before + step
                if has_times and frame.time is not None:
                    # Where recordings are joined, times begin anew.
                    if start is None or not before < frame.time - start <= before + _LONGEST_PAUSE:
                        start = frame.time - seconds
                    seconds = frame.time - start
                self.pixel_aspect = self.pixel_aspect or upright_pixel_aspect(self._stream, frame)
                yield seconds, self._shaper(frame)
                before = seconds
        except _ERRORS as error:
            raise self._failure(error) from error
        finally:
            self.close()

    def _decoded(self, container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
        """All frames that can be decoded, in the order of being shown."""
        num_frames = 0
        first_error: Exception | None = None
        packets = container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, IndexError) as error:
                # A file may end in the middle of a packet; what stands before it is good. (IndexError: PyAV stumbles
                # where streams appear behind the start.)
                if self.is_endless:
                    raise
                first_error, packet = first_error or error, None
            if packet is None:
                break
            try:
                frames = self._stream.codec_context.decode(packet)
            except av.FFmpegError as error:
                first_error = first_error or error  # one damaged packet does not end a video
                continue
            for frame in frames:
                num_frames += 1
                yield frame
        if not num_frames:
            raise first_error or VideoDecodeError(f"{self.name}: the video has no frame that can be decoded")

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def _failure(self, error: Exception) -> VideoDecodeError:
        if isinstance(error, VideoDecodeError):
            return error
        return VideoDecodeError(f"{self.name}: cannot be decoded: {type(error).__name__}: {error}")


class FileSource(_ContainerSource):
    """The frames of a video file, upright, decoded as they are asked for.

    Args:
        path: any path that iopath can open.
        is_live: it is to be read at the pace of its times.
        max_short_side: as of `open_source`.

    Raises:
        VideoDecodeError: the file is missing, is none, is no video.
    """

    def __init__(self, path: str, is_live: bool = False, max_short_side: int | None = None):
        def open_container() -> av.container.InputContainer:
            local_path = os.path.abspath(g_pathmgr.get_local_path(path))
            if not stat.S_ISREG(os.stat(local_path).st_mode):
                raise VideoDecodeError(f"{path}: is a folder, pipe or device, not a file")
            return av.open(local_path, mode="r", metadata_errors="replace")

        super().__init__(path, open_container, is_live, is_live, max_short_side)


class CameraSource(_ContainerSource):
    """The pictures of a camera, through Linux's video devices.

    Args:
        number: of /dev/video{number}.
        fps: frames per second that the camera is asked for; it may give others.
        is_live: whether frames that nobody takes in time are lost to it here; to the driver they are in any case.
        max_short_side: as of `open_source`.

    Raises:
        ValueError: there is no such camera.
        VideoDecodeError: it cannot be read.
    """

    is_endless = True

    def __init__(self, number: int, fps: float | None = None, is_live: bool = True, max_short_side: int | None = None):
        device = f"/dev/video{number}"
        if number < 0 or not os.path.exists(device):
            there = sorted(glob.glob("/dev/video*")) or ["none"]
            raise ValueError(f"there is no camera {number} ({device}); there are: {', '.join(there)}")
        options = {} if fps is None else {"framerate": str(Fraction(fps).limit_denominator(1001))}

        def open_container() -> av.container.InputContainer:
            return av.open(device, format="v4l2", options=options)

        super().__init__(f"camera {number} ({device})", open_container, is_live, False, max_short_side)


class PictureSource:
    """Pictures that the caller has or makes.

    Args:
        pictures: uint8 (H, W, 3), RGB, arrays or tensors, all of one size.
        fps: frames per second; None: each picture has the time at which it came.
        is_live, is_paced: as of `FrameSource`.
        max_short_side: as of `open_source`.
        clock: in seconds.
    """

    def __init__(
        self,
        pictures: Iterable[Any],
        fps: float | None = None,
        is_live: bool = False,
        is_paced: bool = False,
        max_short_side: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.name, self.is_live, self.is_paced = "the pictures", is_live, is_paced
        self.pixel_aspect: Fraction | None = None
        self.fps = None if fps is None else float(fps)
        # Whoever makes them one after the other may do so in the same memory.
        self._copies = not hasattr(pictures, "__getitem__")
        self._pictures: Iterable[Any] | None = pictures
        self._clock = clock
        self._shaper = _Shaper(max_short_side)

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """As of `FrameSource`.

        Raises:
            ValueError: a picture that is none, or of another size than the first; no picture at all.
        """
        assert self._pictures is not None, "a source is read once"
        started: float | None = None
        shape: tuple[int, ...] | None = None
        for number, given in enumerate(self._pictures):
            now = self._clock()
            started = now if started is None else started
            picture = _checked(given, number, shape)
            shape = picture.shape
            seconds = now - started if self.fps is None else number / self.fps
            yield seconds, self._shaper.of_picture(picture, self._copies)
        if shape is None:
            raise ValueError("there is no picture to stream")

    def close(self) -> None:
        """Ends a generator, so that its own clean-up runs."""
        pictures, self._pictures = self._pictures, None
        if isinstance(pictures, Generator):
            pictures.close()


def _checked(given: Any, number: int, shape: tuple[int, ...] | None) -> np.ndarray:
    picture = given.cpu().numpy() if isinstance(given, torch.Tensor) else given
    if not isinstance(picture, np.ndarray):
        raise ValueError(f"picture {number} is {given!r:.60}; it must be an array, uint8 (H, W, 3), RGB")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ValueError(f"picture {number} is {picture.dtype} {picture.shape}; it must be uint8 (H, W, 3), RGB")
    if shape is not None and picture.shape != shape:
        raise ValueError(f"picture {number} is {picture.shape}, those before it are {shape}; all must be of one size")
    return picture


class _Shaper:
    """Makes frames upright RGB pictures of one size: the first's, or a smaller one whose short side is
    `max_short_side`."""

    def __init__(self, max_short_side: int | None):
        self._max_short_side = max_short_side
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        self._size = self._size or self._shrunk(frame.width, frame.height)
        width, height = self._size
        rgb = self._reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
        plane = rgb.planes[0]
        # A view that keeps libav's memory alive for as long as it is used: nothing is copied.
        picture = np.ndarray((height, width, 3), np.uint8, buffer=plane, strides=(plane.line_size, 3, 1))  # type: ignore[arg-type]
        turns = quarter_turns(frame)
        return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture

    def of_picture(self, picture: np.ndarray, copied: bool) -> np.ndarray:
        """`picture`, which is upright, in that size.

        Args:
            copied: in memory of its own, whatever its size.
        """
        height, width = picture.shape[:2]
        if self._shrunk(width, height) == (width, height):
            return picture.copy() if copied else picture
        return self(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"))

    def _shrunk(self, width: int, height: int) -> tuple[int, int]:
        short_side = min(width, height)
        if self._max_short_side is None or short_side <= self._max_short_side:
            return width, height
        width, height = (max(1, round(side * self._max_short_side / short_side)) for side in (width, height))
        return width, height

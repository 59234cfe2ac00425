"""Frames of a stream one after the other, each with its time.

A stream is a file, a folder of pictures, a camera, or whatever gives pictures. Nothing is read that was not asked for,
and nothing is kept.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from mutualnet3d.video.container import VideoContainer, open_file
from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.decoder import Decoder
from mutualnet3d.video.errors import decoder_errors
from mutualnet3d.video.frame_folder import open_frame_folder
from mutualnet3d.video.frame_rate import DEFAULT_FPS, check_fps
from mutualnet3d.video.frame_times import LONGEST_PAUSE
from mutualnet3d.video.frames_in_memory import as_array, is_picture
from mutualnet3d.video.open import refuse_fps_of_file
from mutualnet3d.video.paths import is_folder
from mutualnet3d.video.picture import RgbConverter, upright_pixel_aspect

# Seconds within which the next frame of a file or camera has to come: the default of DATA.DECODE_TIMEOUT.
LONGEST_WAIT = 60.0
_NO_FRAME = "no frame came"

# Inputs of a stream: a path, a camera's number, pictures.
StreamInput = str | os.PathLike[str] | int | Iterable[Any]


class FrameStream(Protocol):
    """Frames with their times, which are read once.

    Attributes:
        name: name of the input, for messages.
        fps: frames per second; None: not known before they come.
        is_live: True if its frames come at their own times, whether they are taken or not.
        pixel_aspect: width over height of an upright picture's pixels; None: not known, or not before the first frame.
        is_paced: True if the reader has to keep to its times, as it would give all at once: a file that is played live.
        longest_wait: seconds within which the next frame has to come, or the source is broken; None: any time.
    """

    name: str
    fps: float | None
    is_live: bool
    is_paced: bool
    pixel_aspect: Fraction | None
    longest_wait: float | None

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield seconds since the first frame, ascending, and the picture, RGB, uint8 (H, W, 3).

        All pictures have the size of the first.
        """
        ...

    def close(self) -> None:
        """Let go of the file or device. The thread that reads has to call this."""
        ...


def open_frame_stream(
    stream_input: StreamInput,
    fps: float | None = None,
    live: bool | None = None,
    usual_fps: float = DEFAULT_FPS,
    max_short_side: int | None = None,
) -> FrameStream:
    """Open a file, a folder of pictures, a camera, or pictures.

    Args:
        stream_input: a path of a file or of a folder of pictures; a camera's number, of Linux's /dev/video*; or
            pictures, uint8 (H, W, 3), RGB: an array, a list, or whatever gives one after the other.
        fps: frames per second of pictures; of a camera: the rate that it is asked for.
        live: True: frames come at their own times; None: those of a camera, and of what gives pictures one after the
            other, do.
        usual_fps: frames per second of pictures without `fps`; but of those that come live each has the time at which
            it came.
        max_short_side: pixels; larger pictures are shrunk to it. None: any size.

    Raises:
        ValueError: something else; an `fps` that is not a number above 0, or of a file; there is no such camera.
        VideoDecodeError: the file, folder or camera cannot be read.
    """
    fps = check_fps(fps)
    if isinstance(stream_input, str | os.PathLike):
        path = os.fspath(stream_input)
        if is_folder(path):
            return _stream_of_folder(path, usual_fps if fps is None else fps, bool(live), max_short_side)
        refuse_fps_of_file(fps)
        return FileStream(path, bool(live), max_short_side)
    if isinstance(stream_input, int) and not isinstance(stream_input, bool):
        return CameraStream(stream_input, fps, live is not False, max_short_side)
    if isinstance(stream_input, bool) or not isinstance(stream_input, Iterable):
        raise ValueError(f"a stream's source is a path, a camera's number or pictures; got {stream_input!r:.60}")
    is_stored = hasattr(stream_input, "__len__") and hasattr(stream_input, "__getitem__")
    is_live = not is_stored if live is None else live
    tells_by_coming = is_live and not is_stored
    return PictureStream(
        stream_input,
        usual_fps if fps is None and not tells_by_coming else fps,
        is_live,
        is_paced=is_live and is_stored,
        max_short_side=max_short_side,
        # Whoever makes them one after the other may do so in the same memory.
        copies=not hasattr(stream_input, "__getitem__"),
    )


def _stream_of_folder(path: str, fps: float, is_live: bool, max_short_side: int | None) -> PictureStream:
    folder = open_frame_folder(path, fps)
    pictures = folder.read(range(folder.info.num_frames))
    return PictureStream(pictures, fps, is_live, is_paced=is_live, max_short_side=max_short_side, name=path)


class _ContainerStream:
    """Frames of a file or device that libav reads, each of which has to come within `LONGEST_WAIT`.

    Args:
        container: the file or device.
        deadline: time that opening it took part of; it begins anew with every frame.
        is_live: True if frames come at their own times, taken or not: a device.
        is_paced: True if the reader has to keep to the times: a file that is played live.
        max_short_side: see `open_frame_stream`.
    """

    def __init__(
        self,
        container: VideoContainer,
        deadline: Deadline,
        is_live: bool,
        is_paced: bool,
        max_short_side: int | None,
    ):
        self._container: VideoContainer | None = container
        self._deadline = deadline
        self.name, self.is_live, self.is_paced = container.name, is_live, is_paced
        self.fps: float | None = next(iter(container.header_rates), None)
        self.pixel_aspect: Fraction | None = None
        self.longest_wait: float | None = LONGEST_WAIT
        self._to_rgb = RgbConverter(max_short_side)

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield time and picture: see `FrameStream`.

        Raises:
            VideoDecodeError: no frame can be decoded; none came within `LONGEST_WAIT`; a camera breaks.
        """
        container = self._container
        assert container is not None, "a stream is read once"
        # Frames that come at the end of the packets know their timestamps, but not the unit.
        time_base = container.stream.time_base
        step = 1 / (self.fps or DEFAULT_FPS)
        before, start, is_empty = -step, None, True
        try:
            with decoder_errors(self.name, LONGEST_WAIT, _NO_FRAME):
                self._deadline.restart()
                decoder = Decoder(container, self._deadline)
                for frame in decoder.all_frames(container.packets()):
                    seconds = before + step
                    # Without times of being shown: that of decoding the packet after which the frame came out.
                    timestamp = frame.pts if container.has_times else frame.dts
                    if time_base is not None and timestamp is not None:
                        time_in_file = timestamp * time_base.numerator / time_base.denominator
                        # Where recordings are joined, times begin anew.
                        if start is None or not before < time_in_file - start <= before + LONGEST_PAUSE:
                            start = time_in_file - seconds
                        seconds = time_in_file - start
                    self.pixel_aspect = self.pixel_aspect or upright_pixel_aspect(container.stream, frame)
                    picture = self._to_rgb(frame)
                    # Not every library takes memory that is read backwards.
                    yield seconds, picture if min(picture.strides) > 0 else np.ascontiguousarray(picture)
                    before, is_empty = seconds, False
                    self._deadline.restart()  # who takes the frames may take any time
                if is_empty:
                    raise decoder.nothing_decoded()
        finally:
            self.close()

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None


def _deadline_of(name: str) -> Deadline:
    return Deadline(name, LONGEST_WAIT, _NO_FRAME)


class FileStream(_ContainerStream):
    """Frames of a video file, upright, decoded as they are asked for.

    Args:
        path: path of the file; any that iopath can open.
        is_live: True: it is played at its own times.
        max_short_side: see `open_frame_stream`.

    Raises:
        VideoDecodeError: the file is missing, is none, is no video.
    """

    def __init__(self, path: str, is_live: bool = False, max_short_side: int | None = None):
        deadline = _deadline_of(path)
        with decoder_errors(path, LONGEST_WAIT, _NO_FRAME):
            container = open_file(path, deadline=deadline)
        super().__init__(container, deadline, is_live, is_live, max_short_side)


class CameraStream(_ContainerStream):
    """Pictures of a camera, through Linux's video devices.

    Args:
        number: number of the device, as in /dev/video0.
        fps: frames per second that the camera is asked for; it may give others. None: its own.
        is_live: True: frames that nobody takes in time are lost here; to the driver they are in any case.
        max_short_side: see `open_frame_stream`.

    Raises:
        ValueError: there is no such camera.
        VideoDecodeError: it cannot be read.
    """

    def __init__(self, number: int, fps: float | None = None, is_live: bool = True, max_short_side: int | None = None):
        device = f"/dev/video{number}"
        if number < 0 or not os.path.exists(device):
            devices = sorted(glob.glob("/dev/video*")) or ["none"]
            raise ValueError(f"there is no camera {number} ({device}); there are: {', '.join(devices)}")
        name = f"camera {number} ({device})"
        options = {} if fps is None else {"framerate": str(Fraction(fps).limit_denominator(1001))}
        deadline = _deadline_of(name)
        with decoder_errors(name, LONGEST_WAIT, _NO_FRAME):
            container = VideoContainer(name, device, deadline=deadline, device_format="v4l2", options=options)
        super().__init__(container, deadline, is_live, False, max_short_side)


class PictureStream:
    """Pictures that the caller has or makes.

    Args:
        pictures: uint8 (H, W, 3), RGB, arrays or tensors, all of one size.
        fps: frames per second; None: each picture has the time at which it came.
        is_live: True if pictures come at their own times, taken or not.
        is_paced: True if the reader has to keep to the times.
        max_short_side: see `open_frame_stream`.
        copies: True to give each picture in memory of its own.
        name: name of the pictures, for messages.
        clock: time in seconds.
    """

    def __init__(
        self,
        pictures: Iterable[Any],
        fps: float | None = None,
        is_live: bool = False,
        is_paced: bool = False,
        max_short_side: int | None = None,
        copies: bool = False,
        name: str = "the pictures",
        clock: Callable[[], float] = time.monotonic,
    ):
        self.name, self.is_live, self.is_paced = name, is_live, is_paced
        self.pixel_aspect: Fraction | None = None
        self.longest_wait: float | None = None  # who makes pictures may wait for what they show
        self.fps = None if fps is None else float(fps)
        self._pictures: Iterable[Any] | None = pictures
        self._copies, self._clock = copies, clock
        self._to_rgb = RgbConverter(max_short_side)

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield time and picture: see `FrameStream`.

        Raises:
            ValueError: a picture that is none, or of another size than the first; no picture at all.
        """
        assert self._pictures is not None, "a stream is read once"
        started: float | None = None
        shape: tuple[int, ...] | None = None
        for number, value in enumerate(self._pictures):
            now = self._clock()
            started = now if started is None else started
            picture = _checked(as_array(value), number, shape)
            shape = picture.shape
            seconds = now - started if self.fps is None else number / self.fps
            shrunk = self._to_rgb.shrink(picture)
            yield seconds, shrunk.copy() if shrunk is picture and self._copies else shrunk
        if shape is None:
            raise ValueError("there is no picture to stream")

    def close(self) -> None:
        """End a generator, so that its own clean-up runs."""
        pictures, self._pictures = self._pictures, None
        if isinstance(pictures, Generator):
            pictures.close()


def _checked(picture: Any, number: int, shape: tuple[int, ...] | None) -> np.ndarray:
    if not isinstance(picture, np.ndarray):
        raise ValueError(f"picture {number} is {picture!r:.60}; it must be an array, uint8 (H, W, 3), RGB")
    if not is_picture(picture):
        raise ValueError(f"picture {number} is {picture.dtype} {picture.shape}; it must be uint8 (H, W, 3), RGB")
    if shape is not None and picture.shape != shape:
        raise ValueError(f"picture {number} is {picture.shape}, those before it are {shape}; all must be of one size")
    return picture

"""Video files to frames, by PyAV. Frames are counted as they leave the decoder: exact, whatever the headers say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import av
import numpy as np
from iopath.common.file_io import g_pathmgr


class VideoDecodeError(RuntimeError):
    """A video that cannot give the frames that were asked for. The message names the file and the cause.

    Takes the message alone, so that it crosses a loader worker's border as what it is.
    """


@dataclass(frozen=True)
class VideoInfo:
    """What a clip sampler has to know of a video; `fps` in frames per second."""

    num_frames: int
    fps: float


class VideoFile:
    """A video that is open for one reading.

    One decoding thread: loaders run many workers, and libav's frame threads can hang on an early stop.

    Raises:
        VideoDecodeError: the file is missing, is no video, has no video stream, no frame rate or no frame.
    """

    def __init__(self, path: str):
        self.path = path
        try:
            self._local_path = g_pathmgr.get_local_path(path)
            self.info = self._read_info()
            self._container = self._open()
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._container.close()

    def frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """The frames at `indices` (ascending, each once), RGB uint8 (H, W, 3), one at a time. Can be called once.

        Raises:
            VideoDecodeError: the video breaks, or ends before the last of them.
        """
        wanted = iter(indices)
        next_wanted = next(wanted, None)
        position = -1
        try:
            for position, frame in enumerate(self._container.decode(video=0)):
                if position == next_wanted:
                    yield frame.to_ndarray(format="rgb24")
                    next_wanted = next(wanted, None)
                if next_wanted is None:
                    return
        except av.FFmpegError as error:
            raise self._failure(error) from error
        if next_wanted is not None:
            raise VideoDecodeError(
                f"{self.path}: the video ends after {position + 1} frames; frame {next_wanted} was asked for"
            )

    def _open(self) -> av.container.InputContainer:
        container = av.open(self._local_path, mode="r", metadata_errors="replace")
        if not container.streams.video:
            container.close()
            raise VideoDecodeError(f"{self.path}: the file has no video stream")
        container.streams.video[0].codec_context.thread_count = 1
        return container

    def _read_info(self) -> VideoInfo:
        # Packets are counted, not decoded: headers may be wrong or silent about it, and this costs little.
        with self._open() as container:
            stream = container.streams.video[0]
            rate = stream.average_rate or stream.guessed_rate
            num_frames = sum(1 for packet in container.demux(stream) if packet.size)
        if not rate:
            raise VideoDecodeError(f"{self.path}: the video has no frame rate")
        if not num_frames:
            raise VideoDecodeError(f"{self.path}: the video has no frame")
        return VideoInfo(num_frames, float(rate))

    def _failure(self, error: Exception) -> VideoDecodeError:
        return VideoDecodeError(f"{self.path}: cannot be decoded: {type(error).__name__}: {error}")

"""Interface of everything that gives a video's frames by their numbers: files, folders of pictures, arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TypeVar

import numpy as np

Self = TypeVar("Self", bound="OpenVideo")


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video that a clip sampler has to know.

    Args:
        num_frames: number of frames.
        fps: frames per second; None: not known.
    """

    num_frames: int
    fps: float | None


class ReadableVideo(Protocol):
    """A video whose frames can be read by their numbers."""

    @property
    def info(self) -> VideoInfo: ...

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the frames at `indices` (ascending, no repeats), upright, RGB, uint8 (H, W, 3), all of one size.

        Raises:
            FrameCountCorrected: the video has fewer frames than `info` said; `info` has changed.
            VideoDecodeError: the video breaks.
        """
        ...


class OpenVideo(ReadableVideo, Protocol):
    """A readable video that is a context manager, which closes it."""

    def __enter__(self: Self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

"""Interface of everything that gives a video's frames by their numbers: files, folders of pictures, arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np


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

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

"""Frames that the caller has, as arrays or tensors, read as `reader.VideoReader` reads files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from mutualnet3d.video.frame_rate import check_fps
from mutualnet3d.video.info import VideoInfo

_ALLOWED = "frames are uint8 (T, H, W, 3), RGB, of at least one frame"


class Tensor(Protocol):
    """A tensor of torch's, by what is used of it: processes that only read videos do not load torch."""

    def cpu(self) -> Tensor:
        """Return the tensor in the memory of the CPU."""

    def numpy(self) -> np.ndarray:
        """Return the values as an array."""


class FramesInMemory:
    """Frames in memory: an `OpenVideo`.

    Args:
        frames: uint8 (T, H, W, 3), RGB: an array, a tensor, or a list of pictures of one size.
        fps: frames per second; None: not known, they are taken for a video of the rate that the network is meant for.

    Raises:
        ValueError: other shapes or types; it says what came.
    """

    def __init__(self, frames: np.ndarray | Tensor | Sequence[np.ndarray] | Sequence[Tensor], fps: float | None = None):
        rate = check_fps(fps)
        pictures = as_array(frames)
        if isinstance(pictures, np.ndarray):
            if pictures.ndim != 4 or pictures.shape[-1] != 3 or pictures.dtype != np.uint8 or 0 in pictures.shape:
                raise ValueError(f"{_ALLOWED}; got {_described(pictures)}")
        else:
            if not isinstance(pictures, Sequence) or not pictures:
                raise ValueError(f"{_ALLOWED}, or a list of such pictures; got {_described(pictures)}")
            pictures = [as_array(picture) for picture in pictures]
            for number, picture in enumerate(pictures):
                if not is_picture(picture) or picture.shape != np.shape(pictures[0]):
                    raise ValueError(
                        f"{_ALLOWED}, or a list of such pictures of one size; picture {number} is {_described(picture)}"
                    )
        self._frames = pictures
        self.info = VideoInfo(len(pictures), rate)

    def __enter__(self) -> FramesInMemory:
        return self

    def __exit__(self, *_: object) -> None: ...

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Return the frames at `indices`, uint8 (H, W, 3)."""
        return (self._frames[index] for index in indices)


def as_array(value: Any) -> Any:
    """Return a tensor as an array, on whatever device it is; anything else unchanged."""
    return value.cpu().numpy() if hasattr(value, "cpu") and hasattr(value, "numpy") else value


def is_picture(value: object) -> bool:
    """Tell whether `value` is an array of RGB pixels, uint8 (H, W, 3)."""
    return (
        isinstance(value, np.ndarray)
        and value.ndim == 3
        and value.shape[-1] == 3
        and value.dtype == np.uint8
        and 0 not in value.shape
    )


def _described(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"{type(value).__name__} {value!r:.60}"

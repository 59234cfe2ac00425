"""Clips of one video, from a file or from frames in memory, as a test's data set gives them: for deployment.

Legend: V views, T frames, H height, W width, S side of the square, C channels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mutualnet3d.data.clip_sampling import CropBox
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.data.transforms import FrameBuffer, crop_frames, resize_frames
from mutualnet3d.shapes import ClipShape
from mutualnet3d.video.reader import FrameCountCorrected, VideoInfo, VideoReader

Frames = np.ndarray | torch.Tensor | Sequence[np.ndarray]


@dataclass(frozen=True)
class ReadClips:
    """The views of a video in the shapes that were asked for, uint8 (V, T, S, S, C) each, and the seconds it took."""

    clips: dict[ClipShape, torch.Tensor]
    decode_seconds: float
    prepare_seconds: float


class FramesInMemory:
    """Frames that the caller has, read as `VideoReader` reads files.

    Args:
        frames: uint8 (T, H, W, 3), RGB: an array, a tensor, or a list of pictures of one size.
        fps: frames per second; None: not known, they are taken for a video of the rate that the network is meant for.

    Raises:
        ValueError: other shapes or types; it says what came.
    """

    def __init__(self, frames: Frames, fps: float | None = None):
        if fps is not None and (isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < math.inf):
            raise ValueError(f"fps is {fps!r}; it must be a number above 0, frames per second")
        if isinstance(frames, torch.Tensor):
            frames = frames.cpu().numpy()
        wanted = "frames are uint8 (T, H, W, 3), RGB, of at least one frame"
        if isinstance(frames, np.ndarray):
            if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
                raise ValueError(f"{wanted}; got {frames.dtype} {frames.shape}")
        else:
            if not isinstance(frames, Sequence) or not frames:
                raise ValueError(f"{wanted}, or a list of such pictures; got {_said(frames)}")
            frames = [frame.cpu().numpy() if isinstance(frame, torch.Tensor) else frame for frame in frames]
            for number, frame in enumerate(frames):
                is_picture = isinstance(frame, np.ndarray) and frame.ndim == 3 and frame.shape[-1] == 3
                if not is_picture or frame.dtype != np.uint8 or frame.shape != np.shape(frames[0]) or 0 in frame.shape:
                    raise ValueError(
                        f"{wanted}, or a list of such pictures of one size; picture {number} is {_said(frame)}"
                    )
        self._frames = frames
        self.info = VideoInfo(len(frames), None if fps is None else float(fps))

    def __enter__(self) -> FramesInMemory:
        return self

    def __exit__(self, *_: object) -> None: ...

    def frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """The frames at `indices`."""
        return (self._frames[index] for index in indices)


def _said(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"{type(value).__name__} {value!r:.60}"


class ClipReader:
    """Reads the clips of videos one after the other, decoding no frame that is not in them.

    Args:
        preprocessing: which clips.
    """

    def __init__(self, preprocessing: Preprocessing):
        self.preprocessing = preprocessing
        self._crop_buffer, self._choice_buffer = FrameBuffer(), FrameBuffer()

    def read(
        self,
        source: str | Frames,
        shapes: Sequence[ClipShape],
        num_spans: int = 1,
        num_crops: int = 1,
        fps: float | None = None,
    ) -> ReadClips:
        """The views of `source`, a path or frames: `num_spans` over the video, each with `num_crops` crops; view v is
        crop v % num_crops of span v // num_crops. The video is decoded once.

        Args:
            shapes: each frame count and size that is needed.
            fps: of frames, as of `FramesInMemory`.

        Raises:
            VideoDecodeError: the video cannot be read.
            ValueError: as of `FramesInMemory`.
        """
        started = time.perf_counter()
        seconds = _Seconds()
        opened = VideoReader(source, self.preprocessing.timeout) if isinstance(source, str) else None
        with opened or FramesInMemory(source, fps) as file:  # type: ignore[arg-type]
            seconds.decode += time.perf_counter() - started
            try:
                clips = self._read(file, shapes, num_spans, num_crops, seconds)
            except FrameCountCorrected:
                clips = self._read(file, shapes, num_spans, num_crops, seconds)
            finally:
                closing = time.perf_counter()
        ended = time.perf_counter()
        seconds.decode += ended - closing
        return ReadClips(clips, seconds.decode, ended - started - seconds.decode)

    def _read(
        self,
        file: VideoReader | FramesInMemory,
        shapes: Sequence[ClipShape],
        num_spans: int,
        num_crops: int,
        seconds: _Seconds,
    ) -> dict[ClipShape, torch.Tensor]:
        sampler, crops = self.preprocessing.frame_sampler(num_spans), self.preprocessing.crop_sampler(num_crops)
        rng = np.random.default_rng(0)  # uniform samplers draw nothing
        spans = [sampler.frames(rng, span, file.info) for span in range(num_spans)]
        # (frames, span) -> which; every shape of so many frames shows the same.
        wanted = {
            (count, span): choice.frame_indices(count)
            for count in {shape.frames for shape in shapes}
            for span, choice in enumerate(spans)
        }
        needed = np.unique(np.concatenate(list(wanted.values())))
        frames = seconds.timed(file.frames(needed.tolist()))
        first = next(frames)
        boxes = [crops.box(rng, crop, *first.shape[:2]) for crop in range(num_crops)]
        cut_NTHWC = self._cut(first, frames, len(needed), boxes)
        clips = {}
        for shape in shapes:
            views = []
            for span in range(num_spans):
                rows = np.searchsorted(needed, wanted[shape.frames, span]).tolist()
                for cut_THWC in cut_NTHWC:
                    views.append(resize_frames(cut_THWC, rows, shape.size, self._choice_buffer))
            clips[shape] = views[0][None] if len(views) == 1 else torch.stack(views)
        return clips

    def _cut(
        self, first: np.ndarray, rest: Iterator[np.ndarray], count: int, boxes: Sequence[CropBox]
    ) -> list[torch.Tensor]:
        """Each box of all frames, uint8 (count, height, width, 3), one frame held at a time."""
        if len(boxes) == 1:
            return [crop_frames(_chain(first, rest), count, boxes[0], self._crop_buffer)]
        cut = [torch.empty((count, box.height, box.width, 3), dtype=torch.uint8) for box in boxes]
        for number, frame in enumerate(_chain(first, rest)):
            for target, box in zip(cut, boxes, strict=True):
                part = frame[box.top : box.top + box.height, box.left : box.left + box.width]
                target[number].numpy()[:] = part
        return cut


class _Seconds:
    """The time that decoding took, found by looking at the clock around every frame."""

    def __init__(self) -> None:
        self.decode = 0.0

    def timed(self, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        while True:
            started = time.perf_counter()
            frame = next(frames, None)
            self.decode += time.perf_counter() - started
            if frame is None:
                return
            yield frame


def _chain(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest

"""Clips of one video, as a test's data set gives them, for deployment.

The video is a file, a folder of pictures or frames in memory.

Legend: V views, T frames, H height, W width, S side of the square, C channels.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch

from mutualnet3d.data.clip_assembly import ClipAssembler, ViewSampler
from mutualnet3d.data.clip_place import ClipPlace, place_of_clip
from mutualnet3d.data.clip_samplers import span_times
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.shapes import ClipShape
from mutualnet3d.video.frames_in_memory import FramesInMemory
from mutualnet3d.video.info import OpenVideo, ReadableVideo, VideoInfo
from mutualnet3d.video.open import open_video

Frames: TypeAlias = np.ndarray | torch.Tensor | Sequence[np.ndarray]


@dataclass(frozen=True)
class ReadClips:
    """Views of a video in the requested shapes.

    Args:
        clips: shape -> views, uint8 (V, T, S, S, C).
        decode_seconds: time of decoding.
        prepare_seconds: time of cropping and resizing.
        span_times: start and end of each span, seconds since the video's first frame.
        place: place of the first view in the video; None: the reader does not tell it.
    """

    clips: dict[ClipShape, torch.Tensor]
    decode_seconds: float
    prepare_seconds: float
    span_times: tuple[tuple[float, float], ...]
    place: ClipPlace | None = None


class Reader(Protocol):
    """Reader of the clips of a video: a `ClipReader`, or another with its method."""

    def read(
        self,
        source: str | Frames,
        shapes: Sequence[ClipShape],
        num_spans: int = 1,
        num_crops: int = 1,
        fps: float | None = None,
    ) -> ReadClips:
        """Return the views of a video; see `ClipReader.read`."""


class ClipReader:
    """Reader of the clips of videos that decodes no other frame. Several threads may read at once.

    Args:
        preprocessing: choice of the clips.
    """

    def __init__(self, preprocessing: Preprocessing):
        self.preprocessing = preprocessing
        self._idle: list[ClipAssembler] = []  # each has memory that is used again, and serves one thread at a time

    def __reduce__(self) -> tuple[Any, ...]:
        return ClipReader, (self.preprocessing,)

    def read(
        self,
        source: str | Frames,
        shapes: Sequence[ClipShape],
        num_spans: int = 1,
        num_crops: int = 1,
        fps: float | None = None,
    ) -> ReadClips:
        """Return the views of a video, which is decoded once.

        View v is crop v % `num_crops` of span v // `num_crops`.

        Args:
            source: path of a file or of a folder of pictures; or frames, uint8 (T, H, W, 3), RGB.
            shapes: frame counts and sizes that are needed.
            num_spans: number of clips spread over the video, 1 or more.
            num_crops: number of crops of each span, 1 or 3.
            fps: frames per second of frames or of a folder; None: unknown, they are taken for a video of the rate that
                the network is meant for.

        Raises:
            VideoDecodeError: the video cannot be read.
            ValueError: see `FramesInMemory`; `fps` is given for a file.
        """
        started = time.perf_counter()
        opened: OpenVideo = (
            open_video(source, self.preprocessing.timeout, fps=fps)
            if isinstance(source, str)
            else FramesInMemory(source, fps)
        )
        with opened as video:
            timed = _TimedVideo(video, time.perf_counter() - started)
            frame_sampler = self.preprocessing.frame_sampler(num_spans)
            view_sampler = ViewSampler(
                frame_sampler,
                self.preprocessing.crop_sampler(num_crops),
                range(num_spans),
                range(num_crops),
            )
            rng = np.random.default_rng(0)  # uniform samplers draw nothing
            assembler = self._assembler()
            assembled = assembler.assemble(timed, shapes, view_sampler, rng)
            self._idle.append(assembler)
            clips = {shape: made[0][None] if len(made) == 1 else torch.stack(made) for shape, made in assembled.items()}
            choices = [frame_sampler.sample(rng, span, video.info) for span in range(num_spans)]
            times = tuple(span_times(choice, video.info, self.preprocessing.target_fps) for choice in choices)
            place = self._place_of_first(timed, shapes, view_sampler)
            closing = time.perf_counter()
        ended = time.perf_counter()
        decode_seconds = timed.seconds + ended - closing
        return ReadClips(clips, decode_seconds, ended - started - decode_seconds, times, place)

    def _place_of_first(self, video: _TimedVideo, shapes: Sequence[ClipShape], view_sampler: ViewSampler) -> ClipPlace:
        """Return the place of the first view of a video that was read."""
        rng = np.random.default_rng(0)  # uniform samplers draw nothing
        choice = view_sampler.frame_sampler.sample(rng, view_sampler.spans[0], video.info)
        crop = view_sampler.crop_sampler.box(rng, view_sampler.crops[0], *video.picture)
        counts = {shape.frames for shape in shapes}
        return place_of_clip(video.info, choice, counts, crop, video.picture, float(self.preprocessing.target_fps))

    def _assembler(self) -> ClipAssembler:
        try:
            return self._idle.pop()
        except IndexError:
            return ClipAssembler()


class _TimedVideo:
    """A video, and the time that decoding it takes, by the clock before and after every frame.

    Args:
        video: the video, which somebody else closes.
        seconds: time that opening it took.

    Attributes:
        seconds: time that opening and decoding took so far.
        picture: height and width of the frames, once one was read.
    """

    def __init__(self, video: ReadableVideo, seconds: float):
        self._video, self.seconds = video, seconds
        self.picture = (0, 0)

    @property
    def info(self) -> VideoInfo:
        return self._video.info

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        frames = self._video.read(indices)
        while True:
            started = time.perf_counter()
            frame = next(frames, None)
            self.seconds += time.perf_counter() - started
            if frame is None:
                return
            self.picture = frame.shape[0], frame.shape[1]
            yield frame

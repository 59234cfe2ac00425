"""Choices of a clip in training and testing, over the arithmetic of clip_sampling.

A frame sampler chooses the frames of a clip, a crop sampler the part of the picture. Those for training draw from the
generator that they are handed; those for testing go by the number of the span or crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mutualnet3d.data.clip_sampling import (
    CropBox,
    FullClip,
    Span,
    place_in_segment,
    random_crop,
    random_resized_crop,
    random_span,
    segments,
    span_length,
    uniform_crop,
    uniform_span,
)
from mutualnet3d.video.info import VideoInfo


class FrameChoice(Protocol):
    """Chosen frames of a clip, for shapes of any number of frames."""

    def frame_indices(self, count: int) -> np.ndarray:
        """Return the indices of `count` frames, int64, not descending."""
        ...


class FrameSampler(Protocol):
    """Choice of a clip's frames."""

    def sample(self, rng: np.random.Generator, span_index: int, info: VideoInfo) -> FrameChoice:
        """Return the frames of the clip of a span, drawn from `rng` in training."""


class CropSampler(Protocol):
    """Choice of the part of the picture."""

    def box(self, rng: np.random.Generator, crop: int, height: int, width: int) -> CropBox:
        """Return the crop of that number of a picture of `height` x `width` pixels, drawn from `rng` in training."""


def span_times(choice: FrameChoice, info: VideoInfo, default_fps: float) -> tuple[float, float]:
    """Return start and end of a clip, seconds since the video's first frame.

    The clip ends when its last frame is over.

    Args:
        choice: frames of the clip.
        info: number, rate and times of the video's frames.
        default_fps: frame rate of a video that does not tell its own.
    """
    first, last = choice.frame_indices(2).tolist()
    fps = default_fps if info.fps is None else info.fps
    if info.times is None:
        return first / fps, (last + 1) / fps
    return float(info.times[first]), float(info.times[last]) + 1 / fps


@dataclass(frozen=True)
class ClipSpan:
    """Length of a clip: `num_frames` frames, every `sampling_rate`-th of a video of `target_fps` frames per second.

    In a video of another rate it is the same time; one that does not tell its rate is taken to have that one.

    Shapes of fewer frames have frames of their own, evenly spread over the span; `among_full`: some of the full clip's.
    """

    num_frames: int
    sampling_rate: int
    target_fps: float
    among_full: bool = False

    def choose(self, span: Span) -> FrameChoice:
        """Return the frames of the clip that is spread over `span`."""
        return FullClip(span.frame_indices(self.num_frames)) if self.among_full else span

    def length(self, info: VideoInfo) -> float:
        """Return the number of frames of the video that the clip spans."""
        fps = self.target_fps if info.fps is None else info.fps
        return span_length(self.num_frames, self.sampling_rate, self.target_fps, fps)

    @staticmethod
    def places(info: VideoInfo) -> np.ndarray | None:
        """Return the places of unevenly spaced frames, see `Span`: a clip's time counts, not its number of frames."""
        return None if info.times is None or info.fps is None else info.times * info.fps


@dataclass(frozen=True)
class RandomSpans:
    """Training: any span."""

    clip_span: ClipSpan

    def sample(self, rng: np.random.Generator, span_index: int, info: VideoInfo) -> FrameChoice:
        """Return the frames of a span at a random place."""
        length, places = self.clip_span.length(info), self.clip_span.places(info)
        return self.clip_span.choose(random_span(rng, length, info.num_frames, places))


@dataclass(frozen=True)
class UniformSpans:
    """Validation and testing: `num_spans` spans over the video, the same every time."""

    clip_span: ClipSpan
    num_spans: int = 1

    def sample(self, rng: np.random.Generator, span_index: int, info: VideoInfo) -> FrameChoice:
        """Return the frames of the span of that number."""
        length, places = self.clip_span.length(info), self.clip_span.places(info)
        return self.clip_span.choose(uniform_span(span_index, self.num_spans, length, info.num_frames, places))


@dataclass(frozen=True)
class RandomSegments:
    """Training on Something-Something: a random frame of each of `num_frames` segments of the video."""

    num_frames: int

    def sample(self, rng: np.random.Generator, span_index: int, info: VideoInfo) -> FrameChoice:
        """Return a random frame of each segment."""
        first, last = segments(info.num_frames, self.num_frames)
        return FullClip(rng.integers(first, last, endpoint=True))


@dataclass(frozen=True)
class UniformSegments:
    """Validation and testing on Something-Something: one frame of each segment, the middle one.

    Of several spans each has another frame, evenly spread (PySlowFast repeats the middle one).
    """

    num_frames: int
    num_spans: int = 1

    def sample(self, rng: np.random.Generator, span_index: int, info: VideoInfo) -> FrameChoice:
        """Return a frame of each segment, at the place that belongs to the span."""
        first, last = segments(info.num_frames, self.num_frames)
        place = place_in_segment(span_index, self.num_spans)
        return FullClip(first + place.numerator * (last - first) // place.denominator)


@dataclass(frozen=True)
class RandomCrops:
    """Training: short-side jitter, any square, mirrored half the time where `flip` says so.

    Sizes are in pixels. With `inverse_uniform` the short side is drawn so that its inverse is uniform.
    """

    jitter_scales: tuple[int, int]
    crop_size: int
    flip: bool
    inverse_uniform: bool = False

    def box(self, rng: np.random.Generator, crop: int, height: int, width: int) -> CropBox:
        """Return a random square."""
        return random_crop(rng, height, width, self.jitter_scales, self.crop_size, self.flip, self.inverse_uniform)


@dataclass(frozen=True)
class RandomResizedCrops:
    """Training: a rectangle of random area and shape, mirrored half the time where `flip` says so.

    Its area is a fraction in `scale` of the picture's, and its width over height is in `aspect`.
    """

    scale: tuple[float, float]
    aspect: tuple[float, float]
    flip: bool

    def box(self, rng: np.random.Generator, crop: int, height: int, width: int) -> CropBox:
        """Return a random rectangle."""
        return random_resized_crop(rng, height, width, self.scale, self.aspect, self.flip)


@dataclass(frozen=True)
class UniformCrops:
    """Validation and testing: `num_crops` (1 or 3) squares along the longer side. Sizes in pixels."""

    scale: int
    crop_size: int
    num_crops: int = 1

    def box(self, rng: np.random.Generator, crop: int, height: int, width: int) -> CropBox:
        """Return the square of that number along the longer side."""
        return uniform_crop(height, width, self.scale, self.crop_size, crop, self.num_crops)

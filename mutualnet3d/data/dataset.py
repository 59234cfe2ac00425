"""Videos to clips: each video is decoded once, whatever the number of shapes that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from mutualnet3d.data.annotations import Video
from mutualnet3d.data.clip_sampling import (
    CropBox,
    Span,
    random_crop,
    random_span,
    span_length,
    uniform_crop,
    uniform_span,
)
from mutualnet3d.data.decode import VideoFile, VideoInfo
from mutualnet3d.data.requests import ClipRequest
from mutualnet3d.data.transforms import crop_frame, resize_frames
from mutualnet3d.shapes import ClipBatch, ClipShape


class ClipSampler(Protocol):
    """Chooses span and crop of a clip; what differs between training and testing."""

    def span(self, rng: np.random.Generator, view: int, length: float, num_frames: int) -> Span: ...

    def crop(self, rng: np.random.Generator, view: int, height: int, width: int) -> CropBox: ...


@dataclass(frozen=True)
class RandomClips:
    """Training: any span, short-side jitter, any crop, mirrored half the time where `flip` says so. Sizes in pixels;
    `inverse_uniform`: the short side is drawn so that its inverse is uniform."""

    jitter_scales: tuple[int, int]
    crop_size: int
    flip: bool
    inverse_uniform: bool = False

    def span(self, rng: np.random.Generator, view: int, length: float, num_frames: int) -> Span:
        return random_span(rng, length, num_frames)

    def crop(self, rng: np.random.Generator, view: int, height: int, width: int) -> CropBox:
        return random_crop(rng, height, width, self.jitter_scales, self.crop_size, self.flip, self.inverse_uniform)


@dataclass(frozen=True)
class UniformClips:
    """Validation and testing: `num_spans` spans times `num_crops` crops, the same every time. Sizes in pixels."""

    scale: int
    crop_size: int
    num_spans: int = 1
    num_crops: int = 1

    @property
    def num_views(self) -> int:
        return self.num_spans * self.num_crops

    def span(self, rng: np.random.Generator, view: int, length: float, num_frames: int) -> Span:
        return uniform_span(view // self.num_crops, self.num_spans, length, num_frames)

    def crop(self, rng: np.random.Generator, view: int, height: int, width: int) -> CropBox:
        return uniform_crop(height, width, self.scale, self.crop_size, view % self.num_crops, self.num_crops)


@dataclass(frozen=True)
class Clip:
    """One clip in several shapes: uint8 (T, C, H, W) each."""

    clips: dict[ClipShape, torch.Tensor]
    label: int
    video: int


class VideoDataset(torch.utils.data.Dataset[Clip]):
    """Clips of a list of videos, by request.

    What a clip shows depends on (seed, epoch, index, view) alone: not on the worker, the order or the other shapes.

    Args:
        videos: the list.
        sampler: chooses span and crop.
        num_frames, sampling_rate, target_fps: what the full network's clip spans: `num_frames`, every
            `sampling_rate`-th of a video of `target_fps` frames per second. All shapes cover that span.
        choose_among_full: shapes of fewer frames get some of the `num_frames` frames, as the Slow pathway gets some of
            the Fast one's; else they get frames spread evenly over the span on their own.
        seed: of the random choices.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        sampler: ClipSampler,
        *,
        num_frames: int,
        sampling_rate: int,
        target_fps: float,
        choose_among_full: bool = False,
        seed: int = 0,
    ):
        self.videos, self.sampler, self.seed = list(videos), sampler, seed
        self.num_frames, self.sampling_rate, self.target_fps = num_frames, sampling_rate, target_fps
        self.choose_among = num_frames if choose_among_full else None

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, request: ClipRequest) -> Clip:
        """The clip; raises `VideoDecodeError` if the video cannot give it."""
        video = self.videos[request.index]
        rng = np.random.default_rng((self.seed, request.epoch, request.index))
        with VideoFile(video.path) as file:
            span = self._span(rng, request.view, file.info)
            counts = {shape.frames for shape in request.shapes}
            indices = {frames: span.frame_indices(frames, self.choose_among) for frames in counts}
            needed = np.unique(np.concatenate(list(indices.values())))
            box, cuts = None, []
            for frame_HWC in file.frames(needed.tolist()):
                if box is None:
                    box = self.sampler.crop(rng, request.view, *frame_HWC.shape[:2])
                cuts.append(crop_frame(frame_HWC, box))
        # Kept channels-last, the format of the decoder and of the fast resize.
        frames_TCHW = torch.from_numpy(np.stack(cuts)).permute(0, 3, 1, 2)
        rows = {frames: torch.from_numpy(np.searchsorted(needed, wanted)) for frames, wanted in indices.items()}
        clips = {shape: resize_frames(frames_TCHW[rows[shape.frames]], shape.size) for shape in request.shapes}
        return Clip(clips, video.label, request.index)

    def _span(self, rng: np.random.Generator, view: int, info: VideoInfo) -> Span:
        length = span_length(self.num_frames, self.sampling_rate, self.target_fps, info.fps)
        return self.sampler.span(rng, view, length, info.num_frames)


def collate(items: Sequence[Clip]) -> ClipBatch:
    """Clips of one batch stacked: (T, C, H, W) each to (B, T, C, H, W) for every shape."""
    return ClipBatch(
        {shape: torch.stack([item.clips[shape] for item in items]) for shape in items[0].clips},
        torch.tensor([item.label for item in items]),
        torch.tensor([item.video for item in items]),
    )

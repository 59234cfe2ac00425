"""Clips of a video: the frames that they need, decoded once; the part of the picture that is cut out; their sizes.

Legend: T frames, H height, W width, S side of the square, C channels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mutualnet3d.data.clip_samplers import CropSampler, FrameSampler
from mutualnet3d.data.transforms import FrameBuffer, crop_frames, resize_frames
from mutualnet3d.shapes import ClipShape
from mutualnet3d.video.errors import FrameCountCorrected
from mutualnet3d.video.info import ReadableVideo


@dataclass(frozen=True)
class ViewSampler:
    """Choice of a video's views: a clip for each span and, within it, for each crop.

    Args:
        frame_sampler: choice of the frames, by the number of the span.
        crop_sampler: choice of the part of the picture, by the number of the crop.
        spans: numbers of the spans that are needed.
        crops: numbers of the crops that are needed.
    """

    frame_sampler: FrameSampler
    crop_sampler: CropSampler
    spans: Sequence[int] = (0,)
    crops: Sequence[int] = (0,)


class ClipAssembler:
    """Maker of clips, of one video after the other, in memory that is used again."""

    def __init__(self) -> None:
        self._crop_buffers: list[FrameBuffer] = []
        self._choice_buffer = FrameBuffer()

    def assemble(
        self, video: ReadableVideo, shapes: Sequence[ClipShape], view_sampler: ViewSampler, rng: np.random.Generator
    ) -> dict[ClipShape, list[torch.Tensor]]:
        """Return the views in each shape, uint8 (T, S, S, C).

        If the video has fewer frames than it said, the clips are chosen anew, by the same draws.

        Args:
            video: video to read.
            shapes: frame counts and sizes of the clips.
            view_sampler: choice of the frames and crops of each view.
            rng: generator that the samplers draw from, the frames' first.

        Raises:
            VideoDecodeError: the video breaks.
        """
        state = rng.bit_generator.state
        try:
            return self._assemble(video, shapes, view_sampler, rng)
        except FrameCountCorrected:
            rng.bit_generator.state = state
            return self._assemble(video, shapes, view_sampler, rng)

    def _assemble(
        self, video: ReadableVideo, shapes: Sequence[ClipShape], view_sampler: ViewSampler, rng: np.random.Generator
    ) -> dict[ClipShape, list[torch.Tensor]]:
        choices = [view_sampler.frame_sampler.sample(rng, span, video.info) for span in view_sampler.spans]
        # All shapes of as many frames show the same ones.
        counts = {shape.frames for shape in shapes}
        indices_of = {count: [choice.frame_indices(count) for choice in choices] for count in counts}
        needed = np.unique(np.concatenate([indices for of_spans in indices_of.values() for indices in of_spans]))
        frames = iter(video.read(needed.tolist()))
        first = next(frames)
        boxes = [view_sampler.crop_sampler.box(rng, crop, *first.shape[:2]) for crop in view_sampler.crops]
        self._crop_buffers += [FrameBuffer() for _ in range(len(boxes) - len(self._crop_buffers))]
        cut_NTHWC = crop_frames(itertools.chain([first], frames), len(needed), boxes, self._crop_buffers)
        clips: dict[ClipShape, list[torch.Tensor]] = {shape: [] for shape in shapes}
        for shape, of_shape in clips.items():
            for indices in indices_of[shape.frames]:
                rows = np.searchsorted(needed, indices).tolist()
                of_shape += [resize_frames(cut_THWC, rows, shape.size, self._choice_buffer) for cut_THWC in cut_NTHWC]
        return clips

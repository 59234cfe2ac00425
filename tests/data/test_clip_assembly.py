from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from mutualnet3d.data.clip_assembly import ClipAssembler, ViewSampler
from mutualnet3d.data.clip_samplers import ClipSpan, RandomCrops, RandomSpans, UniformCrops, UniformSpans
from mutualnet3d.shapes import ClipShape
from mutualnet3d.video.errors import FrameCountCorrected
from mutualnet3d.video.frames_in_memory import FramesInMemory
from mutualnet3d.video.info import VideoInfo

SHAPES = (ClipShape(8, 32), ClipShape(8, 24), ClipShape(5, 32), ClipShape(2, 48))
SPAN = ClipSpan(8, 3, 24.0)


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8)


class Recorded(FramesInMemory):
    """Frames in memory that note what is asked for."""

    def __init__(self, frames, fps):
        super().__init__(frames, fps)
        self.asked = []

    def read(self, indices):
        self.asked.append(list(indices))
        return super().read(indices)


def naive(frames, shape, choice, box):
    """One clip, made by itself."""
    picked = frames[choice.frame_indices(shape.frames)]
    cut = picked[:, box.top : box.top + box.height, box.left : box.left + box.width]
    cut = torch.from_numpy((cut[:, :, ::-1] if box.flip else cut).copy()).permute(0, 3, 1, 2)
    return tv.resize(cut, [shape.size, shape.size], antialias=True).permute(0, 2, 3, 1)


@pytest.mark.parametrize("seed", range(4))
def test_each_shape_is_the_clip_that_is_made_for_it_alone(frames, seed):
    spans, crops = RandomSpans(SPAN), RandomCrops((40, 48), 32, flip=True)
    video = Recorded(frames, 24.0)
    clips = ClipAssembler().assemble(video, SHAPES, ViewSampler(spans, crops), np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    choice = spans.sample(rng, 0, video.info)
    box = crops.box(rng, 0, 48, 64)
    assert list(clips) == list(SHAPES)
    for shape, (clip,) in clips.items():
        assert clip.dtype == torch.uint8
        assert torch.equal(clip, naive(frames, shape, choice, box))
    counts = {shape.frames for shape in SHAPES}
    needed = sorted({int(index) for count in counts for index in choice.frame_indices(count)})
    assert video.asked == [needed]  # once, each frame once


def test_views_are_crops_within_spans(frames):
    spans, crops = UniformSpans(SPAN, 3), UniformCrops(48, 40, 3)
    video, assembler = Recorded(frames, 24.0), ClipAssembler()
    for _ in range(2):  # in the same memory
        clips = assembler.assemble(
            video, SHAPES, ViewSampler(spans, crops, range(3), range(3)), np.random.default_rng(0)
        )
        for shape in SHAPES:
            expected = [
                naive(frames, shape, spans.sample(None, span, video.info), crops.box(None, crop, 48, 64))
                for span in range(3)
                for crop in range(3)
            ]
            assert torch.equal(torch.stack(clips[shape]), torch.stack(expected))
    some = assembler.assemble(video, SHAPES, ViewSampler(spans, crops, (2,), (1,)), np.random.default_rng(0))
    assert all(torch.equal(some[shape][0], clips[shape][7]) for shape in SHAPES)
    assert len(video.asked) == 3


def test_clips_outlive_the_next(frames):
    assembler = ClipAssembler()
    settings = SHAPES, ViewSampler(RandomSpans(SPAN), RandomCrops((40, 48), 32, flip=False))
    first = assembler.assemble(FramesInMemory(frames), *settings, np.random.default_rng(0))
    copies = {shape: clip.clone() for shape, (clip,) in first.items()}
    assembler.assemble(FramesInMemory(255 - frames), *settings, np.random.default_rng(1))
    assert all(torch.equal(first[shape][0], copies[shape]) for shape in SHAPES)


def test_after_a_corrected_count_the_draws_are_the_same(frames):
    class Promising(FramesInMemory):
        def read(self, indices):
            if self.info.num_frames > 60:
                self.info = VideoInfo(60, 24.0)
                raise FrameCountCorrected("60, not 100")
            return super().read(indices)

    promising = Promising(frames, 24.0)
    promising.info = VideoInfo(100, 24.0)
    settings = SHAPES, ViewSampler(RandomSpans(SPAN), RandomCrops((40, 48), 32, flip=True))
    generators = np.random.default_rng(7), np.random.default_rng(7)
    corrected = ClipAssembler().assemble(promising, *settings, generators[0])
    right = ClipAssembler().assemble(FramesInMemory(frames, 24.0), *settings, generators[1])
    assert all(torch.equal(corrected[shape][0], right[shape][0]) for shape in SHAPES)
    assert generators[0].random() == generators[1].random()  # what is drawn afterwards too

from __future__ import annotations

import numpy as np
import pytest

from mutualnet3d.data.clip_samplers import (
    ClipSpan,
    RandomResizedCrops,
    RandomSegments,
    RandomSpans,
    UniformCrops,
    UniformSegments,
    UniformSpans,
)
from mutualnet3d.data.clip_sampling import CropBox, Span
from mutualnet3d.video.info import VideoInfo


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("fps", "length"),
    [(30.0, 80.0), (15.0, 40.0), (None, 80.0)],  # no rate: as if it were the target's
)
def test_a_clip_span_keeps_the_seconds(fps, length):
    assert ClipSpan(16, 5, 30.0).length(VideoInfo(300, fps)) == length


def test_random_spans_are_spans_of_the_video():
    sampler = RandomSpans(ClipSpan(8, 4, 24.0))
    drawn = [sampler.sample(rng(seed), 0, VideoInfo(100, 24.0)).frame_indices(8) for seed in range(50)]
    assert all(indices[-1] - indices[0] == 31 for indices in drawn)
    assert len({int(indices[0]) for indices in drawn}) > 20
    short = sampler.sample(rng(), 0, VideoInfo(3, 24.0))
    assert short.frame_indices(8).tolist() == [0, 2, 2, 2, 2, 2, 2, 2]  # shorter than the span


@pytest.mark.parametrize("among_full", [False, True])
def test_fewer_frames_are_spread_evenly_or_are_some_of_the_full_clips(among_full):
    frames = ClipSpan(8, 1, 24.0, among_full).choose(Span(3.0, 69.0, 100))
    full = [3, 12, 22, 32, 41, 51, 61, 71]
    assert frames.frame_indices(8).tolist() == full
    few = frames.frame_indices(6).tolist()
    assert few == ([full[place] for place in (0, 1, 2, 4, 5, 7)] if among_full else [3, 16, 30, 43, 57, 71])


def test_uniform_spans_ignore_the_generator():
    sampler = UniformSpans(ClipSpan(4, 2, 24.0), num_spans=3)
    spans = [sampler.sample(rng(seed), span, VideoInfo(32, 24.0)) for seed, span in enumerate([0, 1, 2])]
    assert [span.frame_indices(4).tolist() for span in spans] == [[0, 2, 4, 7], [8, 10, 12, 15], [16, 18, 20, 23]]


def test_random_segments_draw_from_borders_that_neighbours_share():
    sampler = RandomSegments(4)
    drawn = np.stack([sampler.sample(rng(seed), 0, VideoInfo(41, None)).frame_indices(4) for seed in range(500)])
    assert [sorted(set(column)) for column in drawn.T.tolist()] == [list(range(10 * k, 10 * k + 11)) for k in range(4)]
    assert (np.diff(drawn) >= 0).all()


@pytest.mark.parametrize(
    ("num_frames", "num_spans", "span", "expected"),
    [
        (41, 1, 0, [5, 15, 25, 35]),  # PySlowFast's: the middle
        (
            38,
            1,
            0,
            [4, 13, 23, 32],
        ),  # borders 0 9 18 28 37: (0 + 9) // 2, (9 + 18) // 2, (18 + 28) // 2, (28 + 37) // 2
        (41, 2, 0, [2, 12, 22, 32]),
        (41, 2, 1, [7, 17, 27, 37]),
        (1, 1, 0, [0, 0, 0, 0]),
    ],
)
def test_uniform_segments(num_frames, num_spans, span, expected):
    sampler = UniformSegments(4, num_spans)
    frames = sampler.sample(rng(), span, VideoInfo(num_frames, 12.0))
    assert frames.frame_indices(4).tolist() == expected
    assert frames.frame_indices(2).tolist() == [expected[0], expected[-1]]


def test_crops():
    assert UniformCrops(72, 56, 3).box(rng(), 2, 72, 96) == CropBox(8, 40, 56)
    box = RandomResizedCrops((0.25, 0.25), (2.0, 2.0), flip=False).box(rng(), 0, 100, 100)
    assert (box.height, box.width) == (35, 71)

from __future__ import annotations

import numpy as np
import pytest

from mutualnet3d.data.clip_samplers import UniformSegments
from mutualnet3d.data.clip_sampling import uniform_span
from mutualnet3d.data.view_subsets import view_subsets
from mutualnet3d.video.info import VideoInfo


def numbers_of(subsets):
    return {(subset.spans, subset.crops): (subset.numbers, subset.is_same) for subset in subsets}


@pytest.mark.parametrize(
    ("spans", "crops", "segments", "expected"),
    [
        (1, 1, False, {(1, 1): ((0,), True)}),
        (2, 1, False, {(2, 1): ((0, 1), True), (1, 1): ((1,), True)}),
        (3, 1, False, {(3, 1): ((0, 1, 2), True), (1, 1): ((1,), False), (2, 1): ((0, 1), False)}),
        (
            10,
            1,
            False,
            {
                (10, 1): (tuple(range(10)), True),
                (1, 1): ((5,), True),
                (2, 1): ((0, 5), True),
                (3, 1): ((0, 3, 7), False),
                (5, 1): ((0, 2, 4, 6, 8), True),
            },
        ),
        (12, 1, False, {(10, 1): ((0, 1, 2, 4, 5, 6, 7, 8, 10, 11), False), (3, 1): ((0, 4, 8), True)}),
        (10, 1, True, {(1, 1): ((4,), False), (2, 1): ((2, 7), True), (5, 1): ((0, 2, 4, 6, 8), False)}),
        (3, 1, True, {(1, 1): ((1,), True), (2, 1): ((0, 2), False)}),
        (
            2,
            3,
            False,
            {
                (2, 3): ((0, 1, 2, 3, 4, 5), True),
                (1, 3): ((3, 4, 5), True),
                (1, 1): ((4,), False),
                (2, 1): ((1, 4), False),
            },
        ),
    ],
)
def test_the_nearest_views_stand_for_a_smaller_test(spans, crops, segments, expected):
    subsets = view_subsets(spans, crops, segments)
    assert (subsets[0].spans, subsets[0].crops) == (spans, crops)
    numbers = numbers_of(subsets)
    assert len(numbers) == len(subsets)
    assert {key: numbers[key] for key in expected} == expected
    counts = {count for count in (1, 2, 3, 5, 10, spans) if count <= spans}
    assert set(numbers) == {(count, kind) for count in counts for kind in {1, crops}}


@pytest.mark.parametrize("num_spans", [1, 2, 3, 4, 6, 9, 10, 30])
@pytest.mark.parametrize("segments", [False, True])
def test_a_subset_that_is_the_same_shows_the_frames_of_the_smaller_test(num_spans, segments):
    """And one that is not shows others, in some video."""
    for subset in view_subsets(num_spans, 1, segments):
        is_same = True
        for num_frames in (7, 103, 250):
            for number, span in enumerate(subset.numbers):
                frames = [frames_of(span, num_spans, num_frames, segments)]
                frames.append(frames_of(number, subset.spans, num_frames, segments))
                is_same &= bool(np.array_equal(*frames))
        assert len(set(subset.numbers)) == subset.spans
        if subset.is_same or num_spans <= 10:
            assert is_same == subset.is_same


def frames_of(view: int, num_views: int, num_frames: int, segments: bool) -> np.ndarray:
    if segments:
        return UniformSegments(4, num_views).sample(np.random.default_rng(0), view, VideoInfo(num_frames, 25.0)).indices
    return uniform_span(view, num_views, 16.5, num_frames).frame_indices(4)

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mutualnet3d.data.clip_sampling import (
    CropBox,
    Span,
    random_crop,
    random_resized_crop,
    random_span,
    segments,
    some_of,
    span_length,
    uniform_crop,
    uniform_span,
)


@pytest.mark.parametrize(
    ("span", "count", "expected"),
    [
        (Span(0, 8, 100), 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (Span(10, 29, 100), 8, [10, 14, 18, 22, 26, 30, 34, 38]),
        (Span(10, 29, 100), 2, [10, 38]),  # fewer frames, the same time
        (Span(10, 29, 100), 1, [10]),
        (Span(0.9, 32, 100), 4, [0, 11, 21, 31]),  # 0.9, 11.23, 21.57, 31.9
        (Span(0, 32, 20), 8, [0, 4, 8, 13, 17, 19, 19, 19]),  # past the end: the last frame
        (Span(0, 16, 1), 4, [0, 0, 0, 0]),
    ],
)
def test_frame_indices(span, count, expected):
    assert span.frame_indices(count).tolist() == expected


@given(start=st.integers(0, 300), length=st.floats(1, 300), count=st.integers(1, 64), num_frames=st.integers(1, 600))
def test_frame_indices_equal_pyslowfasts(start, length, count, num_frames):
    """Its rule: linspace, clamp, truncate. In float64 here, so that a frame is not lost to rounding."""
    exact = torch.linspace(start, start + length - 1, count, dtype=torch.float64)
    expected = torch.clamp(exact + 1e-6, 0, num_frames - 1).long()
    indices = Span(start, length, num_frames).frame_indices(count)
    assert np.abs(indices - expected.numpy()).max() <= (0 if count > 1 else 1)
    assert indices.min() >= 0
    assert indices.max() < num_frames


# 25 frames a second, a pause of 20 s after the third frame.
PAUSED = np.array([0.0, 1.0, 2.0, 502.0, 503.0, 504.0])


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, 3, [0, 1, 2]),
        (1.5, 501.5, [1, 2, 3]),
        (10, 100, [2, 2, 2]),  # within the pause: the frame before it
        (500, 5, [2, 3, 5]),  # at 500, 502 and 504
        (503, 9, [4, 5, 5]),  # past the end: the last frame
        (-1, 2, [0, 0, 0]),
    ],
)
def test_frames_with_places_are_those_that_are_shown(start, length, expected):
    assert Span(start, length, 6, PAUSED).frame_indices(3).tolist() == expected


def test_spans_lie_anywhere_in_the_time_of_frames_with_places():
    rng = np.random.default_rng(0)
    starts = [random_span(rng, 100, 6, PAUSED).start for _ in range(500)]
    assert 0 <= min(starts) < 5
    assert 400 < max(starts) <= 405  # the last frame is shown for as long as most
    assert [uniform_span(view, 3, 100, 6, PAUSED).start for view in range(3)] == [0, 135, 270]
    assert uniform_span(0, 1, 100, 6, PAUSED).start == 202.5
    assert random_span(rng, 600, 6, PAUSED).start == 0


@given(num_frames=st.integers(2, 300), length=st.floats(1, 300), count=st.integers(1, 32), view=st.integers(0, 4))
def test_even_places_give_the_frames_that_no_places_give(num_frames, length, count, view):
    even = uniform_span(view, 5, length, num_frames)
    placed = uniform_span(view, 5, length, num_frames, np.arange(num_frames, dtype=float))
    assert placed == even
    differences = placed.frame_indices(count) - even.frame_indices(count)
    assert set(differences.tolist()) <= {0, 1}  # a place counts as reached 0.05 frames before it


def test_span_length_keeps_the_seconds():
    assert span_length(16, 5, target_fps=30, fps=30) == 80
    assert span_length(16, 5, target_fps=30, fps=15) == 40


def test_random_span_lies_anywhere_in_the_video():
    rng = np.random.default_rng(0)
    starts = [random_span(rng, 32, 100).start for _ in range(1000)]
    assert 0 <= min(starts) < 2
    assert 66 < max(starts) <= 68
    assert random_span(rng, 32, 20) == Span(0.0, 32, 20)


@pytest.mark.parametrize(
    ("view", "num_views", "num_frames", "start"),
    [(0, 1, 100, 34), (0, 1, 20, 0), (0, 4, 100, 0), (1, 4, 100, 17), (3, 4, 100, 51), (9, 10, 100, 61.2)],
)
def test_uniform_span(view, num_views, num_frames, start):
    assert uniform_span(view, num_views, 32, num_frames).start == pytest.approx(start)


@pytest.mark.parametrize(
    ("height", "width", "crop", "num_crops", "expected"),
    [
        (72, 96, 0, 1, CropBox(8, 20, 56)),  # 56 of a short side of 72 scaled to 72
        (72, 96, 0, 3, CropBox(8, 0, 56)),
        (72, 96, 1, 3, CropBox(8, 20, 56)),
        (72, 96, 2, 3, CropBox(8, 40, 56)),
        (96, 72, 0, 3, CropBox(0, 8, 56)),
        (96, 72, 2, 3, CropBox(40, 8, 56)),
        (73, 97, 0, 1, CropBox(8, 20, 57)),  # halves go up
    ],
)
def test_uniform_crop(height, width, crop, num_crops, expected):
    assert uniform_crop(height, width, scale=72, crop_size=56, crop=crop, num_crops=num_crops) == expected


@given(height=st.integers(1, 400), width=st.integers(1, 400), seed=st.integers(0, 99))
def test_random_crop_stays_in_the_picture(height, width, seed):
    box = random_crop(np.random.default_rng(seed), height, width, (256, 320), 224, flip=True)
    assert box.height == box.width >= 1
    assert 0 <= box.top <= height - box.height
    assert 0 <= box.left <= width - box.width


def test_random_crop_covers_scales_places_and_flips():
    rng = np.random.default_rng(0)
    boxes = [random_crop(rng, 100, 160, (256, 320), 224, flip=True) for _ in range(2000)]
    sides = [box.height for box in boxes]
    assert (min(sides), max(sides)) == (70, 87)  # 224/320 and 224/256 of 100 are 70 and 87.5
    assert np.mean([box.flip for box in boxes]) == pytest.approx(0.5, abs=0.04)
    assert min(box.top for box in boxes) == min(box.left for box in boxes) == 0
    assert max(box.left + box.height for box in boxes) == 160
    assert max(box.top + box.height for box in boxes) == 100
    assert not any(random_crop(rng, 100, 160, (256, 320), 224, flip=False).flip for _ in range(50))


@pytest.mark.parametrize(("frames", "alpha"), [(32, 8), (32, 4), (64, 4), (16, 4)])
def test_shapes_of_fewer_frames_take_some_by_pyslowfasts_rule(frames, alpha):
    assert some_of(frames, frames // alpha).tolist() == torch.linspace(0, frames - 1, frames // alpha).long().tolist()


@pytest.mark.parametrize(
    ("among", "count", "expected"),
    [
        (16, 16, list(range(16))),
        (16, 13, [0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13, 15]),
        (16, 6, [0, 3, 6, 9, 12, 15]),
        (8, 3, [0, 3, 7]),
        (8, 1, [0]),
        (1, 1, [0]),
    ],
)
def test_some_of(among, count, expected):
    assert some_of(among, count).tolist() == expected


@pytest.mark.parametrize(
    ("num_frames", "count", "first", "last"),
    [
        (40, 8, [0, 5, 10, 15, 20, 24, 29, 34], [5, 10, 15, 20, 24, 29, 34, 39]),
        (9, 4, [0, 2, 4, 6], [2, 4, 6, 8]),
        (3, 4, [0, 0, 1, 2], [0, 1, 2, 2]),  # 0.5 and 1.5 go to the even side, as numpy rounds
        (1, 3, [0, 0, 0], [0, 0, 0]),
    ],
)
def test_segments(num_frames, count, first, last):
    made = segments(num_frames, count)
    assert [bounds.tolist() for bounds in made] == [first, last]
    for place in range(count):  # PySlowFast's formula, by its words
        assert made[0][place] == int(np.round((num_frames - 1) / count * place))
        assert made[1][place] == int(np.round((num_frames - 1) / count * (place + 1)))


def test_a_short_side_with_a_uniform_inverse():
    """PySlowFast's INV_UNIFORM_SAMPLE: the mean of one over the length is in the middle of its range."""
    rng = np.random.default_rng(0)
    boxes = [random_crop(rng, 1000, 2000, (256, 320), 224, False, inverse_uniform=True) for _ in range(4000)]
    inverses = [box.height / 1000 / 224 for box in boxes]
    assert min(inverses) >= 1 / 320 - 1e-5
    assert max(inverses) <= 1 / 256 + 1e-5
    assert np.mean(inverses) == pytest.approx((1 / 256 + 1 / 320) / 2, rel=0.003)
    assert np.std(inverses) == pytest.approx((1 / 256 - 1 / 320) / 12**0.5, rel=0.05)


def test_a_crop_box_is_a_square_unless_it_has_a_width():
    assert CropBox(1, 2, 4) == CropBox(1, 2, 4, 4)
    assert CropBox(1, 2, 4, flip=True).width == 4
    assert (CropBox(1, 2, 4, 6).height, CropBox(1, 2, 4, 6).width) == (4, 6)


@given(height=st.integers(1, 400), width=st.integers(1, 400), seed=st.integers(0, 99))
def test_random_resized_crop_stays_in_the_picture(height, width, seed):
    box = random_resized_crop(np.random.default_rng(seed), height, width)
    assert 1 <= box.height <= height
    assert 1 <= box.width <= width
    assert 0 <= box.top <= height - box.height
    assert 0 <= box.left <= width - box.width
    assert not box.flip


def test_random_resized_crop_covers_areas_aspects_places_and_flips():
    rng = np.random.default_rng(0)
    boxes = [random_resized_crop(rng, 1000, 2000, (0.1, 0.3), (0.5, 2.0), flip=True) for _ in range(4000)]
    areas = np.array([box.height * box.width / 2e6 for box in boxes])
    ratios = np.log2([box.width / box.height for box in boxes])
    assert areas.min() == pytest.approx(0.1, abs=0.001)
    assert areas.max() == pytest.approx(0.3, abs=0.001)
    assert areas.mean() == pytest.approx(0.2, abs=0.003)
    assert ratios.min() == pytest.approx(-1, abs=0.01)
    assert ratios.max() == pytest.approx(1, abs=0.01)
    # The few that are higher than the picture, up to sqrt(0.3 * 2e6 * 2) = 1095, are drawn again.
    assert ratios.mean() == pytest.approx(0, abs=0.05)
    assert np.mean([box.flip for box in boxes]) == pytest.approx(0.5, abs=0.03)
    assert min(box.top for box in boxes) <= 2
    assert min(box.left for box in boxes) <= 2
    assert max(box.top + box.height for box in boxes) >= 998
    assert max(box.left + box.width for box in boxes) >= 1998


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (100, 400, CropBox(0, 133, 100, 133)),  # too wide: 4/3 of the height
        (400, 100, CropBox(133, 0, 133, 100)),  # too high: 3/4 of the height is the width
        (100, 120, CropBox(0, 0, 100, 120)),  # all of it
        (1, 9, CropBox(0, 4, 1, 1)),
    ],
)
def test_a_random_resized_crop_that_never_fits_is_the_centre(height, width, expected):
    assert random_resized_crop(np.random.default_rng(0), height, width, scale=(5.0, 9.0)) == expected

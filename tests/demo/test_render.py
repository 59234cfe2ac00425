from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from mutualnet3d.data.transforms import FrameBuffer, resize_frames
from mutualnet3d.demo.motion import CLASS_NAMES, CLASSES
from mutualnet3d.demo.render import render_clip
from mutualnet3d.demo.style import DEFAULT_STYLE, STRIPED_STYLE

FPS = 24
MOTIONS = [shape_class.motion for shape_class in CLASSES if not shape_class.stripes]
STILL = replace(
    DEFAULT_STYLE, noise=0.0, flicker=0.0, background_heights_per_s=(0.0, 0.0), distractor_heights_per_s=0.0
)
# One small shape, always inside the frame, on a plain ground.
BARE = replace(
    STILL,
    distractors=(0, 0),
    background_texture=0.0,
    radius_heights=(0.1, 0.12),
    max_travel_heights=0.3,
    max_growth=2.0,
    turn_degrees_per_s=(40.0, 120.0),
)


def shape_mask_THW(frames_THWC: np.ndarray) -> np.ndarray:
    ground_C = np.median(frames_THWC, axis=(0, 1, 2))
    return np.abs(frames_THWC - ground_C).max(-1) > 12


def centroids_T2(mask_THW: np.ndarray) -> np.ndarray:
    """(x, y) of the shape in frame heights."""
    return np.array([np.argwhere(mask_HW).mean(0)[::-1] for mask_HW in mask_THW]) / mask_THW.shape[1]


def turn_degrees(before_HWC: np.ndarray, after_HWC: np.ndarray) -> int:
    """Return the turn (clockwise on the screen, -90 to 90) under which rings round the shape agree best."""
    turns = np.deg2rad(np.arange(0, 360, 5))
    rings = []
    for frame_HWC in (before_HWC, after_HWC):
        x, y = centroids_T2(shape_mask_THW(frame_HWC[None]))[0] * len(frame_HWC)
        at = [
            (np.rint(y + r * np.sin(turns)).astype(int), np.rint(x + r * np.cos(turns)).astype(int))
            for r in range(2, 9)
        ]
        rings.append(np.stack([frame_HWC[rows, columns] for rows, columns in at]).astype(float))
    error = {5 * step: np.square(np.roll(rings[0], step, axis=1) - rings[1]).sum() for step in range(-18, 19)}
    return min(error, key=lambda turn: error[turn])


def test_frames_depend_on_the_generator_alone() -> None:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    first, again, other = (render_clip(3, np.random.default_rng(seed), 12) for seed in (1, 1, 2))
    assert first.shape == (12, 72, 96, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert random.getstate() == states[0]
    np.testing.assert_equal(np.random.get_state(), states[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.parametrize(
    ("motion", "opposite"),
    [
        ("move_left", "move_right"),
        ("move_up", "move_down"),
        ("rotate_clockwise", "rotate_counterclockwise"),
        ("grow", "shrink"),
    ],
)
def test_a_clip_played_backwards_is_one_of_the_opposite_class(motion: str, opposite: str) -> None:
    forwards, backwards = (
        render_clip(CLASS_NAMES.index(name), np.random.default_rng(4), 60, style=STILL) for name in (motion, opposite)
    )
    assert np.array_equal(forwards[::-1], backwards)
    assert not np.array_equal(forwards, backwards)


@pytest.mark.parametrize("name", MOTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_every_second_of_a_clip_shows_its_motion(name: str, seed: int) -> None:
    frames_THWC = render_clip(CLASS_NAMES.index(name), np.random.default_rng((seed, 1)), 2 * FPS, style=BARE)
    for start in (0, 12, 24):
        window_THWC = frames_THWC[start : start + FPS]
        mask_THW = shape_mask_THW(window_THWC)
        centre_T2 = centroids_T2(mask_THW)
        (dx, dy), (spread_x, spread_y) = centre_T2[-1] - centre_T2[0], np.ptp(centre_T2, axis=0)
        way_x, way_y = np.abs(np.diff(centre_T2, axis=0)).sum(0)
        growth = np.sqrt(mask_THW[-1].sum() / mask_THW[0].sum())
        turn = turn_degrees(window_THWC[0], window_THWC[12])  # 20 to 60 degrees where it turns
        seen = {
            "move_left": dx < -0.1,
            "move_right": dx > 0.1,
            "move_up": dy < -0.1,
            "move_down": dy > 0.1,
            "rotate_clockwise": turn >= 15,
            "rotate_counterclockwise": turn <= -15,
            "grow": growth > 1.2,
            "shrink": growth < 1 / 1.2,
            "oscillate_horizontally": spread_x > 0.12 and way_x > 1.2 * spread_x,
            "oscillate_vertically": spread_y > 0.12 and way_y > 1.2 * spread_y,
            "tremble_horizontally": spread_x > 0.12 and way_x > 3 * spread_x,
            "tremble_vertically": spread_y > 0.12 and way_y > 3 * spread_y,
        }
        if not name.startswith(("oscillate", "tremble")):
            assert [shown for shown, holds in seen.items() if holds] == [name]
        else:
            assert seen[name]
            assert (spread_y if "horizontally" in name else spread_x) < 0.03
            assert 0.9 < growth < 1.1


def edges_right_and_down(name: str, seed: int, size: int, period: float) -> tuple[float, float]:
    """Return the mean steps of grey between neighbours inside the main shape, from left to right and from top to
    bottom, in a picture of `size` pixels."""
    style = replace(STRIPED_STYLE, distractors=(0, 0), stripe_period_heights=(period, period), place_heights=0.0)
    frame_HWC = render_clip(CLASS_NAMES.index(name), np.random.default_rng(seed), 3, 72, 72, 12, style)[1]
    small_THWC = resize_frames(torch.from_numpy(frame_HWC[None]), [0], size, FrameBuffer()).numpy()
    grey_HW = small_THWC[0].mean(-1)
    inner_HW = shape_mask_THW(small_THWC)[0]
    right, down = np.abs(np.diff(grey_HW, axis=1)), np.abs(np.diff(grey_HW, axis=0))
    return float(right[inner_HW[:, 1:] & inner_HW[:, :-1]].mean()), float(down[inner_HW[1:] & inner_HW[:-1]].mean())


@pytest.mark.parametrize(("name", "across"), [("move_left_upright", 0), ("tremble_vertically_level", 1)])
def test_stripes_keep_their_direction_and_fine_ones_need_a_large_picture(name: str, across: int) -> None:
    def edges(size: int, period: float) -> np.ndarray:
        return np.mean([edges_right_and_down(name, seed, size, period) for seed in range(4)], axis=0)

    fine_large, fine_small, coarse_large, coarse_small = (
        edges(48, 0.05),
        edges(32, 0.05),
        edges(48, 0.2),
        edges(32, 0.2),
    )
    for right_and_down in (fine_large, coarse_large, coarse_small):
        assert right_and_down[across] > 3 * right_and_down[1 - across]
    assert fine_small[across] < 0.6 * fine_large[across]
    assert coarse_small[across] > coarse_large[across]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"label": 32}, "label is 32; allowed: 0 to 31"),
        ({"num_frames": 0}, "num_frames is 0; allowed: 1 or more"),
        ({"width": 60}, r"width is 60; allowed: the height \(72\) or more"),
    ],
)
def test_wrong_labels_and_sizes_are_named(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render_clip(**{"label": 0, "rng": np.random.default_rng(0), "num_frames": 8, **wrong})

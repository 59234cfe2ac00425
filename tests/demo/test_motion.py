from __future__ import annotations

import numpy as np
import pytest

from mutualnet3d.data.clip_sampling import Span
from mutualnet3d.demo.motion import (
    CLASS_NAMES,
    CLASSES,
    DEFAULT_CLASSES,
    STRIPED_CLASSES,
    draw_main_path,
    unused_of_style,
)
from mutualnet3d.demo.style import DEFAULT_STYLE, STRIPED_STYLE

FPS = 24


@pytest.mark.slow
def test_single_frames_have_the_same_distribution_in_all_classes() -> None:
    clips, picks = 1500, np.random.default_rng(0)
    motions = [label for label, shape_class in enumerate(CLASSES) if not shape_class.stripes]
    values = np.empty((len(motions), clips, 6))
    for label in motions:
        for clip in range(clips):
            path = draw_main_path(label, np.random.default_rng((label, clip)), 48, 4 / 3, FPS, DEFAULT_STYLE)
            t = picks.integers(48)
            x, y, size, angle = path.x_T[t], path.y_T[t], np.log(path.radius_T[t]), path.angle_T[t]
            values[label, clip] = x, y, abs(x), abs(y), size, np.cos(angle)
    spread, centre = values.std((0, 1)), values.mean((0, 1))
    assert (np.abs(values.mean(1) - centre) < 4.5 * spread / np.sqrt(clips)).all()
    assert (np.abs(values.std(1) / spread - 1) < 0.1).all()
    # The centre is within the frame (half sides 0.667 and 0.5) but for the ends of a few of the fastest paths.
    assert (np.abs(values[..., 0]) < 0.667).mean() > 0.99
    assert (np.abs(values[..., 1]) < 0.5).mean() > 0.96


@pytest.mark.parametrize("seconds", [2, 3, 10])
def test_travel_and_growth_keep_to_their_limits_however_long_the_clip(seconds: int) -> None:
    for seed in range(20):
        right = draw_main_path(
            CLASS_NAMES.index("move_right"), np.random.default_rng(seed), seconds * FPS, 4 / 3, FPS, DEFAULT_STYLE
        )
        steps = np.diff(right.x_T)
        assert (steps > 0).all()
        assert np.ptp(right.x_T) < DEFAULT_STYLE.max_travel_heights
        assert seconds > 2 or steps.mean() * FPS >= DEFAULT_STYLE.speed_heights_per_s[0]
        shrink = draw_main_path(
            CLASS_NAMES.index("shrink"), np.random.default_rng(seed), seconds * FPS, 4 / 3, FPS, DEFAULT_STYLE
        )
        assert (np.diff(shrink.radius_T) < 0).all()
        assert shrink.radius_T[0] / shrink.radius_T[-1] < DEFAULT_STYLE.max_growth


def test_a_tremble_is_an_oscillation_with_more_swings() -> None:
    def swings(name: str, seed: int) -> int:
        rng = np.random.default_rng(seed)
        path = draw_main_path(CLASS_NAMES.index(name), rng, 10 * FPS, 4 / 3, FPS, DEFAULT_STYLE)
        x_T = path.x_T if "horizontally" in name else path.y_T
        return int((np.diff(np.sign(x_T - x_T.mean())) != 0).sum())  # two per swing

    for direction in ("horizontally", "vertically"):
        for seed in range(20):
            assert 15 <= swings(f"oscillate_{direction}", seed) <= 33  # 0.8 to 1.6 Hz for ten seconds
            assert 35 <= swings(f"tremble_{direction}", seed) <= 55  # 1.8 to 2.7 Hz


def test_few_frames_take_a_tremble_for_an_oscillation() -> None:
    """The demo's clips are 16 frames of 12 fps: eight of them tell the two apart, five do not."""

    def turning_points(name: str, frames: int) -> np.ndarray:
        label, span = CLASS_NAMES.index(name), Span(0, 16, 16)
        counts = []
        for seed in range(300):
            path = draw_main_path(label, np.random.default_rng(seed), 16, 1.0, 12, STRIPED_STYLE)
            steps = np.diff(path.x_T[span.frame_indices(frames)])
            counts.append((np.diff(np.sign(steps)) != 0).sum())
        return np.array(counts)

    def best_accuracy(frames: int) -> float:
        slow, fast = (turning_points(f"{motion}_horizontally_level", frames) for motion in ("oscillate", "tremble"))
        return max(((slow < limit).mean() + (fast >= limit).mean()) / 2 for limit in range(8))

    assert best_accuracy(8) > 0.95
    assert best_accuracy(5) < 0.8


def test_striped_classes_are_the_motions_with_each_direction_of_stripes() -> None:
    assert len(STRIPED_CLASSES) == 16
    assert STRIPED_CLASSES[0] == "move_left_upright"
    assert STRIPED_CLASSES[-1] == "tremble_vertically_level"
    assert len(set(CLASS_NAMES)) == len(CLASS_NAMES) == 12 + 20
    assert not any("rotate" in name for name in CLASS_NAMES[12:])


def test_a_striped_class_moves_as_the_plain_one_does() -> None:
    for name in STRIPED_CLASSES:
        motion = name.rpartition("_")[0]
        paths = [
            draw_main_path(CLASS_NAMES.index(of_class), np.random.default_rng(3), 24, 4 / 3, FPS, DEFAULT_STYLE)
            for of_class in (name, motion)
        ]
        np.testing.assert_array_equal(paths[0].x_T, paths[1].x_T)
        np.testing.assert_array_equal(paths[0].y_T, paths[1].y_T)


def test_stripes_keep_their_direction_on_the_screen_however_the_shape_is_turned() -> None:
    upright, level = (CLASSES[CLASS_NAMES.index(f"move_left_{stripes}")] for stripes in ("upright", "level"))
    assert upright.across_stripes(0.0) == 0.0
    assert level.across_stripes(0.25) == np.pi / 2 - 0.25
    assert CLASSES[0].across_stripes(0.25) is None


def test_fields_of_the_style_that_classes_do_not_depend_on() -> None:
    stripes = ["stripe_period_heights", "stripe_texture"]
    assert unused_of_style(DEFAULT_CLASSES) == ["tremble_hz", *stripes]
    assert unused_of_style(["tremble_vertically"]) == stripes
    assert unused_of_style(["grow_level"]) == ["tremble_hz"]
    assert unused_of_style(STRIPED_CLASSES) == []

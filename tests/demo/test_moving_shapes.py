import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from mutualnet3d.demo.moving_shapes import (
    CLASS_NAMES,
    DEFAULT_CLASSES,
    DEFAULT_STYLE,
    MovingShapesStyle,
    draw_main_path,
    make_data_set,
    render_clip,
    write_clip,
)

FPS = 24
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
TINY: dict[str, Any] = {
    "num_train": 20,
    "num_val": 10,
    "seed": 5,
    "height": 24,
    "width": 32,
    "clip_seconds": (0.2, 0.4),
    "classes": CLASS_NAMES,
}


def rng_of(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def label_of(name: str) -> int:
    return CLASS_NAMES.index(name)


def shape_mask_THW(frames_THWC: np.ndarray) -> np.ndarray:
    ground_C = np.median(frames_THWC, axis=(0, 1, 2))
    return np.abs(frames_THWC - ground_C).max(-1) > 12


def centroids_T2(mask_THW: np.ndarray) -> np.ndarray:
    """(x, y) of the shape in frame heights."""
    return np.array([np.argwhere(mask_HW).mean(0)[::-1] for mask_HW in mask_THW]) / mask_THW.shape[1]


def turn_degrees(before_HWC: np.ndarray, after_HWC: np.ndarray) -> int:
    """The turn (clockwise on the screen, -90 to 90) under which rings round the shape agree best."""
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


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    assert make_data_set(folder, **TINY)
    return folder


def test_frames_depend_on_the_generator_alone() -> None:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    first, again, other = (render_clip(3, rng_of(seed), 12) for seed in (1, 1, 2))
    assert first.shape == (12, 72, 96, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert random.getstate() == states[0]
    np.testing.assert_equal(np.random.get_state(), states[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.parametrize(
    ("one", "opposite"),
    [
        ("move_left", "move_right"),
        ("move_up", "move_down"),
        ("rotate_clockwise", "rotate_counterclockwise"),
        ("grow", "shrink"),
    ],
)
def test_a_clip_played_backwards_is_one_of_the_opposite_class(one: str, opposite: str) -> None:
    forwards, backwards = (render_clip(label_of(name), rng_of(4), 60, style=STILL) for name in (one, opposite))
    assert np.array_equal(forwards[::-1], backwards)
    assert not np.array_equal(forwards, backwards)


@pytest.mark.parametrize("name", CLASS_NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_every_second_of_a_clip_shows_its_motion(name: str, seed: int) -> None:
    frames_THWC = render_clip(label_of(name), rng_of(seed, 1), 2 * FPS, style=BARE)
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
        }
        if "oscillate" not in name:
            assert [shown for shown, holds in seen.items() if holds] == [name]
        else:
            assert seen[name]
            assert (spread_y if "horizontally" in name else spread_x) < 0.03
            assert 0.9 < growth < 1.1


def test_single_frames_have_the_same_distribution_in_all_classes() -> None:
    clips, picks = 1500, rng_of(0)
    values = np.empty((len(CLASS_NAMES), clips, 6))
    for label in range(len(CLASS_NAMES)):
        for clip in range(clips):
            path = draw_main_path(label, rng_of(label, clip), 48, 4 / 3, FPS, DEFAULT_STYLE)
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
        right = draw_main_path(label_of("move_right"), rng_of(seed), seconds * FPS, 4 / 3, FPS, DEFAULT_STYLE)
        steps = np.diff(right.x_T)
        assert (steps > 0).all()
        assert np.ptp(right.x_T) < DEFAULT_STYLE.max_travel_heights
        assert seconds > 2 or steps.mean() * FPS >= DEFAULT_STYLE.speed_heights_per_s[0]
        shrink = draw_main_path(label_of("shrink"), rng_of(seed), seconds * FPS, 4 / 3, FPS, DEFAULT_STYLE)
        assert (np.diff(shrink.radius_T) < 0).all()
        assert shrink.radius_T[0] / shrink.radius_T[-1] < DEFAULT_STYLE.max_growth


def test_an_encoded_clip_decodes_to_its_frames(tmp_path: Path) -> None:
    frames_THWC = render_clip(0, rng_of(1), 31)
    write_clip(tmp_path / "clip.mp4", frames_THWC, FPS)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", FPS)
        decoded_THWC = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
    assert decoded_THWC.shape == frames_THWC.shape
    assert np.abs(decoded_THWC.astype(float) - frames_THWC).mean() < 6
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_the_set_has_balanced_shuffled_lists(tiny_set: Path) -> None:
    assert json.loads((tiny_set / "classes.json").read_text()) == {str(i): name for i, name in enumerate(CLASS_NAMES)}
    assert (tiny_set / "test.csv").read_text() == (tiny_set / "val.csv").read_text()
    for split, count in (("train", 20), ("val", 10)):
        rows = [line.split(" ") for line in (tiny_set / f"{split}.csv").read_text().splitlines()]
        labels = [int(label) for _, label in rows]
        assert np.bincount(labels).tolist() == [count // 10] * 10
        assert labels != sorted(labels)
        assert sorted(path for path, _ in rows) == [f"{split}/{i:05d}.mp4" for i in range(count)]
        assert sorted(path.name for path in (tiny_set / split).iterdir()) == [f"{i:05d}.mp4" for i in range(count)]


def test_the_default_classes_are_the_motions_without_rotation(tmp_path: Path) -> None:
    make_data_set(tmp_path, **{**TINY, "classes": DEFAULT_CLASSES, "num_train": 16, "num_val": 8})
    names = json.loads((tmp_path / "classes.json").read_text())
    assert len(names) == 8
    assert list(names.values()) == [name for name in CLASS_NAMES if "rotate" not in name]
    labels = [int(line.split(" ")[1]) for line in (tmp_path / "train.csv").read_text().splitlines()]
    assert np.bincount(labels).tolist() == [2] * 8


def test_files_do_not_depend_on_the_number_of_workers(tiny_set: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    smaller = {**TINY, "num_train": 4, "num_val": 2}
    assert make_data_set(tmp_path, **smaller, num_workers=2, progress=lambda done, total: calls.append((done, total)))
    found, expected = files_of(tmp_path), files_of(tiny_set)
    clips = [name for name in found if name.endswith(".mp4")]
    assert len(clips) == 6
    assert all(found[name] == expected[name] for name in clips)
    assert calls == [(done, 6) for done in range(1, 7)]


def test_a_clip_depends_on_seed_split_and_index_alone(tiny_set: Path, tmp_path: Path) -> None:
    make_data_set(tmp_path, **{**TINY, "num_train": 3, "num_val": 3})
    smaller, larger = files_of(tmp_path), files_of(tiny_set)
    clips = [name for name in smaller if name.endswith(".mp4")]
    assert len({smaller[name] for name in clips}) == len(clips) == 6
    assert all(smaller[name] == larger[name] for name in clips)


def test_a_folder_with_a_set(tmp_path: Path) -> None:
    small = {**TINY, "num_train": 3, "num_val": 2}
    assert make_data_set(tmp_path, **small)
    before = files_of(tmp_path)
    assert not make_data_set(tmp_path, **small)
    with pytest.raises(
        ValueError,
        match=rf"{tmp_path} holds a set with seed=5, style.noise={DEFAULT_STYLE.noise}; asked for seed=6, .*0.3",
    ):
        make_data_set(tmp_path, **{**small, "seed": 6}, style=replace(DEFAULT_STYLE, noise=0.3))
    assert files_of(tmp_path) == before
    assert make_data_set(tmp_path, **{**small, "num_train": 1}, overwrite=True)
    assert [path.name for path in (tmp_path / "train").iterdir()] == ["00000.mp4"]
    (tmp_path / "train" / "00000.mp4").unlink()
    assert make_data_set(tmp_path, **{**small, "num_train": 1})
    (tmp_path / "moving_shapes.json").write_text("{")
    with pytest.raises(ValueError, match="format_version=unreadable"):
        make_data_set(tmp_path, **small)


def test_lists_of_another_data_set_stay(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("video.mp4 3\n")
    with pytest.raises(ValueError, match=r"train\.csv but no moving_shapes\.json"):
        make_data_set(tmp_path, **TINY)
    assert files_of(tmp_path) == {"train.csv": b"video.mp4 3\n"}


def test_an_interrupted_run_is_made_whole_by_the_next(tiny_set: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_data_set(tmp_path, **TINY, progress=interrupt)
    assert sorted(files_of(tmp_path)) == [f"train/{i:05d}.mp4" for i in range(3)]
    assert make_data_set(tmp_path, **TINY)
    assert files_of(tmp_path) == files_of(tiny_set)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_train": -1}, "num_train is -1; allowed: 1 or more"),
        ({"num_val": 0}, "num_val is 0"),
        ({"seed": -2}, "seed is -2"),
        ({"fps": 0}, "fps is 0"),
        (
            {"classes": ("grow", "explode")},
            r"classes is \['grow', 'explode'\]; allowed: two or more",
        ),
        ({"height": 23}, "height is 23; allowed: even"),
        ({"height": 8}, "height is 8; allowed: 16 or more"),
        ({"width": 20}, r"width is 20; allowed: the height \(24\) or more"),
        ({"clip_seconds": (3.0, 2.0)}, r"clip_seconds is \(3.0, 2.0\)"),
        ({"num_workers": 0}, "num_workers is 0"),
    ],
)
def test_wrong_parameters_are_named(wrong: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        make_data_set(tmp_path / "set", **{**TINY, **wrong})
    assert not (tmp_path / "set").exists()


def test_wrong_labels_frames_and_styles_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="label is 10; allowed: 0 to 9"):
        render_clip(10, rng_of(0), 8)
    with pytest.raises(ValueError, match=r"frames_THWC is float64 \(2, 24, 32, 3\)"):
        write_clip(tmp_path / "clip.mp4", np.zeros((2, 24, 32, 3)), FPS)
    with pytest.raises(ValueError, match="width is 31"):
        write_clip(tmp_path / "clip.mp4", np.zeros((2, 24, 31, 3), np.uint8), FPS)
    for wrong in ({"contrast": (0.5, 0.2)}, {"noise": -0.1}, {"growth_per_s": (0.9, 1.2)}, {"flicker": float("nan")}):
        with pytest.raises(ValueError, match=rf"style\.{next(iter(wrong))} is"):
            MovingShapesStyle(**wrong)

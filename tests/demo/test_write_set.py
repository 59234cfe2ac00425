from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mutualnet3d.demo.motion import CLASS_NAMES, DEFAULT_CLASSES, STRIPED_CLASSES
from mutualnet3d.demo.render import render_clip
from mutualnet3d.demo.style import DEFAULT_STYLE
from mutualnet3d.demo.write_set import make_data_set, write_clip

FPS = 24
TINY: dict[str, Any] = {
    "num_train": 20,
    "num_val": 10,
    "seed": 5,
    "height": 24,
    "width": 32,
    "clip_seconds": (0.2, 0.4),
    "classes": CLASS_NAMES[:10],
}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    assert make_data_set(folder, **TINY)
    return folder


def test_an_encoded_clip_decodes_to_its_frames(tmp_path: Path) -> None:
    frames_THWC = render_clip(0, np.random.default_rng(1), 31)
    write_clip(tmp_path / "clip.mp4", frames_THWC, FPS)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", FPS)
        decoded_THWC = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
    assert decoded_THWC.shape == frames_THWC.shape
    assert np.abs(decoded_THWC.astype(float) - frames_THWC).mean() < 6
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_the_set_has_balanced_shuffled_lists(tiny_set: Path) -> None:
    assert json.loads((tiny_set / "classes.json").read_text()) == {
        str(i): name for i, name in enumerate(CLASS_NAMES[:10])
    }
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
    assert list(names.values()) == [name for name in CLASS_NAMES[:10] if "rotate" not in name]
    labels = [int(line.split(" ")[1]) for line in (tmp_path / "train.csv").read_text().splitlines()]
    assert np.bincount(labels).tolist() == [2] * 8


def test_the_manifest_has_what_the_clips_depend_on(tmp_path: Path) -> None:
    """A set that an earlier release wrote is still known as the same one."""
    for name, classes in (("plain", DEFAULT_CLASSES), ("striped", STRIPED_CLASSES)):
        make_data_set(tmp_path / name, **{**TINY, "classes": classes, "num_train": 1, "num_val": 1})
    plain, striped = (json.loads((tmp_path / name / "moving_shapes.json").read_text()) for name in ("plain", "striped"))
    new = {"style.tremble_hz", "style.stripe_period_heights", "style.stripe_texture"}
    assert striped.keys() - plain.keys() == new
    assert striped["style.tremble_hz"] == [1.8, 2.7]


def test_files_do_not_depend_on_the_number_of_workers(tiny_set: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    smaller = {**TINY, "num_train": 4, "num_val": 2}
    assert make_data_set(tmp_path, **smaller, num_workers=2, progress=lambda done, total: calls.append((done, total)))
    files, expected = files_of(tmp_path), files_of(tiny_set)
    clips = [name for name in files if name.endswith(".mp4")]
    assert len(clips) == 6
    assert all(files[name] == expected[name] for name in clips)
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


def test_arrays_that_are_no_frames_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"frames_THWC is float64 \(2, 24, 32, 3\)"):
        write_clip(tmp_path / "clip.mp4", np.zeros((2, 24, 32, 3)), FPS)
    with pytest.raises(ValueError, match="width is 31"):
        write_clip(tmp_path / "clip.mp4", np.zeros((2, 24, 31, 3), np.uint8), FPS)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_clip_that_cannot_be_written_is_named(tmp_path: Path, num_workers: int) -> None:
    (tmp_path / "train" / "00001.mp4").mkdir(parents=True)
    with pytest.raises(OSError, match=rf"{tmp_path}/train/00001\.mp4: IsADirectoryError: "):
        make_data_set(tmp_path, **TINY, num_workers=num_workers)

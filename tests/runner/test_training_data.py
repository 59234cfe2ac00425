"""Whole runs on data as users have it: broken videos, Something-Something, augmentation, names as labels."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from iopath.common.file_io import PathHandler, g_pathmgr
from PIL import Image

import mutualnet3d as m3
from mutualnet3d.data.bad_videos import TooManyBadVideos
from mutualnet3d.engine.checkpoint import load_checkpoint
from mutualnet3d.runner import test as run_test
from mutualnet3d.runner import train as run_train
from tests.conftest import SHARED, write_video
from tests.runner.runs import CFG, make_cfg, records_of


def bad_videos_of(cfg):
    with open(os.path.join(cfg.OUTPUT_DIR, "bad_videos.csv"), newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def broken_data(tiny_data, tmp_path):
    """tiny_data with 3 of 16 training videos broken and one missing, one of 6 test videos broken and one missing."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in os.listdir(tiny_data):
        os.symlink(tiny_data / name, folder / name)
    contents = {
        "train_3": b"no video",
        "train_8": b"",
        "train_13": (tiny_data / "train_13.mp4").read_bytes()[:400],
        "val_2": b"no video",
    }
    for name, content in contents.items():
        os.remove(folder / f"{name}.mp4")
        (folder / f"{name}.mp4").write_bytes(content)
    os.remove(folder / "train_5.mp4")
    os.remove(folder / "val_4.mp4")
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_training_goes_on_without_broken_videos(tiny_overrides, broken_data, workers):
    settings = {"DATA__MAX_BAD_FRACTION": 0.3, "DATA_LOADER__NUM_WORKERS": workers, "SOLVER__MAX_EPOCH": 2}
    cfg = make_cfg(tiny_overrides(DATA__PATH_TO_DATA_DIR=str(broken_data), **settings))
    run_train(cfg)
    rows = bad_videos_of(cfg)
    assert sorted(os.path.basename(row["path"]) for row in rows) == [
        "train_13.mp4", "train_3.mp4", "train_5.mp4", "train_8.mp4",
    ]  # fmt: skip
    reasons = {os.path.basename(row["path"]): row["reason"] for row in rows}
    assert reasons["train_5.mp4"] == "missing"
    assert all("cannot be decoded: InvalidDataError" in reasons[f"train_{number}.mp4"] for number in (3, 8, 13))
    assert {row["listed_at"] for row in rows} == {f"{broken_data}/train.csv:{line}" for line in (4, 6, 9, 14)}
    (trained,) = records_of(cfg.OUTPUT_DIR, "trained")
    assert (trained["listed"], trained["found"], trained["bad"], trained["damaged"]) == (16, 15, 3, 0)
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert f"train: found 15 of 16 videos; the first that is missing: {broken_data}/train_5.mp4" in log
    assert log.count("bad video (train") == 3


def test_a_run_with_broken_videos_goes_on_as_if_it_had_not_been_killed(tiny_overrides, broken_data, tmp_path):
    """Stopped after each of its first steps, among them those that find the bad videos."""
    settings = {"DATA__PATH_TO_DATA_DIR": str(broken_data), "DATA__MAX_BAD_FRACTION": 0.3, "SOLVER__MAX_EPOCH": 2}
    whole = make_cfg(tiny_overrides(**settings, OUTPUT_DIR=str(tmp_path / "whole")))
    expected = load_checkpoint(run_train(whole))
    cfg = make_cfg(tiny_overrides(**settings, TRAIN__CHECKPOINT_STEPS=1, LOG_PERIOD=100))

    class Killed(Exception):
        pass

    def kill_at(step):
        def at_step(self, seed, number):
            if number == step:
                raise Killed
            return original(self, seed, number)

        return at_step

    original = m3.SubnetSpace.at_step
    with pytest.MonkeyPatch.context() as patch:
        for step in range(1, 5):
            patch.setattr(m3.SubnetSpace, "at_step", kill_at(step))
            with pytest.raises(Killed):
                run_train(cfg)
    resumed = load_checkpoint(run_train(cfg))
    (position,), (expected_position,) = (
        [process["position"] for process in content["processes"]] for content in (resumed, expected)
    )
    assert position == expected_position > 6 * 4
    assert all(torch.equal(value, resumed["model_state"][name]) for name, value in expected["model_state"].items())
    assert sorted(row["path"] for row in bad_videos_of(cfg)) == sorted(row["path"] for row in bad_videos_of(whole))


def test_too_many_bad_videos_stop_the_run_and_say_why(tiny_overrides, broken_data, run_tool):
    overrides = tiny_overrides(DATA__PATH_TO_DATA_DIR=str(broken_data), DATA__MAX_BAD_FRACTION=0.15)
    with pytest.raises(TooManyBadVideos, match="1 are missing and 2 so far cannot be decoded"):
        run_train(make_cfg(overrides))
    status, _, errors = run_tool("tools/run_net.py", "--cfg", CFG, *overrides)
    assert status == 2
    assert "more than DATA.MAX_BAD_FRACTION, 0.15, allows; the last: " in errors


def test_testing_says_over_how_many_videos_it_is(tiny_overrides, tiny_data, broken_data, capsys):
    settings = {"DATA__MAX_BAD_FRACTION": 0.3, "SOLVER__MAX_EPOCH": 1, "TRAIN__EVAL_PERIOD": 1}
    cfg = make_cfg(tiny_overrides(DATA__PATH_TO_DATA_DIR=str(broken_data), TEST__NUM_ENSEMBLE_VIEWS=2, **settings))
    run_train(cfg)
    table = run_test(cfg)
    assert (table.context["num_videos"], table.context["num_found"], table.context["num_listed"]) == (4, 5, 6)
    for row in table.rows:
        assert row.top1 in (0.0, 25.0, 50.0, 75.0, 100.0)  # of four videos
    assert "over 4 of 6 listed videos, 1 x 1 or 2 x 1 views." in capsys.readouterr().out
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert "test: the accuracy is over 4 of 6 listed videos: 1 are missing, 1 could not be decoded" in log
    assert [(row["split"], os.path.basename(row["path"])) for row in bad_videos_of(cfg) if row["split"] != "train"] == [
        ("val", "val_4.mp4"), ("val", "val_2.mp4"), ("test", "val_4.mp4"), ("test", "val_2.mp4"),
    ]  # fmt: skip
    (validation,) = records_of(cfg.OUTPUT_DIR, "validation")
    assert (validation["listed"], validation["found"], validation["bad"], validation["damaged"]) == (6, 5, 1, 0)


def test_a_test_set_of_which_nothing_can_be_decoded_is_an_error(tiny_overrides, tiny_data, tmp_path):
    cfg = make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=1))
    run_train(cfg)
    for name in ("train.csv", *(f"train_{number}.mp4" for number in range(16))):
        os.symlink(tiny_data / name, tmp_path / name)
    (tmp_path / "a.mp4").write_text("no video")
    (tmp_path / "test.csv").write_text("a.mp4 0\n")
    with pytest.raises(ValueError, match="none of 1 videos could be decoded; there is no accuracy"):
        run_test(make_cfg(tiny_overrides(DATA__PATH_TO_DATA_DIR=str(tmp_path))))


TEMPLATES = ["Moving [something] down", "Pretending to put [something] on [something]"]


@pytest.fixture(scope="module")
def ssv2_frames():
    """Frames of 8 training and 4 validation videos of two classes (bright or dark)."""
    rng = np.random.default_rng(0)
    return {
        split: [
            (str(number), number % 2, rng.integers(0, 100, (12, 48, 64, 3), np.uint8) + np.uint8(120 * (number % 2)))
            for number in range(start, start + count)
        ]
        for split, start, count in (("train", 100, 8), ("validation", 200, 4))
    }


def write_ssv2(folder, videos):
    labels = {template.replace("[", "").replace("]", ""): str(label) for label, template in enumerate(TEMPLATES)}
    (folder / "something-something-v2-labels.json").write_text(json.dumps(labels))
    for split, entries in videos.items():
        content = [{"id": name, "label": "any", "template": TEMPLATES[label]} for name, label, _ in entries]
        (folder / f"something-something-v2-{split}.json").write_text(json.dumps(content))


SSV2 = {"TRAIN__DATASET": "ssv2", "TEST__DATASET": "ssv2", "DATA__RANDOM_FLIP": False}


@pytest.mark.slow
def test_something_something_trains_and_tests_from_webm(tiny_overrides, ssv2_frames, tmp_path):
    folder = tmp_path / "ssv2"
    (folder / "20bn-something-something-v2").mkdir(parents=True)
    write_ssv2(folder, ssv2_frames)
    for name, _, frames in (entry for entries in ssv2_frames.values() for entry in entries):
        path = folder / "20bn-something-something-v2" / f"{name}.webm"
        write_video(path, frames, fps=12, codec="libvpx-vp9", crf="20", deadline="realtime")
    cfg = make_cfg(tiny_overrides(**SSV2, DATA__PATH_TO_DATA_DIR=str(folder), SOLVER__MAX_EPOCH=12))
    run_train(cfg)
    table = run_test(cfg)
    assert (table.context["num_videos"], table.context["num_listed"]) == (4, 4)
    losses = [record["losses"]["w1.0-s32-t4"] for record in records_of(cfg.OUTPUT_DIR, "train")]
    assert np.mean(losses[-4:]) < 0.5 * losses[0]  # bright against dark: a few steps tell them apart
    assert ".webm videos, listed in" in Path(cfg.OUTPUT_DIR, "log.txt").read_text()


def test_something_something_trains_and_tests_from_pictures(tiny_overrides, ssv2_frames, tmp_path):
    folder = tmp_path / "ssv2"
    for split, entries in ssv2_frames.items():
        lines = ["original_vido_id video_id frame_id path labels"]
        for name, _, frames in entries:
            (folder / "frames" / name).mkdir(parents=True)
            for number, frame in enumerate(frames):
                path = f"frames/{name}/{name}_{number:06d}.jpg"
                Image.fromarray(frame).save(folder / path)
                lines.append(f'{name} {name} {number} {path} ""')
        (folder / {"train": "train.csv", "validation": "val.csv"}[split]).write_text("\n".join(lines) + "\n")
    write_ssv2(folder, ssv2_frames)
    cfg = make_cfg(tiny_overrides(**SSV2, DATA__PATH_TO_DATA_DIR=str(folder), TEST__NUM_ENSEMBLE_VIEWS=2))
    run_train(cfg)
    table = run_test(cfg)
    assert (table.context["num_videos"], str(table.views)) == (4, "2 x 1")
    assert "pictures, listed in" in Path(cfg.OUTPUT_DIR, "log.txt").read_text()


def test_labels_may_be_names(tiny_overrides, tiny_data, tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps({"dark room": 0, "bright room": 1}))
    for split in ("train", "val", "test"):
        lines = (tiny_data / f"{split}.csv").read_text().splitlines()
        named = [line.replace(" 0", ",dark room").replace(" 1", ",bright room") for line in lines]
        (tmp_path / f"{split}.csv").write_text("path,label\n" + "\n".join(named) + "\n")
    places = {"DATA__PATH_TO_DATA_DIR": str(tmp_path), "DATA__PATH_PREFIX": str(tiny_data)}
    by_name = make_cfg(tiny_overrides(**places, DATA__LABEL_FILE=str(tmp_path / "labels.json"), SOLVER__MAX_EPOCH=1))
    by_number = make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=1, OUTPUT_DIR=str(tmp_path / "by_number")))
    states = [load_checkpoint(run_train(cfg))["model_state"] for cfg in (by_name, by_number)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_lists_and_videos_may_be_where_a_path_handler_knows(tiny_overrides, tiny_data):
    """Paths such as s3:// or manifold://, once a handler is registered with iopath."""

    class Elsewhere(PathHandler):
        def _get_supported_prefixes(self):
            return ["elsewhere://"]

        def _get_local_path(self, path, force=False, **options):
            return str(tiny_data / path.removeprefix("elsewhere://tiny/"))

        def _isfile(self, path, **options):
            return os.path.isfile(self._get_local_path(path))

        def _open(self, path, mode="r", buffering=-1, **options):
            return open(self._get_local_path(path), mode, encoding=None if "b" in mode else "utf-8")

    handler = Elsewhere()
    g_pathmgr.register_handler(handler)
    try:
        cfg = make_cfg(tiny_overrides(DATA__PATH_TO_DATA_DIR="elsewhere://tiny", SOLVER__MAX_EPOCH=1))
        run_train(cfg)
    finally:
        g_pathmgr._path_handlers.pop("elsewhere://")
    (trained,) = records_of(cfg.OUTPUT_DIR, "trained")
    assert (trained["listed"], trained["found"], trained["bad"]) == (16, 16, 0)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"AUG__ENABLE": True}, marks=pytest.mark.slow),
        pytest.param({"AUG__ENABLE": True, "AUG__AA_TYPE": "", "AUG__RE_PROB": 0.0}, marks=pytest.mark.slow),
        pytest.param({"DATA__COLOR_RND_GRAYSCALE": 1.0}, marks=pytest.mark.slow),
        {"MIXUP__ENABLE": True},
        pytest.param(
            {"DATA__TRAIN_JITTER_SCALES_RELATIVE": [0.2, 0.5], "DATA__TRAIN_JITTER_ASPECT_RELATIVE": [0.75, 1.3333]},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_augmentations_change_the_training_and_it_stays_reproducible(tiny_overrides, tmp_path, changes):
    def losses(name, **settings):
        cfg = make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=1, OUTPUT_DIR=str(tmp_path / name), **settings))
        run_train(cfg)
        return [record["losses"] for record in records_of(cfg.OUTPUT_DIR, "train")]

    unchanged, first, again = losses("unchanged"), losses("first", **changes), losses("again", **changes)
    assert first == again
    assert first[0]["w1.0-s32-t4"] != unchanged[0]["w1.0-s32-t4"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"AUG__ENABLE": True, "AUG__AA_TYPE": "augmix"}, "AUG\\.AA_TYPE: rand_augment must be '' or a string such as"),
        ({"MIXUP__ENABLE": True, "MIXUP__PROB": 2.0}, r"MIXUP\.PROB is 2\.0; it must be in \[0, 1\]"),
    ],
)
def test_augmentations_that_there_are_not(tiny_overrides, changes, message):
    with pytest.raises(ValueError, match=message):
        run_train(make_cfg(tiny_overrides(**changes)))


@pytest.mark.skipif(not SHARED.exists(), reason=f"the real clips are not at {SHARED}")
def test_the_surveillance_clips_train_from_their_lists(tiny_overrides, tmp_path):
    folder = SHARED / "videos" / "surv_fight"
    lines = (folder / "train.csv").read_text().splitlines()
    assert len(lines) == 216
    (tmp_path / "train.csv").write_text("\n".join(lines[::18]) + "\n")  # twelve, for the time that it takes
    places = {"DATA__PATH_TO_DATA_DIR": str(tmp_path), "DATA__PATH_PREFIX": str(folder)}
    cfg = make_cfg(tiny_overrides(**places, SOLVER__MAX_EPOCH=1))
    run_train(cfg)
    (trained,) = records_of(cfg.OUTPUT_DIR, "trained")
    assert (trained["listed"], trained["found"], trained["bad"], trained["step"]) == (12, 12, 0, 3)

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest

import mutualnet3d as m3
from mutualnet3d.data import find_videos
from mutualnet3d.data.bad_videos import BadVideoFile, TooManyBadVideos
from mutualnet3d.data.build_split import (
    Split,
    check_classes,
    is_ssv2,
    read_class_names,
    read_split,
    steps_per_epoch,
    warn_of_empty_classes,
)
from mutualnet3d.data.outage import DataAway
from tests.conftest import numbered_frames, write_video

CFG = "X3D_tiny_mutual.yaml"


def make_cfg(folder, *words, num_classes=2):
    settings = ["DATA.PATH_TO_DATA_DIR", str(folder), "MODEL.NUM_CLASSES", num_classes, "DATA.MAX_BAD_FRACTION", 0.2]
    return m3.load_cfg(CFG, [*settings, *words])


@pytest.fixture
def bad_videos(tmp_path):
    return BadVideoFile(str(tmp_path / "bad_videos.csv"))


@pytest.fixture
def lists(tmp_path):
    """Lists of 8 training and 6 test videos, of which the second of each is missing."""
    for split, count in (("train", 8), ("test", 6)):
        names = [f"{split}_{index}.mp4" for index in range(count)]
        (tmp_path / f"{split}.csv").write_text("".join(f"{name} {place % 2}\n" for place, name in enumerate(names)))
        for place, name in enumerate(names):
            if place != 1:
                (tmp_path / name).touch()
    return tmp_path


def test_missing_videos_are_counted_and_written_down(lists, bad_videos):
    split = read_split(make_cfg(lists), "train", bad_videos)
    assert (split.name, len(split.videos), split.num_in_list, split.bad.num_missing) == ("train", 7, 8, 1)
    assert str(split) == "train: found 7 of 8 videos"
    assert [(entry.path, entry.reason) for entry in bad_videos.entries("train")] == [
        (str(lists / "train_1.mp4"), "missing")
    ]
    with pytest.raises(TooManyBadVideos, match=r"train: of 8 listed videos 1 are missing .* 0\.1, allows"):
        read_split(make_cfg(lists, "DATA.MAX_BAD_FRACTION", 0.1), "train", bad_videos)
    cfg = make_cfg(lists, "DATA.MAX_BAD_FRACTION", 0.1)
    assert len(read_split(cfg, "test", bad_videos).videos) == 5  # the limit is of the training list


@pytest.mark.parametrize(("split", "least"), [("train", 7), ("val", 1)])
def test_videos_that_a_training_began_with_are_waited_for(lists, bad_videos, monkeypatch, split, least):
    monkeypatch.setattr(find_videos, "_FIRST_PAUSE", 0.01)
    (lists / "train.csv").rename(lists / f"{split}.csv")
    names = [name for name in os.listdir(lists) if name.startswith("train_")]
    cfg = make_cfg(lists, "DATA.DISK_TIMEOUT", 30.0)
    monkeypatch.setattr(find_videos.time, "sleep", lambda _: [(lists / name).touch() for name in names[:least]])
    for name in names:
        (lists / name).unlink()
    assert len(read_split(cfg, split, bad_videos, checkpoint="step_1.pyth").videos) == least
    (lists / names[0]).unlink()
    monkeypatch.undo()
    monkeypatch.setattr(find_videos, "_FIRST_PAUSE", 0.01)
    cfg = make_cfg(lists, "DATA.DISK_TIMEOUT", 0.02)
    away = f"{split}: found .*; enough were there when the training of step_1.pyth began: their disk is away"
    if split == "train":
        (lists / names[1]).unlink()
    with pytest.raises(DataAway, match=away):
        read_split(cfg, split, bad_videos, checkpoint="step_1.pyth")
    assert [entry for entry in bad_videos.entries(split) if "away" in entry.reason] == []
    for words in (["DATA.DISK_TIMEOUT", 0.0], []):
        with pytest.raises(TooManyBadVideos):
            read_split(make_cfg(lists, *words), split, bad_videos, checkpoint="step_1.pyth" if words else None)


def test_some_videos_of_the_test_list_are_drawn_by_the_seed(lists, bad_videos):
    drawn = []
    for seed in (0, 0, 1):
        split = read_split(make_cfg(lists, "TEST.NUM_VIDEOS", 4, "RNG_SEED", seed), "test", bad_videos)
        assert (split.bad.num_listed, split.num_in_list) == (4, 6)
        drawn.append([video.listed_at for video in split.videos])
        assert drawn[-1] == sorted(drawn[-1])
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_digest_stands_for_names_labels_and_order(lists, bad_videos, tmp_path):
    split = read_split(make_cfg(lists), "test", bad_videos)
    moved = tmp_path / "moved"
    shutil.copytree(lists, moved, ignore=shutil.ignore_patterns("moved"))
    assert read_split(make_cfg(moved), "test", bad_videos).digest == split.digest
    assert len(split.digest) == 16
    turned = Split("test", split.videos[::-1], split.bad, 6)
    (moved / "test.csv").write_text((moved / "test.csv").read_text().replace("test_2.mp4 0", "test_2.mp4 1"))
    other = read_split(make_cfg(moved), "test", bad_videos)
    assert len({split.digest, turned.digest, other.digest}) == 3


def test_steps_are_whole_batches(lists, bad_videos):
    split = read_split(make_cfg(lists), "train", bad_videos)
    assert [steps_per_epoch(make_cfg(lists, "TRAIN.BATCH_SIZE", size), split) for size in (1, 2, 3, 7)] == [7, 3, 2, 1]
    with pytest.raises(ValueError, match=r"TRAIN\.BATCH_SIZE is 8, but the training list has only 7 videos"):
        steps_per_epoch(make_cfg(lists, "TRAIN.BATCH_SIZE", 8), split)


def test_a_classifier_has_the_classes_of_the_training_data(lists, bad_videos, caplog):
    """The file of class names counts too: a class of it may have no video in this list."""
    split = read_split(make_cfg(lists), "train", bad_videos)
    assert split.num_videos_K.tolist() == [4, 4]  # those that are listed, missing ones too
    check_classes(make_cfg(lists), split)
    warn_of_empty_classes(make_cfg(lists), split)
    assert not [record for record in caplog.records if record.levelname == "WARNING" and "classes" in record.message]
    with pytest.raises(
        ValueError,
        match=r"MODEL\.NUM_CLASSES is 400, but the list of train in .* has labels up to 1: set MODEL\.NUM_CLASSES 2, "
        r"or DATA\.ALLOW_UNUSED_CLASSES True",
    ):
        check_classes(make_cfg(lists, num_classes=400), split)
    check_classes(make_cfg(lists, "DATA.ALLOW_UNUSED_CLASSES", True, num_classes=400), split)
    warn_of_empty_classes(make_cfg(lists, num_classes=400), split)
    assert caplog.records[-1].getMessage() == "train: the list has videos of 2 of 400 classes"
    (lists / "labels.json").write_text('{"a": 0, "b": 1, "c": 2}')
    check_classes(make_cfg(lists, num_classes=3), split)
    with pytest.raises(ValueError, match=r"labels up to 1 and .*labels\.json names 3: set MODEL\.NUM_CLASSES 3"):
        check_classes(make_cfg(lists, num_classes=4), split)
    with pytest.raises(
        ValueError, match="label must be a class from 0 to 0, got 1"
    ):  # labels that are too large are refused where they stand
        read_split(make_cfg(lists, num_classes=1), "train", bad_videos)


def test_splits_may_be_of_different_data_sets(lists):
    cfg = make_cfg(lists, "TEST.DATASET", "ssv2")
    assert [is_ssv2(cfg, split) for split in ("train", "val", "test")] == [False, False, True]
    with pytest.raises(FileNotFoundError, match="no list of the split 'test' in"):
        read_split(cfg, "test", BadVideoFile(os.path.join(lists, "bad.csv")))


def test_class_names_of_something_something_and_of_a_label_file(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps({"Pushing something": "0", "Pulling something": "1"}))
    words = ["DATA.PATH_TO_DATA_DIR", str(tmp_path), "MODEL.NUM_CLASSES", 3]
    ssv2 = m3.load_cfg("SLOW_8x8_R50_ssv2.yaml", words)
    assert read_class_names(ssv2) == ["Pushing something", "Pulling something", "2"]
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    assert read_class_names(m3.load_cfg(CFG, [*words, "DATA.LABEL_FILE", str(tmp_path / "names.txt")])) == [
        "a",
        "b",
        "c",
    ]
    from_file = read_class_names(m3.load_cfg(CFG, words), ("x", "y", "z"))  # a file goes before the weights
    assert from_file == ["Pushing something", "Pulling something", "2"]
    (tmp_path / "labels.json").unlink()
    assert read_class_names(m3.load_cfg(CFG, words), ("x", "y", "z")) == ["x", "y", "z"]
    assert read_class_names(m3.load_cfg(CFG, words)) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["DATA.SKIP_ROWS", 1000], ValueError, r"train\.csv: the list is empty; .* \(DATA\.SKIP_ROWS 1000\)$"),
        (["MODEL.NUM_CLASSES", 1], ValueError, r"train\.csv:2: label must be .*, got 1.* \(MODEL\.NUM_CLASSES 1\)$"),
        (["DATA.LABEL_FILE", "none.txt"], FileNotFoundError, r"no file of label .* \(DATA\.LABEL_FILE 'none\.txt'\)$"),
        (["DATA.LABEL_FILE", "/dev/zero"], ValueError, r"/dev/zero: .* a device \(DATA\.LABEL_FILE '/dev/zero'\)$"),
        (
            ["DATA.PATH_PREFIX", "none"],
            TooManyBadVideos,
            r"the first that is missing .* \(DATA\.PATH_PREFIX 'none'\)$",
        ),
    ],
)
def test_errors_of_a_list_name_the_keys_that_say_how_it_is_read(lists, bad_videos, words, kind, message):
    with pytest.raises(kind, match=message):
        read_split(make_cfg(lists, *words), "train", bad_videos)


def test_a_clip_that_is_longer_than_most_videos_is_told(lists, bad_videos, caplog):
    for place in range(8):
        if place != 1:
            write_video(lists / f"train_{place}.mp4", numbered_frames(10 if place else 60), fps=10)
    words = ["DATA.NUM_FRAMES", 8, "DATA.SAMPLING_RATE", 5, "DATA.TARGET_FPS", 20.0]  # 2 s
    ran = []

    def run_once(function):
        ran.append(function())
        return ran[-1]

    with caplog.at_level("WARNING", "mutualnet3d"):
        read_split(make_cfg(lists, *words), "train", bad_videos, run_once)
    assert len(ran) == 2  # the search and this
    assert [record.getMessage() for record in caplog.records] == [
        "train: a clip spans 2.00 s, but 6 of 7 videos that were looked at are shorter, their median is 1.00 s: past "
        "the end of a video its last frame is repeated (DATA.NUM_FRAMES 8 * DATA.SAMPLING_RATE 5 / DATA.TARGET_FPS 20)"
    ]
    caplog.clear()
    read_split(make_cfg(lists, *words, "DATA.SAMPLING_RATE", 2), "train", bad_videos)
    assert not caplog.records


def test_videos_that_are_not_looked_for_count_as_there(lists, bad_videos, caplog):
    with caplog.at_level("INFO", logger="mutualnet3d"):
        split = read_split(make_cfg(lists, "DATA.FIND_VIDEOS", "none"), "train", bad_videos)
    assert (len(split.videos), split.bad.num_missing, split.bad.num_listed) == (8, 0, 8)
    assert "train: 8 videos, none of which was looked for" in caplog.text
    assert bad_videos.entries("train") == []


def test_a_search_is_kept_for_later_runs(lists, bad_videos, caplog, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(lists / "cache"))
    cfg = make_cfg(lists, "DATA.FIND_VIDEOS", "cached")
    (lists / "cache").mkdir()
    os.utime(lists, ns=(10**18, 10**18))
    with caplog.at_level("INFO", logger="mutualnet3d"):
        first = read_split(cfg, "test", bad_videos)
        assert "were looked for before" not in caplog.text
        os.utime(lists, ns=(10**18, 10**18))  # bad_videos.csv has come into the folder
        assert read_split(cfg, "test", bad_videos).videos == first.videos
    assert "the videos were looked for before" in caplog.text
    assert len(first.videos) == 5


def test_the_digest_is_that_of_all_names_at_once(lists, bad_videos, monkeypatch):
    split = read_split(make_cfg(lists), "train", bad_videos)
    names = "\n".join(f"train_{number}.mp4 {number % 2}" for number in (0, 2, 3, 4, 5, 6, 7))
    expected = hashlib.sha256(names.encode()).hexdigest()[:16]
    monkeypatch.setattr("mutualnet3d.data.build_split._CHUNK", 3)
    assert split.digest == expected

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from mutualnet3d.data.label_names import read_label_names
from mutualnet3d.data.lists import read_kinetics_list
from mutualnet3d.data.make_lists import SplitCount, lists_of_folders, lists_of_kinetics


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


# ---- folders ---------------------------------------------------------------------------------------------------------


def test_split_folders(tmp_path):
    root = touch(
        tmp_path / "set",
        "train/run/a.mp4",
        "train/run/deep/b.AVI",
        "train/air guitar/c.webm",
        "train/air guitar/notes.txt",
        "train/.cache/x.mp4",
        "val/run/d.mp4",
        "val/air guitar/e.mov",
    )
    counts = lists_of_folders(str(root), str(root))
    assert [str(count) for count in counts] == ["train: 3 videos, 2 classes", "val: 2 videos, 2 classes"]
    assert lines(root / "train.csv") == ['"train/air guitar/c.webm" 0', "train/run/a.mp4 1", "train/run/deep/b.AVI 1"]
    assert lines(root / "val.csv") == ['"val/air guitar/e.mov" 0', "val/run/d.mp4 1"]
    assert lines(root / "test.csv") == lines(root / "val.csv")
    assert json.loads((root / "labels.json").read_text()) == {"air guitar": 0, "run": 1}


def test_folders_of_pictures_are_videos_where_a_class_has_no_files(tmp_path):
    root = touch(tmp_path / "set", "a/one/1.jpg", "a/one/2.jpg", "a/two/1.png", "b/x.mp4", "b/y.mp4", "b/thumbs/1.jpg")
    lists_of_folders(str(root), str(root))
    assert sorted(lines(root / "train.csv") + lines(root / "val.csv")) == [
        "a/one 0",
        "a/two 0",
        "b/x.mp4 1",
        "b/y.mp4 1",
    ]
    touch(root, "c/1.jpg")  # a picture of the class, and no video of it
    with pytest.raises(ValueError, match=r"set/c: no video of class 'c'; looked for .*, and folders of pictures"):
        lists_of_folders(str(root), str(root))


def test_a_test_folder_has_its_own_list(tmp_path):
    root = touch(tmp_path / "set", "train/a/1.mp4", "train/b/2.mp4", "val/a/3.mp4", "test/b/4.mp4")
    counts = lists_of_folders(str(root), str(tmp_path / "lists"))
    assert counts[2] == SplitCount("test", num_found=1, num_listed=1, num_classes=1)
    # Outside the lists' folder paths are absolute.
    assert lines(tmp_path / "lists" / "test.csv") == [f"{root}/test/b/4.mp4 1"]
    assert lines(tmp_path / "lists" / "val.csv") == [f"{root}/val/a/3.mp4 0"]


def class_folders(root: Path, **counts: int) -> Path:
    return touch(root, *(f"{name}/{index:02d}.mp4" for name, count in counts.items() for index in range(count)))


def test_classes_are_split_by_the_fraction_and_the_seed(tmp_path):
    root = class_folders(tmp_path / "set", run=10, jump=5, swim=2, once=1)
    counts = lists_of_folders(str(root), str(root), val_fraction=0.3)
    assert [(count.num_found, count.num_classes) for count in counts] == [(12, 4), (6, 3)]  # 7+3+1+1 and 3+2+1+0
    first = lines(root / "train.csv"), lines(root / "val.csv")
    assert sorted(first[0] + first[1]) == sorted(
        f"{name}/{index:02d}.mp4 {label}"
        for label, (name, count) in enumerate([("jump", 5), ("once", 1), ("run", 10), ("swim", 2)])
        for index in range(count)
    )
    assert sum(line.startswith("run/") for line in first[1]) == 3
    assert sum(line.startswith("swim/") for line in first[1]) == 1
    assert "once/00.mp4 1" in first[0]

    lists_of_folders(str(root), str(root), val_fraction=0.3)
    assert (lines(root / "train.csv"), lines(root / "val.csv")) == first
    lists_of_folders(str(root), str(root), val_fraction=0.3, seed=1)
    assert lines(root / "val.csv") != first[1]

    class_folders(root, another=4)
    lists_of_folders(str(root), str(root), val_fraction=0.3)
    videos = [line.split()[0] for line in lines(root / "val.csv") if not line.startswith("another/")]
    assert videos == [line.split()[0] for line in first[1]]  # the other classes' draw is as it was


def test_train_and_val_may_be_names_of_classes(tmp_path):
    root = class_folders(tmp_path / "vehicles", bus=2, train=2)
    lists_of_folders(str(root), str(root))
    assert json.loads((root / "labels.json").read_text()) == {"bus": 0, "train": 1}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.mp4"], r"set: no class folders; expected one folder for each class, with its videos"),
        (["a/1.mp4", "a/2.mp4", "b/readme.txt"], r"set/b: no video of class 'b'; looked for \.mp4 \.avi"),
        (["a/1.mp4", "a/2.mp4"], r"set: expected two classes or more, got 'a'"),
        (["a/1.mp4", "b/2.mp4"], r"set: no class has a second video; nothing is left for validation"),
        (["train/a/1.mp4", "train/b/2.mp4"], r"set has a folder train but no val; expected both"),
        (
            ["train/a/1.mp4", "train/b/2.mp4", "val/a/3.mp4", "val/c/4.mp4"],
            r"set/val: train has no class 'c'; its classes: a, b",
        ),
    ],
)
def test_folders_that_make_no_lists(tmp_path, names, message):
    root = touch(tmp_path / "set", *names)
    with pytest.raises(ValueError, match=message):
        lists_of_folders(str(root), str(tmp_path / "lists"))
    assert not (tmp_path / "lists").exists()


@pytest.mark.parametrize("fraction", [0, 1, -0.1])
def test_fraction_out_of_range(tmp_path, fraction):
    with pytest.raises(ValueError, match=rf"val_fraction is {fraction}; allowed: more than 0, less than 1"):
        lists_of_folders(str(tmp_path), str(tmp_path), val_fraction=fraction)


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder at .*none"):
        lists_of_folders(str(tmp_path / "none"), str(tmp_path))


def test_what_is_passed_over_is_said(tmp_path, caplog):
    root = touch(
        tmp_path / "set", "a/1.mp4", "a/2.MTS", "a/thumbs/1.jpg", "a/thumbs/2.jpg", "b/3.rmvb", "b/x.zip", "c.vob"
    )
    touch(root, "b/LICENSE", "b/.hidden.txt", "pictures/one/1.jpg", "pictures/two/1.jpg", "pictures/Thumbs.db")
    with caplog.at_level(logging.WARNING):
        lists_of_folders(str(root), str(root))
    assert [record.getMessage() for record in caplog.records] == [
        f"{root}: 5 files passed over, no videos by their names: 2 .jpg (a/thumbs/1.jpg), 1 .db (pictures/Thumbs.db), "
        "1 .zip (b/x.zip), 1 no extension (b/LICENSE)",
        f"{root}: 1 videos are in no class folder and are left out (c.vob)",
    ]
    assert sorted(lines(root / "train.csv") + lines(root / "val.csv")) == [
        "a/1.mp4 0",
        "a/2.MTS 0",
        "b/3.rmvb 1",
        "pictures/one 2",
        "pictures/two 2",
    ]
    caplog.clear()
    split = touch(tmp_path / "split", "train/a/1.mp4", "train/b/2.mp4", "val/a/3.mp4", "more/b/4.mp4")
    with caplog.at_level(logging.WARNING):
        lists_of_folders(str(split), str(split))
    assert f"{split}: folders beside train, val and test are left out: more" in caplog.text


def test_clips_of_one_recording_stay_together_by_a_pattern_which_is_offered(tmp_path, caplog):
    names = [
        f"{c}/v_{c}_g{group:02d}_c{clip:02d}.avi" for c in ("run", "jump") for group in range(5) for clip in range(4)
    ]
    root = touch(tmp_path / "set", *names)
    with caplog.at_level(logging.WARNING):
        lists_of_folders(str(root), str(root))
    (message,) = [record.getMessage() for record in caplog.records]
    assert message == (
        "names look like several clips of one recording (UCF-101), which this split may tear apart; all clips of a "
        "recording come into one split by --group '(.+_g\\d+)_c\\d+'"
    )

    def recordings(name: str) -> set[str]:
        return {line.rpartition("_c")[0] for line in lines(root / name)}

    assert recordings("train.csv") & recordings("val.csv")
    caplog.clear()
    lists_of_folders(str(root), str(root), group=r"(.+_g\d+)_c\d+")
    assert not caplog.records
    assert not recordings("train.csv") & recordings("val.csv")
    assert (len(lines(root / "train.csv")), len(lines(root / "val.csv"))) == (32, 8)
    with pytest.raises(ValueError, match=r"group must be a regular expression, got '\(': missing \), unterminated"):
        lists_of_folders(str(root), str(root), group="(")
    with pytest.raises(ValueError, match=r"v_jump_g00_c00\.avi: its name tells no recording by the pattern 'person'"):
        lists_of_folders(str(root), str(root), group="person")
    with pytest.raises(ValueError, match=r"set: no class has a second recording; nothing is left for validation"):
        lists_of_folders(str(root), str(root), group="v")
    split = touch(tmp_path / "split", "train/a/1.mp4", "train/b/2.mp4", "val/a/3.mp4")
    with pytest.raises(
        ValueError, match=r"split: train and val are there; a pattern of recordings has nothing to split"
    ):
        lists_of_folders(str(split), str(split), group="v")


# ---- Kinetics --------------------------------------------------------------------------------------------------------

HEADER = "label,youtube_id,time_start,time_end,split"


def write_csv(path: Path, *rows: str, header: str = HEADER) -> str:
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def kinetics(tmp_path):
    """CSV files of five classes and the videos that three kinds of downloaders left."""
    train = write_csv(
        tmp_path / "train.csv",
        "massaging person's head,aaaaaaaaaaa,1,11,train",
        '"skiing, ""not"" slalom",-bbbbbbbbbb,0,10,train',
        "yoga,ccccccccccc,100,110,train",
        "yoga,_gone______,5,15,train",
        "abseiling,never______,5,15,train",
    )
    val = write_csv(
        tmp_path / "validate.csv",
        "massaging person's head,ddddddddddd,7,17,validate,0",
        "zumba,eeeeeeeeeee,8,18,validate,1",
        header=HEADER + ",is_cc",
    )
    videos = touch(
        tmp_path / "videos",
        "train/massaging_person's_head/aaaaaaaaaaa_000001_000011.mp4",
        "-bbbbbbbbbb.webm",
        "train/yoga/ccccccccccc_000100_000110.mkv",
        "train/yoga/ccccccccccc_000200_000210.mp4",
        "val/massaging person's head/ddddddddddd_000007_000017.mp4",
        "val/massaging person's head/ddddddddddd_000007_000017.mp4.part",
    )
    return [train, val], videos


def test_kinetics_lists_hold_what_is_there(tmp_path, kinetics):
    files, videos = kinetics
    counts = lists_of_kinetics(files, str(videos), str(tmp_path))
    assert list(map(str, counts)) == [
        "train: found 3 of 5 videos, 3 classes",
        "val: found 1 of 2 videos, 1 classes",
    ]
    labels = {"abseiling": 0, "massaging person's head": 1, 'skiing, "not" slalom': 2, "yoga": 3, "zumba": 4}
    assert json.loads((tmp_path / "labels.json").read_text()) == labels
    assert read_label_names(str(tmp_path / "labels.json")) == labels
    assert [(os.path.relpath(video.path, videos), video.label) for video in read(tmp_path / "train.csv")] == [
        ("train/massaging_person's_head/aaaaaaaaaaa_000001_000011.mp4", 1),
        ("-bbbbbbbbbb.webm", 2),
        ("train/yoga/ccccccccccc_000100_000110.mkv", 3),
    ]
    assert lines(tmp_path / "val.csv") == ['"videos/val/massaging person\'s head/ddddddddddd_000007_000017.mp4" 1']
    assert lines(tmp_path / "test.csv") == lines(tmp_path / "val.csv")
    assert lines(tmp_path / "missing.csv") == [
        HEADER,
        "yoga,_gone______,5,15,train",
        "abseiling,never______,5,15,train",
        "zumba,eeeeeeeeeee,8,18,validate",
    ]


def read(path: Path):
    return read_kinetics_list(str(path), num_classes=100)


def test_of_several_files_the_one_of_the_split_and_class_is_taken(tmp_path):
    name = "aaaaaaaaaaa_000001_000011.mp4"
    videos = touch(tmp_path / "videos", f"all/{name}", f"val/some_class/{name}", f"val/other/{name}", f"train/x/{name}")
    files = write_csv(tmp_path / "val.csv", "some class,aaaaaaaaaaa,1,11,val", "x,bbbbbbbbbbb,1,11,val")
    lists_of_kinetics([files], str(videos), str(videos))
    assert lines(videos / "val.csv") == [f"val/some_class/{name} 0"]
    assert not (videos / "train.csv").exists()


def test_none_of_the_listed_videos_is_there(tmp_path, kinetics):
    with pytest.raises(
        ValueError,
        match=r"empty: none of 7 listed videos is there; looked for names like aaaaaaaaaaa_000001_000011\.mp4 and a",
    ):
        lists_of_kinetics(kinetics[0], str(touch(tmp_path / "empty", "x.mp4")), str(tmp_path / "lists"))

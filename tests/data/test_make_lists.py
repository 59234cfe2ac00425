from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutualnet3d.data.lists import read_kinetics_list, read_label_names
from mutualnet3d.data.make_lists import (
    SplitCount,
    find_video_files,
    lists_of_folders,
    lists_of_kinetics,
    path_in_list,
    read_kinetics_csv,
    write_list,
)


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


def test_a_test_folder_has_its_own_list(tmp_path):
    root = touch(tmp_path / "set", "train/a/1.mp4", "train/b/2.mp4", "val/a/3.mp4", "test/b/4.mp4")
    counts = lists_of_folders(str(root), str(tmp_path / "lists"))
    assert counts[2] == SplitCount("test", found=1, listed=1, num_classes=1)
    # Outside the lists' folder paths are absolute.
    assert lines(tmp_path / "lists" / "test.csv") == [f"{root}/test/b/4.mp4 1"]
    assert lines(tmp_path / "lists" / "val.csv") == [f"{root}/val/a/3.mp4 0"]


def class_folders(root: Path, **counts: int) -> Path:
    return touch(root, *(f"{name}/{index:02d}.mp4" for name, count in counts.items() for index in range(count)))


def test_classes_are_split_by_the_fraction_and_the_seed(tmp_path):
    root = class_folders(tmp_path / "set", run=10, jump=5, swim=2, once=1)
    counts = lists_of_folders(str(root), str(root), val_fraction=0.3)
    assert [(count.found, count.num_classes) for count in counts] == [(12, 4), (6, 3)]  # 7+3+1+1 and 3+2+1+0
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


def test_no_such_kinetics_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file at .*none\.csv; expected a CSV file with the columns label,"):
        read_kinetics_csv(str(tmp_path / "none.csv"))


def test_columns_may_stand_in_any_order_after_a_byte_order_mark(tmp_path):
    (tmp_path / "a.csv").write_bytes(
        b"\xef\xbb\xbfyoutube_id,split,label,time_end,time_start\r\nabc,val,a b,12,2\r\n\r\n"
    )
    (clip,) = read_kinetics_csv(str(tmp_path / "a.csv"))
    assert (clip.label, clip.youtube_id, clip.start, clip.end, clip.split) == ("a b", "abc", 2, 12, "val")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("yoga,abc,1,11", r"a\.csv:3: expected 5 fields, got 'yoga,abc,1,11'; the columns are label,youtube_id,"),
        ("yoga,,1,11,val", r"a\.csv:3: expected a label and a youtube_id, got 'yoga,,1,11,val'"),
        (",abc,1,11,val", r"a\.csv:3: expected a label and a youtube_id"),
        ("yoga,abc,1.5,11,val", r"a\.csv:3: time_start and time_end must be whole seconds, the end after the start"),
        ("yoga,abc,11,11,val", r"a\.csv:3: time_start and time_end must be whole seconds, .* got 'yoga,abc,11,11,val'"),
        ("yoga,abc,1,11,dev", r"a\.csv:3: split must be one of train, val, validate, validation, test, got 'yoga,"),
        ('"yoga"x,abc,1,11,val', r"a\.csv:3: the file must be CSV: ',' expected after"),
    ],
)
def test_malformed_rows(tmp_path, row, message):
    path = write_csv(tmp_path / "a.csv", "yoga,abc,1,11,val", row)
    with pytest.raises(ValueError, match=message):
        read_kinetics_csv(path)


def test_files_that_list_nothing_or_are_no_text(tmp_path):
    with pytest.raises(ValueError, match=r"a\.csv: the file lists no video"):
        read_kinetics_csv(write_csv(tmp_path / "a.csv"))
    with pytest.raises(
        ValueError, match=r"a\.csv:1: no column 'split'; expected label,.*,split, got 'label,youtube_id"
    ):
        read_kinetics_csv(write_csv(tmp_path / "a.csv", header="label,youtube_id,time_start,time_end"))
    with pytest.raises(
        ValueError, match=r"a\.csv:1: no column 'label'; a test file that comes without labels makes no"
    ):
        read_kinetics_csv(write_csv(tmp_path / "a.csv", header="youtube_id,time_start,time_end,split"))
    (tmp_path / "a.csv").write_bytes(b"label\nyoga\xff\n")
    with pytest.raises(ValueError, match=r"a\.csv:2: the text must be UTF-8, got the byte 0xff"):
        read_kinetics_csv(str(tmp_path / "a.csv"))


# ---- files and lines -------------------------------------------------------------------------------------------------


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "elsewhere/b.mp4", "set/a.mp4", "set/.hidden.mp4", "set/inner/c.ts")
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "inner" / "up").symlink_to(tmp_path / "set")
    assert find_video_files(str(tmp_path / "set")) == ["a.mp4", "inner/c.ts", "link/b.mp4"]


def test_folders_that_may_not_be_read_are_an_error(tmp_path, monkeypatch):
    touch(tmp_path, "set/a.mp4")

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="Permission denied"):
        find_video_files(str(tmp_path / "set"))


def test_paths_are_relative_to_the_folder_that_they_lie_in(tmp_path):
    assert path_in_list("/data/set/a.mp4", "/data/set") == "a.mp4"
    assert path_in_list("/data/set/a.mp4", "/data/se") == "/data/set/a.mp4"
    assert path_in_list("/data/a.mp4", "/data/lists") == "/data/a.mp4"
    assert path_in_list("s3://bucket/a.mp4", "/data") == "s3://bucket/a.mp4"
    assert path_in_list(os.path.join(os.getcwd(), "x", "a.mp4"), "") == "x/a.mp4"


names = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: "://" not in name and not name.startswith("/")
)


@given(st.lists(st.tuples(names, st.integers(0, 9)), min_size=1))
def test_any_name_is_read_as_it_was_written(tmp_path_factory, entries):
    path = tmp_path_factory.getbasetemp() / "round_trip.csv"
    write_list(str(path), entries)
    videos = read_kinetics_list(str(path), num_classes=10)
    assert [(os.path.relpath(video.path, path.parent), video.label) for video in videos] == [
        (os.path.normpath(name), label) for name, label in entries
    ]


def test_names_that_no_list_can_hold(tmp_path):
    with pytest.raises(ValueError, match=r"'a\\nb\.mp4': no list can hold a name with a line break; rename the file"):
        write_list(str(tmp_path / "a.csv"), [("a\nb.mp4", 0)])
    with pytest.raises(ValueError, match=r"'\\udcff\.mp4': a list is UTF-8, and this name is not; rename the file"):
        write_list(str(tmp_path / "a.csv"), [("\udcff.mp4", 0)])
    assert list(tmp_path.iterdir()) == []

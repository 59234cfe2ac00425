from __future__ import annotations

import json
import logging

import pytest

from mutualnet3d.data.official_splits import lists_of_hmdb51, lists_of_mmaction2, lists_of_ucf101
from tests.data.test_make_lists import lines, touch


@pytest.fixture
def ucf101(tmp_path):
    """Official files of two classes, and four of five videos, one of them encoded anew."""
    splits = touch(tmp_path / "splits", "classInd.txt", "trainlist01.txt", "testlist01.txt", "trainlist02.txt")
    (splits / "classInd.txt").write_text("1 ApplyEyeMakeup\r\n2 Archery\r\n")
    (splits / "trainlist01.txt").write_text(
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\nArchery/v_Archery_g08_c01.avi 2\r\n"
        "Archery/v_Archery_g09_c01.avi 2\r\n"
    )
    (splits / "testlist01.txt").write_text(
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\r\nArchery/v_Archery_g01_c01.avi\r\n"
    )
    touch(tmp_path / "UCF-101", "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", "Archery/v_Archery_g08_c01.avi")
    touch(tmp_path / "UCF-101", "deep/Archery/v_Archery_g01_c01.mp4", "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi")
    return splits


def test_ucf101(tmp_path, ucf101):
    counts = lists_of_ucf101(str(ucf101), str(tmp_path / "UCF-101"), str(tmp_path))
    assert list(map(str, counts)) == ["train: found 2 of 3 videos, 2 classes", "val: 2 videos, 2 classes"]
    assert lines(tmp_path / "train.csv") == [
        "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 0",
        "UCF-101/Archery/v_Archery_g08_c01.avi 1",
    ]
    assert lines(tmp_path / "val.csv") == [
        "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi 0",
        "UCF-101/deep/Archery/v_Archery_g01_c01.mp4 1",
    ]
    assert lines(tmp_path / "test.csv") == lines(tmp_path / "val.csv")
    assert json.loads((tmp_path / "labels.json").read_text()) == {"ApplyEyeMakeup": 0, "Archery": 1}
    assert lines(tmp_path / "missing.csv") == [
        "listed_at,path",
        f"{ucf101}/trainlist01.txt:3,Archery/v_Archery_g09_c01.avi",
    ]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("classInd.txt", "0 A\n1 B\n", r"classInd\.txt:1: expected `1 CLASS`, got '0 A'"),
        (
            "trainlist01.txt",
            "Archery/a.avi 3\n",
            r"trainlist01\.txt:1: expected `CLASS/NAME\.avi` of a class of classI",
        ),
        ("testlist01.txt", "Jump/a.avi\n", r"testlist01\.txt:1: expected .* without, got 'Jump/a\.avi'"),
        ("testlist01.txt", "\n", r"testlist01\.txt: the file is empty; expected an official list of UCF-101"),
    ],
)
def test_malformed_files_of_ucf101(tmp_path, ucf101, file, text, message):
    (ucf101 / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        lists_of_ucf101(str(ucf101), str(tmp_path / "UCF-101"), str(tmp_path / "lists"))
    assert not (tmp_path / "lists").exists()


def test_splits_that_are_not_there(tmp_path, ucf101):
    with pytest.raises(ValueError, match=r"split is 4; allowed: 1, 2, 3"):
        lists_of_ucf101(str(ucf101), str(tmp_path), str(tmp_path), split=4)
    with pytest.raises(FileNotFoundError, match=r"no file at .*trainlist03\.txt; expected an official list of UCF-101"):
        lists_of_ucf101(str(ucf101), str(tmp_path), str(tmp_path), split=3)
    with pytest.raises(FileNotFoundError, match=r"no file CLASS_test_split1\.txt in .*splits"):
        lists_of_hmdb51(str(ucf101), str(tmp_path), str(tmp_path))
    with pytest.raises(ValueError, match=r"splits: none of 5 listed videos is there; the first is ApplyEyeMakeup/v_A"):
        lists_of_ucf101(str(ucf101), str(ucf101), str(tmp_path))


def test_hmdb51(tmp_path):
    splits = touch(tmp_path / "splits", "wave_test_split1.txt", "brush_hair_test_split1.txt", "wave_test_split2.txt")
    (splits / "brush_hair_test_split1.txt").write_text("a #1_brush_hair.avi 1 \nb_brush_hair.avi 2 \nc.avi 0 \n")
    (splits / "wave_test_split1.txt").write_text("c.avi 1 \nd.avi 2 \n")
    videos = touch(
        tmp_path / "hmdb51", "wave/c.avi", "wave/d.avi", "brush_hair/c.avi", "brush_hair/a #1_brush_hair.avi"
    )
    touch(videos, "brush_hair/b_brush_hair.avi")
    counts = lists_of_hmdb51(str(splits), str(videos), str(tmp_path))
    assert list(map(str, counts)) == ["train: 2 videos, 2 classes", "val: 2 videos, 2 classes"]
    assert lines(tmp_path / "train.csv") == ['"hmdb51/brush_hair/a #1_brush_hair.avi" 0', "hmdb51/wave/c.avi 1"]
    assert lines(tmp_path / "val.csv") == ["hmdb51/brush_hair/b_brush_hair.avi 0", "hmdb51/wave/d.avi 1"]
    assert json.loads((tmp_path / "labels.json").read_text()) == {"brush_hair": 0, "wave": 1}
    (splits / "wave_test_split1.txt").write_text("c.avi 3\n")
    with pytest.raises(ValueError, match=r"wave_test_split1\.txt:1: expected `NAME\.avi 0`, 1 or 2, got 'c\.avi 3'"):
        lists_of_hmdb51(str(splits), str(videos), str(tmp_path))


def test_mmaction2s_raw_frames(tmp_path, caplog):
    frames = touch(tmp_path / "rawframes", *(f"yoga/a/img_{number:05d}.jpg" for number in range(1, 4)), "zumba/b/1.jpg")
    touch(frames, "zumba/b/flow_x_1.jpg")
    (tmp_path / "train.txt").write_text("yoga/a 3 0\nzumba/b 1 1\nzumba/gone 7 1\n")
    (tmp_path / "val.txt").write_text("yoga/a 3 0\n")
    (tmp_path / "names.txt").write_text("yoga\nzumba\n")
    files = {"train": str(tmp_path / "train.txt"), "val": str(tmp_path / "val.txt")}
    with caplog.at_level(logging.WARNING):
        counts = lists_of_mmaction2(files, str(frames), str(tmp_path), str(tmp_path / "names.txt"))
    assert list(map(str, counts)) == ["train: found 2 of 3 videos, 2 classes", "val: 1 videos, 1 classes"]
    assert lines(tmp_path / "train.csv") == ["rawframes/yoga/a 0", "rawframes/zumba/b 1"]
    assert json.loads((tmp_path / "labels.json").read_text()) == {"yoga": 0, "zumba": 1}
    assert lines(tmp_path / "missing.csv") == ["listed_at,path", f"{tmp_path}/train.txt:3,zumba/gone"]
    assert "1 of 4 folders have more or fewer pictures than their list counts; the first: zumba/b" in caplog.text
    assert "has 2, not 1. All pictures of a folder are frames" in caplog.text


def test_mmaction2s_videos(tmp_path):
    videos = touch(tmp_path / "videos", "yoga/a b.mp4", "zumba/c.mp4")
    (tmp_path / "train.txt").write_text("yoga/a b.mp4 0\nzumba/c.mp4 2\n")
    lists_of_mmaction2({"train": str(tmp_path / "train.txt")}, str(videos), str(tmp_path))
    assert lines(tmp_path / "train.csv") == ['"videos/yoga/a b.mp4" 0', "videos/zumba/c.mp4 2"]
    assert not (tmp_path / "val.csv").exists()
    assert json.loads((tmp_path / "labels.json").read_text()) == {"0": 0, "1": 1, "2": 2}
    (tmp_path / "names.txt").write_text("yoga\nzumba\n")
    with pytest.raises(
        ValueError, match=r"train\.txt:2: expected `path frames label` or `path label`, labels 0 to 1, got"
    ):
        lists_of_mmaction2(
            {"train": str(tmp_path / "train.txt")}, str(videos), str(tmp_path), str(tmp_path / "names.txt")
        )
    (tmp_path / "train.txt").write_text("yoga/a b.mp4 0,1\n")
    with pytest.raises(ValueError, match=r"train\.txt:1: .*; lists of several labels for a video are not read"):
        lists_of_mmaction2({"train": str(tmp_path / "train.txt")}, str(videos), str(tmp_path))

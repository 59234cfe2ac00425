from __future__ import annotations

import json

import pytest

from mutualnet3d.data.charades import lists_of_charades

HEADER = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"


@pytest.fixture
def files(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("AAAAA", "BBBBB", "CCCCC"):
        (videos / f"{name}.mp4").write_bytes(b"")
    train = tmp_path / "train.csv"
    train.write_text(
        HEADER
        + 'AAAAA,S1,Kitchen,6,7,Yes,"A person, who sits",chair,x,c092 11.90 21.20;c147 0.00 12.60;c092 1.0 2.0,24.83\n'
        + "BBBBB,S1,Kitchen,6,7,Yes,nothing,chair,x,,24.83\n"
        + "ZZZZZ,S1,Kitchen,6,7,Yes,not there,chair,x,c001 0.00 12.60,24.83\n"
    )
    val = tmp_path / "test.csv"
    val.write_text(HEADER + "CCCCC,S2,Hall,6,7,Yes,x,y,z,c000 0.00 2.00,3.5\n")
    return train, val, videos


def test_lists_have_all_actions_of_a_video(files, tmp_path):
    train, val, videos = files
    classes = tmp_path / "classes.txt"
    classes.write_text("".join(f"c{number:03d} Action {number}\n" for number in range(157)))
    output = tmp_path / "lists"
    counts = lists_of_charades({"train": str(train), "val": str(val)}, str(videos), str(output), str(classes))
    assert list(map(str, counts)) == ["train: found 2 of 3 videos, 2 classes", "val: 1 videos, 1 classes"]
    assert (output / "train.csv").read_text() == f"{videos}/AAAAA.mp4 92,147\n{videos}/BBBBB.mp4 -\n"
    assert (output / "val.csv").read_text() == (output / "test.csv").read_text() == f"{videos}/CCCCC.mp4 0\n"
    assert json.loads((output / "labels.json").read_text())["Action 147"] == 147
    assert (output / "missing.csv").read_text().splitlines()[1:] == [f"{train}:4,ZZZZZ.mp4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na,1\n", r"train\.csv:1: expected the columns of Charades, id, actions among them"),
        (HEADER + "A,,,,,,,,,c157 0 1,1\n", r"train\.csv:2: expected actions .* c000 to c156, got 'c157 0 1'"),
        (HEADER + "A,,,,,,,,,92,1\n", r"train\.csv:2: expected actions .* got '92'"),
        (HEADER + ",,,,,,,,,c001 0 1,1\n", r"train\.csv:2: a video without an id"),
    ],
)
def test_other_files_are_refused(files, tmp_path, text, message):
    train, _, videos = files
    train.write_text(text)
    with pytest.raises(ValueError, match=message):
        lists_of_charades({"train": str(train)}, str(videos), str(tmp_path / "lists"))


def test_classes_of_another_form(files, tmp_path):
    train, _, videos = files
    classes = tmp_path / "classes.txt"
    classes.write_text("c000 Holding some clothes\nPutting clothes\n")
    with pytest.raises(ValueError, match=r"classes\.txt:2: expected `c001 NAME`, got 'Putting clothes'"):
        lists_of_charades({"train": str(train)}, str(videos), str(tmp_path / "lists"), str(classes))
    with pytest.raises(FileNotFoundError, match="expected Charades_v1_train"):
        lists_of_charades({"train": str(tmp_path / "no.csv")}, str(videos), str(tmp_path / "lists"))

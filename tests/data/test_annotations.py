from __future__ import annotations

import os

import pytest

from mutualnet3d.data.annotations import Video, check_found, read_kinetics_list


def write(tmp_path, text):
    path = tmp_path / "train.csv"
    path.write_text(text)
    return str(path)


def test_paths_are_relative_to_the_list_and_may_have_spaces(tmp_path):
    path = write(tmp_path, "a/one.mp4 0\n\nmy videos/two words.mp4 12\n/abs/three.mp4 3\n")
    assert read_kinetics_list(path, num_classes=13) == [
        Video(str(tmp_path / "a/one.mp4"), 0, f"{path}:1"),
        Video(str(tmp_path / "my videos/two words.mp4"), 12, f"{path}:3"),
        Video("/abs/three.mp4", 3, f"{path}:4"),
    ]


def test_prefix_and_separator(tmp_path):
    path = write(tmp_path, "one.mp4, 1\n")
    (video,) = read_kinetics_list(path, 2, path_prefix="/videos", separator=",")
    assert (video.path, video.label) == (os.path.join("/videos", "one.mp4"), 1)


def test_missing_list(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no list of videos at .*none\.csv; expected a text file with a line"):
        read_kinetics_list(str(tmp_path / "none.csv"), 2)


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_empty_list(tmp_path, text):
    with pytest.raises(ValueError, match=r"train\.csv: the list is empty"):
        read_kinetics_list(write(tmp_path, text), 2)


def test_line_without_a_label(tmp_path):
    with pytest.raises(ValueError, match=r"train\.csv:2: expected `path label`, got 'two\.mp4'"):
        read_kinetics_list(write(tmp_path, "one.mp4 1\ntwo.mp4\n"), 2)


@pytest.mark.parametrize("label", ["2", "-1", "1.0", "fight"])
def test_label_that_is_no_class(tmp_path, label):
    with pytest.raises(ValueError, match=rf"train\.csv:1: label must be a class from 0 to 1, got '{label}'"):
        read_kinetics_list(write(tmp_path, f"one.mp4 {label}\n"), 2)


def test_missing_videos_are_counted(tmp_path):
    (tmp_path / "one.mp4").touch()
    videos = read_kinetics_list(write(tmp_path, "one.mp4 0\ntwo.mp4 0\nthree.mp4 1\n"), 2)
    check_found(videos[:1])
    with pytest.raises(FileNotFoundError, match=r"train\.csv:2: found 1 of 3 listed videos; .* missing is .*two\.mp4"):
        check_found(videos)

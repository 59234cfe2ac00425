from __future__ import annotations

import os

import pytest
from PIL import Image

from mutualnet3d.cli.listed_videos import distinct_videos, expand_lists


def test_lists_stand_for_their_videos(tmp_path, monkeypatch):
    (tmp_path / "paths.txt").write_text('a b.mp4\n\n"c.MKV"\n/elsewhere/d.webm\n')
    (tmp_path / "clip.3gp").write_text("")
    (tmp_path / "odd.txt").write_text("clip.3gp\nd.mp4\ngone.ogv\n")
    odd = os.path.join(str(tmp_path), "odd.txt")
    assert expand_lists([odd]) == [f"{tmp_path}/clip.3gp", f"{tmp_path}/d.mp4", f"{tmp_path}/gone.ogv"]
    (tmp_path / "kinetics.csv").write_text("path label\na.mp4 0\nsub/b c.mp4 7\n")
    (tmp_path / "named.csv").write_text("a.mp4,very bright\n")
    (tmp_path / "names.txt").write_text("dark\nvery bright\n")
    folder = str(tmp_path)
    paths, kinetics, named = (os.path.join(folder, name) for name in ("paths.txt", "kinetics.csv", "named.csv"))
    of_paths = [f"{folder}/a b.mp4", f"{folder}/c.MKV", "/elsewhere/d.webm"]
    of_kinetics = [f"{folder}/a.mp4", f"{folder}/sub/b c.mp4"]
    assert expand_lists([paths]) == of_paths
    assert expand_lists(["x.mp4", kinetics, "y", paths]) == ["x.mp4", *of_kinetics, "y", *of_paths]
    assert expand_lists([named], str(tmp_path / "names.txt")) == [f"{folder}/a.mp4"]
    monkeypatch.chdir(tmp_path)
    assert expand_lists(["paths.txt"])[0] == "a b.mp4"
    with pytest.raises(ValueError, match=r"named\.csv:1: label must be .*; names of classes need a label file"):
        expand_lists([named])


def test_a_folder_without_pictures_stands_for_the_videos_below_it(tmp_path):
    for name in ("b/2.mp4", "b/.hidden.mp4", "a.MKV", "notes.md", "pictures/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / "1.png")
    folder = str(tmp_path)
    assert expand_lists([folder]) == [f"{folder}/a.MKV", f"{folder}/b/2.mp4"]
    assert expand_lists([f"{folder}/pictures"]) == [f"{folder}/pictures"]
    assert expand_lists([f"{folder}/empty", "gone"]) == [f"{folder}/empty", "gone"]


def test_a_path_that_comes_again_is_left_out():
    paths = ["a.mp4", "b/../c.mp4", "./a.mp4", "c.mp4", "s3://b//a", "s3://b/a", "a.mp4"]
    assert distinct_videos(paths) == ["a.mp4", "b/../c.mp4", "s3://b//a", "s3://b/a"]

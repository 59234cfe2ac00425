from __future__ import annotations

import os

import pytest

from mutualnet3d.data.video_files import find_video_files, is_video_file
from tests.data.test_make_lists import touch


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


@pytest.mark.parametrize(
    ("name", "is_video"), [("a.mp4", True), ("a.WebM", True), ("mp4", False), (".a.mp4", False), ("a.mp4.part", False)]
)
def test_videos_by_name(name, is_video):
    assert is_video_file(name) == is_video

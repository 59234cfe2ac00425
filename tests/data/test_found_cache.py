from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mutualnet3d.data.find_videos import find_videos
from mutualnet3d.data.found_cache import FoundCache, default_cache_folder
from mutualnet3d.data.video_list import Video, VideoList


def age(*folders):
    """Let folders have changed ten seconds ago, and at different times."""
    for number, folder in enumerate(folders):
        changed = os.stat(folder).st_mtime_ns - (10 + number) * 10**9
        os.utime(folder, ns=(changed, changed))


@pytest.fixture
def videos(tmp_path):
    """Five videos in two folders, of which the fourth is missing."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    paths = [tmp_path / name for name in ("a/0.mp4", "a/1.mp4", "b/2.mp4", "b/3.mp4", "b/4.mp4")]
    for path in (*paths[:3], paths[4]):
        path.touch()
    age(tmp_path / "a", tmp_path / "b")
    return VideoList.of([Video(str(path), 0, "list:1") for path in paths])


def cached(videos, tmp_path, monkeypatch):
    """Find the videos by the cache; return which exist, and how many looks at the disk that took."""
    looks = []

    def exists(path):
        looks.append(path)
        return os.path.exists(path)

    monkeypatch.setattr("mutualnet3d.data.find_videos.video_exists", exists)
    result = find_videos(videos, cache_folder=str(tmp_path / "cache"))
    return [Path(video.path).name for video in result.existing], len(looks)


PRESENT = ["0.mp4", "1.mp4", "2.mp4", "4.mp4"]


def test_a_second_search_looks_at_no_video(videos, tmp_path, monkeypatch):
    assert cached(videos, tmp_path, monkeypatch) == (PRESENT, 5)
    assert cached(videos, tmp_path, monkeypatch) == (PRESENT, 0)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npz"]


def test_a_folder_that_changes_is_searched_again(videos, tmp_path, monkeypatch):
    cached(videos, tmp_path, monkeypatch)
    (tmp_path / "b" / "3.mp4").touch()
    assert cached(videos, tmp_path, monkeypatch) == (["0.mp4", "1.mp4", "2.mp4", "3.mp4", "4.mp4"], 5)
    # The folder changed just now, and may change again within the same tick of its clock.
    assert cached(videos, tmp_path, monkeypatch)[1] == 5
    age(tmp_path / "b")
    assert [cached(videos, tmp_path, monkeypatch)[1] for _ in range(2)] == [5, 0]
    (tmp_path / "a" / "0.mp4").rename(tmp_path / "a" / "moved.mp4")
    assert cached(videos, tmp_path, monkeypatch) == (["1.mp4", "2.mp4", "3.mp4", "4.mp4"], 5)


def test_another_list_has_another_result(videos, tmp_path, monkeypatch):
    cached(videos, tmp_path, monkeypatch)
    assert cached(videos[:3], tmp_path, monkeypatch) == (PRESENT[:3], 3)
    assert cached(videos, tmp_path, monkeypatch)[1] == 0
    with_pictures = VideoList.of([Video(videos[0].path, 0, "list:1", pictures="1.jpg")])
    folder = str(tmp_path / "cache")
    assert FoundCache(with_pictures, folder).path != FoundCache(videos[:1], folder).path


def test_a_folder_of_pictures_is_looked_at_for_them(tmp_path, monkeypatch):
    (tmp_path / "a" / "frames").mkdir(parents=True)
    age(tmp_path / "a", tmp_path / "a" / "frames")
    videos = VideoList.of([Video(str(tmp_path / "a" / "frames"), 0, "list:1")])
    assert [cached(videos, tmp_path, monkeypatch)[1] for _ in range(2)] == [1, 0]
    (tmp_path / "a" / "frames" / "1.jpg").touch()
    assert cached(videos, tmp_path, monkeypatch)[1] == 1


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_a_damaged_result_is_told_and_made_anew(videos, tmp_path, monkeypatch, caplog, content):
    cached(videos, tmp_path, monkeypatch)
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(content)
    assert cached(videos, tmp_path, monkeypatch) == (PRESENT, 5)
    assert f"{path}: not used, the videos are looked for" in caplog.text
    assert cached(videos, tmp_path, monkeypatch)[1] == 0


def test_a_result_of_another_length_is_told(videos, tmp_path, caplog):
    cache = FoundCache(videos, str(tmp_path / "cache"))
    cache.save(bytes(5))
    with np.load(cache.path) as stored:
        arrays = {**stored, "exists": np.zeros(2, np.uint8)}
    np.savez(cache.path, **arrays)
    assert cache.load() is None
    assert "it is of another list" in caplog.text


def test_searches_that_cannot_be_kept_say_why(videos, tmp_path, caplog):
    (tmp_path / "file").touch()
    FoundCache(videos, str(tmp_path / "file")).save(bytes(5))
    assert "the search is not kept (DATA.FIND_VIDEOS cached): [Errno " in caplog.text
    remote = FoundCache(VideoList.of([Video("s3://videos/a.mp4", 0, "list:1")]), str(tmp_path / "cache"))
    with caplog.at_level("INFO", logger="mutualnet3d"):
        remote.save(bytes(1))
    assert "videos of remote stores have no folder's time" in caplog.text
    assert remote.load() is None


def test_the_cache_is_where_users_have_theirs(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == str(tmp_path / "mutualnet3d" / "searches")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_folder() == str(tmp_path / ".cache" / "mutualnet3d" / "searches")

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from iopath.common.file_io import PathHandler
from PIL import Image

from mutualnet3d.video import paths
from mutualnet3d.video.paths import PICTURE_EXTENSIONS, is_folder, picture_paths, video_exists


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return str(folder)


def test_pictures_are_those_that_pil_reads():
    Image.init()
    formats = Image.registered_extensions()
    assert {formats[extension] for extension in PICTURE_EXTENSIONS} <= set(Image.OPEN)


def test_pictures_come_in_the_natural_order_of_their_names(tmp_path):
    names = ["frame_1.jpg", "frame_02.JPG", "frame_10.png", "frame_9.webp", "frame_100.jpeg", "a.bmp"]
    folder = touch(tmp_path / "v", *names, ".hidden.jpg", "notes.txt", "Thumbs.db", "jpg")
    ordered = ["a.bmp", "frame_1.jpg", "frame_02.JPG", "frame_9.webp", "frame_10.png", "frame_100.jpeg"]
    assert picture_paths(folder) == [os.path.join(folder, name) for name in ordered]
    ordered = ["02.png", "2.png", "2b.png", "10.png", "x.png"]
    folder = touch(tmp_path / "numbers", *sorted(ordered))
    assert [os.path.basename(path) for path in picture_paths(folder)] == ordered


def test_videos_that_are_there(tmp_path):
    file, pictures = touch(tmp_path, "a.mp4") + "/a.mp4", touch(tmp_path / "v", "1.jpg")
    empty, others = touch(tmp_path / "empty"), touch(tmp_path / "others", "a.mp4", ".1.jpg")
    os.mkfifo(tmp_path / "pipe")
    assert [video_exists(path) for path in (file, pictures)] == [True, True]
    none = [empty, others, str(tmp_path / "none"), f"{file}/x", str(tmp_path / "pipe"), "a\0b", "", "/dev/null"]
    assert [video_exists(path) for path in none] == [False] * 8
    assert [is_folder(path) for path in (file, pictures, empty, "none")] == [False, True, True, False]


def test_one_look_for_a_file_and_for_nothing(tmp_path, monkeypatch):
    calls = []

    def counted(function):
        return lambda path: calls.append(path) or function(path)

    monkeypatch.setattr(paths, "os", SimpleNamespace(stat=counted(os.stat), scandir=counted(os.scandir)))
    file, pictures = touch(tmp_path, "a.mp4") + "/a.mp4", touch(tmp_path / "v", "1.jpg")
    for path, count in ((file, 1), (str(tmp_path / "none"), 1), (pictures, 2)):
        calls.clear()
        video_exists(path)
        assert calls == [path] * count


class Store(PathHandler):
    """A store of objects that knows files, but no folders, or none but `folder`."""

    def __init__(self, folder=None):
        self.folder = folder

    def _get_supported_prefixes(self):
        return ["store://"]

    def _isfile(self, path, **_):
        return path == "store://a.mp4"

    def _isdir(self, path, **_):
        if self.folder is None:
            raise NotImplementedError
        return path == self.folder

    def _ls(self, path, **_):
        return ["2.jpg", "10.jpg", "1.txt"]


@pytest.fixture
def register():
    manager = paths.g_pathmgr

    def register(store):
        manager.register_handler(store, allow_override=True)

    yield register
    manager._path_handlers.pop("store://", None)


def test_stores_of_objects(register):
    register(Store())
    assert [video_exists(path) for path in ("store://a.mp4", "store://b.mp4")] == [True, False]
    assert not is_folder("store://v")
    register(Store("store://v"))
    assert video_exists("store://v")
    assert picture_paths("store://v") == ["store://v/2.jpg", "store://v/10.jpg"]

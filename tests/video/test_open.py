from __future__ import annotations

import pytest
from PIL import Image

from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.frame_folder import FrameFolder
from mutualnet3d.video.info import VideoInfo
from mutualnet3d.video.open import open_video
from mutualnet3d.video.reader import VideoReader
from tests.conftest import numbered_frames


@pytest.fixture
def folder(tmp_path):
    """Twelve numbered pictures, 1.png to 12.png."""
    for number, frame in enumerate(numbered_frames(12), start=1):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    return tmp_path


def levels(video, indices):
    return [int(frame[0, 0, 0]) // 2 for frame in video.read(indices)]


def test_a_file(numbered_video):
    with open_video(str(numbered_video), timeout=60) as video:
        assert isinstance(video, VideoReader)
        assert levels(video, [3, 70]) == [3, 70]
    with pytest.raises(VideoDecodeError, match="not decoded within 0 s"):
        open_video(str(numbered_video), timeout=0)


def test_a_folder_of_pictures_in_their_natural_order(folder):
    with open_video(str(folder), timeout=60) as video:
        assert isinstance(video, FrameFolder)
        assert video.info == VideoInfo(12, None)
        assert levels(video, range(12)) == list(range(12))
    assert open_video(str(folder), fps=12).info == VideoInfo(12, 12.0)


def test_pictures_that_a_list_names(folder):
    """The order is the list's, and the folder itself is not looked at."""
    names = [str(folder / f"{number}.png") for number in (3, 2, 12)]
    with open_video("/none", frame_paths=names) as video:
        assert levels(video, [0, 1, 2]) == [2, 1, 11]


def test_a_rate_is_of_folders(folder, numbered_video):
    with pytest.raises(ValueError, match="fps is of frames and of folders of pictures; a file tells its own"):
        open_video(str(numbered_video), fps=24)
    with pytest.raises(ValueError, match="fps is 0; it must be a number above 0, frames per second"):
        open_video(str(folder), fps=0)


def test_paths_without_a_video(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(VideoDecodeError, match=rf"^{tmp_path}: the folder has no picture; looked for \.jpg \.jpeg "):
        open_video(str(tmp_path))
    with pytest.raises(VideoDecodeError, match=r"none: cannot be decoded: FileNotFoundError"):
        open_video(str(tmp_path / "none"))

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mutualnet3d.video.frame_folder import FrameFolder
from mutualnet3d.video.frames_in_memory import FramesInMemory
from mutualnet3d.video.info import VideoInfo
from mutualnet3d.video.reader import VideoReader
from tests.conftest import numbered_frames


@pytest.fixture
def videos(tmp_path, numbered_video):
    """The same numbered frames as a file, as pictures and as an array."""
    frames = numbered_frames(100)
    paths = [str(tmp_path / f"{number}.png") for number in range(100)]
    for path, frame in zip(paths, frames, strict=True):
        Image.fromarray(frame).save(path)
    return VideoReader(str(numbered_video)), FrameFolder(paths, 24.0), FramesInMemory(frames, 24.0)


def test_every_kind_of_video_is_read_alike(videos):
    for video in videos:
        with video as opened:
            assert opened is video
            assert opened.info == VideoInfo(num_frames=100, fps=24.0)
            frames = list(opened.read([0, 41, 99]))
        assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3
        assert [np.unique(frame).tolist() for frame in frames] == [[0], [82], [198]]

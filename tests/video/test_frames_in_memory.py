from __future__ import annotations

import numpy as np
import pytest
import torch

from mutualnet3d.video.frames_in_memory import FramesInMemory, as_array, is_picture
from mutualnet3d.video.info import VideoInfo
from tests.conftest import numbered_frames


@pytest.mark.parametrize("kind", [np.asarray, list, torch.from_numpy, lambda frames: list(torch.from_numpy(frames))])
def test_frames_are_those_that_were_given(kind):
    frames = numbered_frames(5, 8, 10)
    with FramesInMemory(kind(frames), 12) as video:
        assert video.info == VideoInfo(5, 12.0)
        read = list(video.read([1, 4]))
    assert all(isinstance(frame, np.ndarray) for frame in read)
    assert np.array_equal(np.stack(read), frames[[1, 4]])


@pytest.mark.parametrize(
    ("frames", "described"),
    [
        (np.zeros((4, 8, 8), np.uint8), r"uint8 \(4, 8, 8\)"),
        (np.zeros((4, 3, 8, 8), np.uint8), r"uint8 \(4, 3, 8, 8\)"),
        (np.zeros((4, 8, 8, 3), np.float32), r"float32 \(4, 8, 8, 3\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"uint8 \(0, 8, 8, 3\)"),
        ([], r"list \[\]"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)], r"picture 1 is uint8 \(8, 9, 3\)"),
        ([np.zeros((8, 8), np.uint8)], r"picture 0 is uint8 \(8, 8\)"),
        ([1], "picture 0 is int 1"),
        (7, "int 7"),
    ],
)
def test_other_frames_are_refused(frames, described):
    with pytest.raises(ValueError, match=rf"frames are uint8 \(T, H, W, 3\), RGB.*{described}"):
        FramesInMemory(frames)


@pytest.mark.parametrize("fps", [0, -1.0, float("nan"), float("inf"), "24", True])
def test_other_rates_are_refused(fps):
    with pytest.raises(ValueError, match=r"fps is .* it must be a number above 0"):
        FramesInMemory(numbered_frames(2), fps)


def test_pictures_and_what_is_none():
    picture = np.zeros((4, 5, 3), np.uint8)
    assert is_picture(picture)
    none = [picture[..., 0], picture.astype(np.int16), np.zeros((4, 5, 4), np.uint8), picture[:0], "a", None]
    assert not any(map(is_picture, none))
    assert as_array(picture) is picture
    assert as_array("a") == "a"
    assert isinstance(as_array(torch.zeros(2)), np.ndarray)

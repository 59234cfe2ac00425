"""Clips of windows are those that `ClipReader` makes of the same frames alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mutualnet3d.data.clip_reader import ClipReader
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.data.window_reader import WindowReader
from mutualnet3d.shapes import ClipShape
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.frame_folder import open_frame_folder
from mutualnet3d.video.reader import VideoReader
from tests.conftest import numbered_frames, write_video
from tests.damages import with_damaged_packets
from tests.video.encoded import moving_noise

HOW = Preprocessing(4, 2, 8.0, scale=40, crop_size=32, mean=(0.45,) * 3, std=(0.225,) * 3)  # spans 1 s
SHAPES = [ClipShape(4, 32), ClipShape(2, 24), ClipShape(2, 32)]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Path of 60 frames, 24 a second."""
    return str(write_video(tmp_path_factory.mktemp("windows") / "noise.mp4", moving_noise(48, 64)))


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("every", [0.25, 1.25])
def test_windows_are_the_clips_of_their_frames(video, every, segments):
    how = replace(HOW, segments=segments)
    with VideoReader(video) as reader:
        frames = np.stack(list(reader.read(range(60))))
    windows = WindowReader(video, how, SHAPES, every)
    number = 0
    for number, window in enumerate(windows):
        start = round(number * every * 24)
        alone = ClipReader(how).read(frames[start : start + 24], SHAPES, fps=24.0).clips
        assert window.num_lost == 0
        for shape, clip in zip(SHAPES, window.clips, strict=True):
            assert torch.equal(clip, alone[shape][0])
    assert number + 1 == len(windows.windows) == (7 if every == 0.25 else 2)
    assert (windows.num_lost, windows.num_damaged, windows.name) == (0, 0, video)
    assert windows.seconds > 0


def test_a_short_video_is_the_clip_of_all_of_it(tmp_path):
    path = str(write_video(tmp_path / "short.mp4", moving_noise(48, 64)[:10]))
    (window,) = WindowReader(path, HOW, SHAPES, 1.0)
    alone = ClipReader(HOW).read(path, SHAPES).clips
    assert all(torch.equal(clip, alone[shape][0]) for shape, clip in zip(SHAPES, window.clips, strict=True))


def test_frames_and_folders(tmp_path):
    frames = numbered_frames(20)
    for number, frame in enumerate(frames):
        (tmp_path / f"{number}.ppm").write_bytes(b"P6 64 48 255\n" + frame.tobytes())
    assert open_frame_folder(str(tmp_path)).info.num_frames == 20
    of_frames = list(WindowReader(frames, HOW, SHAPES[:1], 0.5, fps=10.0))
    of_folder = list(WindowReader(str(tmp_path), HOW, SHAPES[:1], 0.5, fps=10.0))
    assert len(of_frames) == len(of_folder) == 3
    for window, other in zip(of_frames, of_folder, strict=True):
        assert torch.equal(window.clips[0], other.clips[0])
    assert [int(picture[0, 0, 0]) // 2 for picture in of_frames[1].clips[0]] == [5, 8, 11, 14]
    with pytest.raises(ValueError, match="a file tells its own"):
        WindowReader(str(tmp_path / "0.ppm"), HOW, SHAPES, 0.5, fps=10.0)


def test_lost_frames_are_replaced_by_those_before_them_and_counted(tmp_path):
    """A window most of whose frames are lost has no clips; those after it are as ever."""
    video = write_video(tmp_path / "whole.mp4", numbered_frames(96), qp="0", preset="ultrafast", g="12")
    path = str(with_damaged_packets(video, tmp_path / "damaged.mp4", range(36, 60)))
    reader = WindowReader(path, HOW, [ClipShape(4, 32)], 0.5)
    windows = list(reader)
    levels = [[int(picture[0, 0, 0]) // 2 for picture in window.clips[0]] if window.clips else [] for window in windows]
    assert [window.num_lost for window in windows] == [0, 0, 2, 4, 2, 0, 0]
    assert levels == [
        [0, 7, 15, 23],
        [12, 19, 27, 35],
        [24, 31, 35, 35],
        [],
        [35, 35, 63, 71],
        [60, 67, 75, 83],
        [72, 79, 87, 95],
    ]
    assert (reader.num_lost, reader.num_frames) == (8, 28)


def test_a_file_whose_end_is_lost(tmp_path):
    video = write_video(tmp_path / "whole.mp4", numbered_frames(96), qp="0", preset="ultrafast", g="12")
    path = str(with_damaged_packets(video, tmp_path / "damaged.mp4", range(48, 96)))
    reader = WindowReader(path, HOW, [ClipShape(4, 32)], 1.0)
    assert [(len(window.clips), window.num_lost) for window in reader] == [(1, 0), (1, 0), (0, 4), (0, 4)]
    assert (reader.num_lost, reader.num_frames) == (8, 16)


def test_errors_are_those_of_the_video(tmp_path):
    with pytest.raises(VideoDecodeError, match=r"nowhere\.mp4"):
        WindowReader(str(tmp_path / "nowhere.mp4"), HOW, SHAPES, 1.0)
    with pytest.raises(ValueError, match="every is 0; it must be"):
        WindowReader(numbered_frames(8), HOW, SHAPES, 0)

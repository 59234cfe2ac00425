from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mutualnet3d.data.video_lengths import MAX_SECONDS, NUM_SAMPLED, sampled_seconds, seconds_of, shorter_than_clips
from mutualnet3d.data.video_list import Video
from mutualnet3d.video.info import VideoInfo


def test_seconds_of_a_video():
    assert seconds_of(VideoInfo(50, 25.0), 30.0) == 2.0
    assert seconds_of(VideoInfo(60, None), 30.0) == 2.0
    assert seconds_of(VideoInfo(3, 25.0, np.array([0.0, 0.04, 20.0])), 30.0) == pytest.approx(20.04)


def test_some_videos_are_looked_at_and_bad_ones_left_out(tmp_path, numbered_video):
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(15):
        Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    paths = [str(numbered_video), str(tmp_path / "missing.mp4"), str(folder)]
    videos = [Video(path, 0, "list:1") for path in paths]
    assert sampled_seconds(videos, 30.0) == pytest.approx([100 / 24, 0.5])
    assert len(sampled_seconds(videos[:1] * 100, 30.0)) == NUM_SAMPLED


def test_looking_ends_after_some_seconds(numbered_video):
    times = iter([0.0, 1.0, 2.0, MAX_SECONDS])
    assert len(sampled_seconds([Video(str(numbered_video), 0, "list:1")] * 10, 30.0, lambda: next(times))) == 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ([], None),
        ([1.0, 3.0], None),  # half of them
        ([1.99, 1.99, 3.0], None),  # less than half a frame
        ([1.0, 1.5, 3.0], "a clip spans 2.00 s, but 2 of 3 videos that were looked at are shorter, their median is"),
    ],
)
def test_most_videos_have_to_be_shorter(seconds, text):
    told = shorter_than_clips(seconds, 2.0, 1 / 25)
    assert told is None if text is None else told.startswith(text)

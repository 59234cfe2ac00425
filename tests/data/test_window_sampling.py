"""Times of windows, and their frames, which are those of a test's clip of the same time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mutualnet3d.data.clip_sampling import some_of
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.data.window_sampling import MAX_WINDOWS, VideoWindows
from mutualnet3d.video.info import VideoInfo

HOW = Preprocessing(4, 2, 8.0, scale=32, crop_size=32, mean=(0.45,) * 3, std=(0.225,) * 3)  # spans 1 s


@pytest.mark.parametrize(
    ("num_frames", "fps", "every", "starts", "span", "duration"),
    [
        (24, 24.0, 1.0, [0.0], 1.0, 1.0),
        (72, 24.0, 1.0, [0.0, 1.0, 2.0], 1.0, 3.0),
        (71, 24.0, 1.0, [0.0, 1.0], 1.0, 71 / 24),
        (48, 24.0, 0.25, [0.0, 0.25, 0.5, 0.75, 1.0], 1.0, 2.0),
        (480, 24.0, 7.5, [0.0, 7.5, 15.0], 1.0, 20.0),
        (12, 24.0, 1.0, [0.0], 0.5, 0.5),  # shorter than a window
        (16, None, 0.5, [0.0, 0.5, 1.0], 1.0, 2.0),  # of the rate that the network is meant for
    ],
)
def test_windows_begin_as_long_as_they_fit(num_frames, fps, every, starts, span, duration):
    windows = VideoWindows(HOW, VideoInfo(num_frames, fps), every)
    assert windows.start_N.tolist() == starts
    assert len(windows) == len(starts)
    assert (windows.span_seconds, windows.duration_seconds) == pytest.approx((span, duration))


def test_frames_of_a_window_are_a_clips():
    windows = VideoWindows(HOW, VideoInfo(72, 24.0), 0.5)
    # 24 frames from frame 12 on: 12 + 23 * (0, 1/3, 2/3, 1), rounded down.
    assert windows.frames(1).frame_indices(4).tolist() == [12, 19, 27, 35]
    assert windows.frames(1).frame_indices(2).tolist() == [12, 35]
    among = VideoWindows(replace(HOW, among_full=True), VideoInfo(72, 24.0), 0.5)
    assert among.frames(1).frame_indices(3).tolist() == np.array([12, 19, 27, 35])[some_of(4, 3)].tolist()
    # Shorter than a window: past the end its last frame.
    assert VideoWindows(HOW, VideoInfo(12, 24.0), 1.0).frames(0).frame_indices(4).tolist() == [0, 7, 11, 11]


def test_times_count_where_frames_are_uneven():
    """Ten frames a second; after frame 9 nothing comes for two seconds."""
    times = np.concatenate([np.arange(10), 30 + np.arange(20)]) / 10
    windows = VideoWindows(HOW, VideoInfo(30, 10.0, times), 1.0)
    assert windows.duration_seconds == pytest.approx(5.0)
    assert windows.start_N.tolist() == [0, 1, 2, 3, 4]
    shown = [windows.frames(number).frame_indices(4).tolist() for number in range(5)]
    assert shown == [[0, 3, 6, 9], [9, 9, 9, 9], [9, 9, 9, 9], [10, 13, 16, 19], [20, 23, 26, 29]]


def test_segments_of_a_window():
    """Something-Something's clips: the middle frame of each part of the window."""
    how = replace(HOW, segments=True)
    windows = VideoWindows(how, VideoInfo(72, 24.0), 1.0)
    alone = how.frame_sampler(1).sample(np.random.default_rng(0), 0, VideoInfo(24, 24.0)).frame_indices(4)
    assert windows.frames(0).frame_indices(4).tolist() == alone.tolist()
    assert windows.frames(2).frame_indices(4).tolist() == (48 + alone).tolist()
    assert windows.frames(2).frame_indices(2).tolist() == (48 + alone)[some_of(4, 2)].tolist()


@pytest.mark.parametrize("every", [0, -1.0, float("nan"), float("inf"), True, "1"])
def test_a_distance_that_is_not_allowed(every):
    with pytest.raises(ValueError, match=r"^every is .*; it must be a number above 0, seconds$"):
        VideoWindows(HOW, VideoInfo(72, 24.0), every)


def test_too_many_windows():
    info = VideoInfo(24 * 3600, 24.0)
    assert len(VideoWindows(HOW, info, 1.0)) == 3600
    message = rf"^every is 1e-05 s: 359900001 windows in a video of 3600 s; allowed are {MAX_WINDOWS}$"
    with pytest.raises(ValueError, match=message):
        VideoWindows(HOW, info, 1e-5)

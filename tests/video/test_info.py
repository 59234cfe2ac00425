from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mutualnet3d.video.errors import FrameCountCorrected
from mutualnet3d.video.frame_folder import FrameFolder
from mutualnet3d.video.frames_in_memory import FramesInMemory
from mutualnet3d.video.info import VideoInfo, measure_info
from mutualnet3d.video.reader import VideoReader
from tests.conftest import numbered_frames
from tests.video.encoded import WITH_GAPS_MS, encode, without_packet


@pytest.fixture
def videos(tmp_path, numbered_video):
    """Numbered frames as a file, as pictures and as an array."""
    frames = numbered_frames(100)
    paths = [str(tmp_path / f"{number}.png") for number in range(100)]
    for path, frame in zip(paths, frames, strict=True):
        Image.fromarray(frame).save(path)
    return VideoReader(str(numbered_video)), FrameFolder(paths, 24.0), FramesInMemory(frames, 24.0)


MS = Fraction(1, 1000)


def test_timestamps_count_before_the_header():
    even = measure_info(4, [7, 47, 87, 127], MS, [600.0, 30.0], 0.16)
    assert (even, even.times) == (VideoInfo(4, 25.0), None)
    paused = measure_info(5, [7, 47, 87, 5087, 5127], MS, [3.9, 25.0])
    assert paused == VideoInfo(5, 25.0)
    assert paused.times.tolist() == pytest.approx([0.0, 0.04, 0.08, 5.08, 5.12])


@pytest.mark.parametrize("timestamps", [None, [7, 47, None, 127], [7, 47, 40, 127], [7, 47, 87]])
def test_without_good_timestamps_frames_over_duration(timestamps):
    info = measure_info(4, timestamps, MS, [600.0], 0.16)
    assert (info, info.times) == (VideoInfo(4, 25.0), None)
    assert measure_info(4, timestamps, MS, [24.0, 600.0]).fps == 24.0
    assert measure_info(4, timestamps, None).fps is None


def test_another_number_of_frames():
    assert VideoInfo(60, 25.0).with_count(57) == VideoInfo(57, 25.0)
    info = VideoInfo(5, 25.0, np.array([0.0, 1.0, 2.0, 3.0, 9.0])).with_count(3)
    assert (info.num_frames, info.times.tolist()) == (3, [0.0, 2.0, 9.0])


def test_one_frame_has_no_rate_but_the_headers():
    assert measure_info(1, [5], MS, [24.0]) == VideoInfo(1, 24.0)


def test_times_without_a_rate_are_of_no_use():
    """A film of a picture an hour: each distance is longer than a pause can be, and the rate lower than any."""
    info = measure_info(3, [0, 3_600_000, 9_200_000], MS)
    assert (info.fps, info.times) == (None, None)


def test_every_kind_of_video_is_read_alike(videos):
    for video in videos:
        with video as opened:
            assert opened is video
            assert opened.info == VideoInfo(num_frames=100, fps=24.0)
            frames = list(opened.read([0, 41, 99]))
        assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3
        assert [np.unique(frame).tolist() for frame in frames] == [[0], [82], [198]]


@pytest.mark.parametrize("name", ["gaps.mp4", "gaps.mkv"])
def test_times_of_a_file_are_the_encoders(video_named, name):
    path, _ = video_named(name)
    with VideoReader(str(path)) as video:
        assert (video.info.num_frames, video.info.fps) == (60, 25.0)
        assert video.info.times.tolist() == pytest.approx([milliseconds / 1000 for milliseconds in WITH_GAPS_MS])


def test_times_of_a_file_with_a_corrected_count_are_those_of_about_the_same_frames(tmp_path):
    times_ms = [40 * number + 3000 * (number >= 30) for number in range(60)]
    encode(tmp_path / "whole.mp4", codec="mjpeg", pixels="yuvj420p", times_ms=times_ms)
    path = without_packet(tmp_path / "whole.mp4", tmp_path / "broken.mp4", 20)
    with VideoReader(str(path)) as video:
        with pytest.raises(FrameCountCorrected):
            list(video.read(range(60)))
        remaining_ms = times_ms[:20] + times_ms[21:]
        assert (video.info.num_frames, video.info.fps) == (59, 25.0)
        errors = np.abs(video.info.times - np.array(remaining_ms) / 1000)
        assert (errors < 0.041).sum() == 58  # at the pause the one before it
        assert (video.info.times[0], video.info.times[-1]) == pytest.approx((0.0, 5.36))
        assert len(list(video.read([0, 58]))) == 2


@pytest.mark.parametrize("name", ["mpeg4.mp4", "mpeg2.ts", "mjpeg.mov", "vp9.webm"])
@pytest.mark.parametrize("ending", ["avi", "mkv"])
def test_a_copy_has_the_rate_of_its_original(video_named, tmp_path, name, ending):
    """Its header may tell that of the finer units: 600 or 1,000."""
    copy = tmp_path / f"copy.{ending}"
    with av.open(str(video_named(name)[0])) as original, av.open(str(copy), "w") as container:
        stream = container.add_stream_from_template(original.streams.video[0])
        for packet in original.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    with VideoReader(str(copy)) as video:
        assert (video.info.num_frames, video.info.times) == (60, None)
        assert video.info.fps == pytest.approx(24.0, rel=1e-3)


@given(
    timestamps=st.lists(st.one_of(st.none(), st.integers(-(2**63) + 1, 2**63 - 1)), min_size=1, max_size=12),
    ascending=st.booleans(),
    time_base=st.fractions(Fraction(1, 2**31 - 1), 1000),
    rates=st.lists(st.floats(0.1, 1000.0), max_size=2),
    seconds=st.one_of(st.none(), st.floats(-1e9, 1e9)),
)
def test_damaged_timestamps_give_times_that_ascend_or_none(timestamps, ascending, time_base, rates, seconds):
    if ascending:
        timestamps = sorted({time for time in timestamps if time is not None}) or [0]
    info = measure_info(len(timestamps), timestamps, time_base, rates, seconds)
    assert info.num_frames == len(timestamps)
    assert info.fps is None or 0.1 <= info.fps <= 1000.0
    if info.times is not None:
        assert info.times[0] == 0.0
        assert (np.diff(info.times) >= 0).all()
        assert np.isfinite(info.times).all()

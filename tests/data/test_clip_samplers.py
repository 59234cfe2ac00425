from __future__ import annotations

import av
import numpy as np
import pytest

from mutualnet3d.data.clip_samplers import (
    ClipSpan,
    RandomResizedCrops,
    RandomSegments,
    RandomSpans,
    UniformCrops,
    UniformSegments,
    UniformSpans,
    span_times,
)
from mutualnet3d.data.clip_sampling import CropBox, Span
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.info import VideoInfo
from mutualnet3d.video.reader import VideoReader
from tests.video.encoded import FAULTS, needs_faults, write_numbered_at


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("fps", "length"),
    [(30.0, 80.0), (15.0, 40.0), (None, 80.0)],  # no rate: as if it were the target's
)
def test_a_clip_span_keeps_the_seconds(fps, length):
    assert ClipSpan(16, 5, 30.0).length(VideoInfo(300, fps)) == length


def test_random_spans_are_spans_of_the_video():
    sampler = RandomSpans(ClipSpan(8, 4, 24.0))
    drawn = [sampler.sample(rng(seed), 0, VideoInfo(100, 24.0)).frame_indices(8) for seed in range(50)]
    assert all(indices[-1] - indices[0] == 31 for indices in drawn)
    assert len({int(indices[0]) for indices in drawn}) > 20
    short = sampler.sample(rng(), 0, VideoInfo(3, 24.0))
    assert short.frame_indices(8).tolist() == [0, 2, 2, 2, 2, 2, 2, 2]  # shorter than the span


@pytest.mark.parametrize("among_full", [False, True])
def test_fewer_frames_are_spread_evenly_or_are_some_of_the_full_clips(among_full):
    frames = ClipSpan(8, 1, 24.0, among_full).choose(Span(3.0, 69.0, 100))
    full = [3, 12, 22, 32, 41, 51, 61, 71]
    assert frames.frame_indices(8).tolist() == full
    few = frames.frame_indices(6).tolist()
    assert few == ([full[place] for place in (0, 1, 2, 4, 5, 7)] if among_full else [3, 16, 30, 43, 57, 71])


def test_unevenly_spaced_frames_are_chosen_by_their_time():
    """30 frames at 25 a second, a pause of 10 s, 30 more: a clip of 2 s shows 50 frames, or fewer and the pause."""
    times = np.concatenate([np.arange(30), 280 + np.arange(30)]) / 25
    info = VideoInfo(60, 25.0, times)
    clip_span = ClipSpan(10, 6, 30.0)  # 2 s
    assert UniformSpans(clip_span).sample(rng(), 0, info).frame_indices(10).tolist() == [29] * 10
    first, last = (UniformSpans(clip_span, 26).sample(rng(), span, info).frame_indices(10) for span in (0, 25))
    assert first.tolist() == [0, 5, 10, 16, 21, 27, 29, 29, 29, 29]
    assert last.tolist() == [29, 29, 29, 29, 29, 29, 32, 38, 43, 49]  # 10 s after the start, of 10.4 s that it can
    starts = {int(RandomSpans(clip_span).sample(rng(seed), 0, info).frame_indices(10)[0]) for seed in range(100)}
    assert min(starts) < 5
    assert max(starts) == 29
    assert len(starts) > 5
    segments = UniformSegments(4).sample(rng(), 0, info).frame_indices(4)
    assert segments.tolist() == UniformSegments(4).sample(rng(), 0, VideoInfo(60, 25.0)).frame_indices(4).tolist()


def seconds_of(path):
    """Seconds of all frames of a file by plain PyAV, after a sequential decode."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        frames = [frame for packet in [*packets, None] for frame in stream.decode(packet)]
        # AVI tells no time of being shown; times of decoding have the same distances.
        stamps = [frame.pts for frame in frames]
        if container.format.name == "avi":
            stamps = [packet.dts for packet in packets]
        # Files with wrong timestamps have those of neighbours swapped.
        seconds = np.sort(np.array(stamps, float)) * float(stream.time_base)
    distances = np.diff(seconds)
    usual = float(np.median(distances))
    distances[distances > 60] = usual  # damage
    return np.concatenate([[0.0], np.cumsum(distances)]), usual


def assert_clips_span_their_time(path, seconds=None):
    """Each frame of a clip is the one that is shown at its time, within a frame, by an account of this test's own."""
    seconds, usual = seconds_of(path) if seconds is None else (seconds, float(np.median(np.diff(seconds))))
    with VideoReader(str(path)) as video:
        info = video.info
    assert info.num_frames == len(seconds)
    whole = seconds[-1] + usual
    for count, rate, target_fps in ((16, 5, 30.0), (8, 8, 30.0), (32, 2, 24.0)):
        span = count * rate / target_fps
        slack = max(whole - span, 0.0)
        clip_span = ClipSpan(count, rate, target_fps)
        views = [(view / 5 * slack, UniformSpans(clip_span, 5).sample(rng(), view, info)) for view in range(5)]
        views += [(slack / 2, UniformSpans(clip_span).sample(rng(), 0, info))]
        for seed in range(5):
            views.append((rng(seed).uniform(0, slack), RandomSpans(clip_span).sample(rng(seed), 0, info)))
        shown_until = np.append(seconds[1:], np.inf)
        for start, choice in views:
            indices = choice.frame_indices(count)
            times = np.linspace(start, start + span - usual, count)
            assert (seconds[indices] <= times + 1.1 * usual).all()
            assert (shown_until[indices] >= times - 1.1 * usual).all()


def test_clips_of_an_uneven_avi_span_their_time(tmp_path):
    """MPEG-4 with B-frames at 30 a second; the container drops 30 of 130 frames: a pause of a second."""
    places = [*range(40), *range(70, 130)]
    path = write_numbered_at(tmp_path / "uneven.avi", places, 30)
    assert_clips_span_their_time(path, np.array(places) / 30)
    with VideoReader(str(path)) as video:
        assert video.info.fps == 30.0
        assert np.diff(video.info.times).max() == pytest.approx(31 / 30)


@needs_faults
@pytest.mark.parametrize("name", ["copy_x264.avi", "lastlong.mp4", "pause20.mp4", "flv_resize.flv"])
def test_clips_of_odd_files_span_their_time(name):
    assert_clips_span_their_time(FAULTS / name)
    with VideoReader(str(FAULTS / name)) as video:
        assert video.info.fps == 30.0


@pytest.mark.slow
@needs_faults
@pytest.mark.parametrize(
    "path", sorted([*FAULTS.glob("*"), *(FAULTS.parent / "diverse").glob("*")]), ids=lambda path: path.name
)
def test_clips_of_all_files_span_their_time(path):
    try:
        VideoReader(str(path)).close()
    except VideoDecodeError:
        pytest.skip("it is refused")
    assert_clips_span_their_time(path)


def test_times_of_spans():
    """Four frames at every second one of a video of 10 frames a second: 0.8 seconds."""
    sampler = UniformSpans(ClipSpan(4, 2, 10.0), num_spans=2)
    rng = np.random.default_rng(0)
    even = VideoInfo(28, 10.0)
    times = [span_times(sampler.sample(rng, span, even), even, 10.0) for span in range(2)]
    assert times == [pytest.approx((0.0, 0.8)), pytest.approx((1.0, 1.8))]
    slow = VideoInfo(28, None)
    assert span_times(sampler.sample(rng, 1, slow), slow, 10.0) == pytest.approx((1.0, 1.8))
    paused = VideoInfo(10, 10.0, np.array([*np.arange(5) / 10, *(2 + np.arange(5) / 10)]))
    assert span_times(sampler.sample(rng, 0, paused), paused, 10.0) == pytest.approx((0.0, 0.5))


def test_uniform_spans_ignore_the_generator():
    sampler = UniformSpans(ClipSpan(4, 2, 24.0), num_spans=3)
    spans = [sampler.sample(rng(seed), span, VideoInfo(32, 24.0)) for seed, span in enumerate([0, 1, 2])]
    assert [span.frame_indices(4).tolist() for span in spans] == [[0, 2, 4, 7], [8, 10, 12, 15], [16, 18, 20, 23]]


def test_random_segments_draw_from_borders_that_neighbours_share():
    sampler = RandomSegments(4)
    drawn = np.stack([sampler.sample(rng(seed), 0, VideoInfo(41, None)).frame_indices(4) for seed in range(500)])
    assert [sorted(set(column)) for column in drawn.T.tolist()] == [list(range(10 * k, 10 * k + 11)) for k in range(4)]
    assert (np.diff(drawn) >= 0).all()


@pytest.mark.parametrize(
    ("num_frames", "num_spans", "span", "expected"),
    [
        (41, 1, 0, [5, 15, 25, 35]),  # PySlowFast's: the middle
        (
            38,
            1,
            0,
            [4, 13, 23, 32],
        ),  # borders 0 9 18 28 37: (0 + 9) // 2, (9 + 18) // 2, (18 + 28) // 2, (28 + 37) // 2
        (41, 2, 0, [2, 12, 22, 32]),
        (41, 2, 1, [7, 17, 27, 37]),
        (1, 1, 0, [0, 0, 0, 0]),
    ],
)
def test_uniform_segments(num_frames, num_spans, span, expected):
    sampler = UniformSegments(4, num_spans)
    frames = sampler.sample(rng(), span, VideoInfo(num_frames, 12.0))
    assert frames.frame_indices(4).tolist() == expected
    assert frames.frame_indices(2).tolist() == [expected[0], expected[-1]]


def test_crops():
    assert UniformCrops(72, 56, 3).box(rng(), 2, 72, 96) == CropBox(8, 40, 56)
    box = RandomResizedCrops((0.25, 0.25), (2.0, 2.0), flip=False).box(rng(), 0, 100, 100)
    assert (box.height, box.width) == (35, 71)

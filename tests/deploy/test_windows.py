"""Windows of made-up sources; a stream's own tests run them with a network."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from mutualnet3d.deploy.windows import Cutter, Reader, in_order, newest_windows
from mutualnet3d.video.errors import VideoDecodeError


class Source:
    """Frames at given times, whose grey level is their number; an error after them, if there is one."""

    name, fps, is_live, is_paced, longest_wait = "made up", 8.0, True, False, None

    def __init__(self, times, error=None):
        self.times, self.error, self.is_closed = times, error, False

    def __iter__(self):
        for number, seconds in enumerate(self.times):
            yield seconds, np.full((2, 2, 3), number, np.uint8)
        if self.error:
            raise self.error

    def close(self):
        self.is_closed = True


def numbers(clip):
    return [int(picture[0, 0, 0]) for picture in clip.pictures]


EIGHTHS = [number / 8 for number in range(20)]


def test_a_cutter_numbers_frames_and_thins_those_of_a_high_rate():
    cutter = Cutter(span=1.0, fps=100.0, target_fps=5.0)
    frames = list(cutter.numbered(Source([number / 100 for number in range(12)])))
    assert [frame.number for frame in frames] == [0, 1, 2]  # 20 a second, four times the target
    assert [frame.seconds for frame in frames] == [0.0, 0.05, 0.1]
    assert cutter.end_of(frames[1]) == pytest.approx(0.1)
    assert Cutter(1.0, None, 5.0).end_of(frames[1]) == 0.05


def test_a_clip_has_the_measured_rate_unless_the_source_tells_nearly_the_same():
    cutter = Cutter(span=1.0, fps=8.0, target_fps=30.0)
    frames = list(cutter.numbered(Source([0.0, 0.1249, 0.25])))
    assert cutter.clip(frames, 0.0, 1.0, -1).fps == 8.0
    slow = list(cutter.numbered(Source([0.0, 0.2, 0.4])))
    assert cutter.clip(slow, 0.0, 1.0, -1).fps == pytest.approx(5.0)
    assert cutter.clip(slow[:1], 0.0, 1.0, -1).fps == 8.0
    clip = cutter.clip(slow[2:], 0.5, 1.5, 0)
    assert (clip.num_skipped, clip.last_number, clip.start_seconds, clip.end_seconds) == (1, 2, 0.5, 1.5)


@pytest.mark.parametrize(
    ("stride", "windows"),
    [(1.0, [list(range(8)), list(range(8, 16))]), (0.75, [list(range(8)), list(range(6, 14)), list(range(12, 20))])],
)
def test_windows_in_their_order(stride, windows):
    assert [numbers(clip) for clip in in_order(Source(EIGHTHS), Cutter(1.0, 8.0, 8.0), stride)] == windows


def test_a_pause_shows_the_frame_before_it():
    times = [number / 8 for number in range(10)] + [number / 8 for number in range(17, 33)]
    (around,) = in_order(Source(times), Cutter(4.0, 8.0, 8.0), 4.0)
    assert numbers(around) == [*range(10), *[9] * 7, *range(10, 25)]
    assert around.fps == 8.0
    first, second = in_order(Source(times), Cutter(2.0, 8.0, 8.0), 2.0)
    assert numbers(first) == list(range(10))  # spread over a window of 16: the last one is repeated
    assert numbers(second) == list(range(10, 25))
    assert (first.fps, second.fps) == (8.0, 8.0)
    assert (first.num_skipped, first.last_number, second.num_skipped, second.last_number) == (0, 9, 0, 24)


def test_a_window_may_begin_in_a_pause():
    times = [0.0, 0.125, 0.25, *(number / 8 for number in range(12, 24))]
    clips = list(in_order(Source(times), Cutter(1.0, 8.0, 8.0), 1.0))
    assert [numbers(clip) for clip in clips] == [[0, 1, 2], [2, 2, 2, 2, 3, 4, 5, 6], list(range(7, 15))]


def test_frames_that_come_a_little_early_or_late_are_all_shown():
    rng = np.random.default_rng(0)
    times = [number / 8 + 0.04 * rng.random() for number in range(17)]
    first, second = in_order(Source(times), Cutter(1.0, 8.0, 8.0), 1.0)
    assert numbers(first) == list(range(8))
    assert numbers(second) == list(range(8, 16))


def test_the_newest_window_may_begin_in_a_pause():
    times = [*EIGHTHS[:4], *(2.0 + number / 8 for number in range(4))]
    reader = Reader(Source(times), Cutter(1.0, 8.0, 8.0))
    reader._thread.join(5)
    (clip,) = newest_windows(reader, 0.0)
    assert numbers(clip) == [3, 3, 3, 3, 4, 5, 6, 7]
    assert (clip.fps, clip.start_seconds, clip.num_skipped, clip.last_number) == (8.0, 1.5, 4, 7)
    reader.close()


def test_an_error_comes_after_the_windows_that_are_whole():
    clips = in_order(Source(EIGHTHS[:10], OSError("unplugged")), Cutter(1.0, 8.0, 8.0), 1.0)
    assert numbers(next(clips)) == list(range(8))
    with pytest.raises(OSError, match="unplugged"):
        next(clips)


def test_a_reader_gives_the_newest_window_and_closes_its_source():
    source = Source(EIGHTHS)
    reader = Reader(source, Cutter(1.0, 8.0, 8.0))
    reader._thread.join(5)
    (clip,) = newest_windows(reader, 0.0)
    assert numbers(clip) == list(range(12, 20))
    assert clip.num_skipped == 12
    reader.close()
    assert source.is_closed
    assert not [thread for thread in threading.enumerate() if thread.name == "mutualnet3d stream"]


def test_a_readers_error_is_raised_where_windows_are_asked_for():
    reader = Reader(Source(EIGHTHS[:3], OSError("unplugged")), Cutter(1.0, 8.0, 8.0))
    with pytest.raises(OSError, match="unplugged"):
        reader.newest(-1, 0.0)
    reader.close()


def test_a_driver_that_gives_no_frame_and_no_error_is_noticed():
    plugged_in = threading.Event()

    class Silent(Source):
        name, longest_wait = "camera 3", 0.2

        def __iter__(self):
            yield from super().__iter__()
            plugged_in.wait()  # as an ioctl of a driver does, which nothing interrupts

    reader = Reader(Silent(EIGHTHS[:9]), Cutter(1.0, 8.0, 8.0))
    assert numbers(reader.newest(-1, 0.0))[-1] >= 7
    with pytest.raises(VideoDecodeError, match=r"^camera 3: no frame came within 0\.2 s$"):
        reader.newest(8, 0.0)
    plugged_in.set()
    reader.close()

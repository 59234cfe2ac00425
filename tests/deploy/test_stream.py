"""Windows of a source, by a made-up network: of a second of four frames, so that spans are whole numbers. Times are a
made-up clock's; live sources are read by the real thread."""

from __future__ import annotations

import gc
import itertools
import logging
import threading
import time
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy import stream as stream_module
from mutualnet3d.deploy import windows as windows_module
from mutualnet3d.deploy.prediction import Prediction, Timing
from mutualnet3d.deploy.stream import Stream
from mutualnet3d.results.query_table import Row
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.video.errors import VideoDecodeError
from tests.conftest import numbered_frames, write_video

PREPROCESSING = Preprocessing(4, 2, 8.0, scale=32, crop_size=32, mean=(0.45,) * 3, std=(0.225,) * 3)  # spans 1 s
FAST = replace(PREPROCESSING, sampling_rate=5, target_fps=200.0)  # a tenth of a second of 20 frames
ROWS = [Row(SubnetConfig(1.0, 8 * size, 4), size / 100, 1, 20.0 * size, 50.0 + size, 90.0) for size in (1, 2, 3, 4)]
FULL = ROWS[-1].config


@dataclass
class Machine:
    """Machine that runs sub-networks in the time of their rows, times `load`, by its own clock.

    It notes its inputs. The pictures' grey levels are the numbers of their frames (see `numbered_frames`).
    """

    load: float = 1.0
    now: float = 0.0
    shown: list[list[int]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    configs: list[SubnetConfig] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def predict(self, pictures, fps, config):
        self.shown.append([int(picture[0, 0, 0]) // 2 for picture in pictures])
        self.rates.append(fps)
        self.configs.append(config)
        milliseconds = self.load * next(row.milliseconds for row in ROWS if row.config == config)
        self.now += milliseconds / 1000
        timing = Timing(0.0, 0.1 * milliseconds, 0.9 * milliseconds)
        return Prediction("frames", (), config, 1.0, None, "made up", 1, timing, pictures[0][None])


def stream_of(source, machine=None, *, milliseconds=100.0, **settings) -> tuple[Stream, Machine]:
    machine = machine or Machine()
    settings = {"clock": machine.clock, **settings}
    return Stream(machine.predict, ROWS, PREPROCESSING, source, milliseconds=milliseconds, **settings), machine


def seconds_of(windows) -> list[tuple[float, float]]:
    return [(round(window.start_seconds, 6), round(window.end_seconds, 6)) for window in windows]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mutualnet3d stream"]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    for thread in threads():
        thread.join(5)
    assert not threads()


# ---- in order --------------------------------------------------------------------------------------------------------


def test_windows_of_a_file_follow_each_other(numbered_video):
    """100 frames of 24 a second: four whole windows of 24, and a rest."""
    stream, machine = stream_of(str(numbered_video))
    assert (stream.is_live, stream.span_seconds, stream.milliseconds) == (False, 1.0, 100.0)
    assert repr(stream) == f"<Stream of a source: 100 ms for a window, 0 windows, next {FULL}>"
    windows = list(stream)
    assert repr(stream) == "<Stream of a source: 100 ms for a window, 4 windows, closed>"
    assert machine.shown == [list(range(start, start + 24)) for start in (0, 24, 48, 72)]
    assert machine.rates == [24.0] * 4
    assert seconds_of(windows) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert [window.num_skipped for window in windows] == [0] * 4
    assert [window.prediction.config for window in windows] == [FULL] * 4
    assert [window.milliseconds for window in windows] == pytest.approx([80.0] * 4)
    assert list(stream) == []


@pytest.mark.parametrize(
    ("stride", "starts", "skipped"), [(0.5, [0, 12, 24, 36, 48, 60, 72], 0), (1.25, [0, 30, 60], 6)]
)
def test_stride(numbered_video, stride, starts, skipped):
    stream, machine = stream_of(str(numbered_video), stride=stride)
    windows = list(stream)
    assert machine.shown == [list(range(start, start + 24)) for start in starts]
    assert [window.num_skipped for window in windows] == [0] + [skipped] * (len(starts) - 1)


def test_the_last_window_may_end_with_the_source():
    _, machine = exhausted(numbered_frames(16))
    assert machine.shown == [list(range(8)), list(range(8, 16))]
    _, machine = exhausted(numbered_frames(15))
    assert machine.shown == [list(range(8))]


def exhausted(source, **settings):
    stream, machine = stream_of(source, **settings)
    return list(stream), machine


@pytest.mark.parametrize("live", [False, True])
def test_a_source_shorter_than_a_window_gives_one(live):
    windows, machine = exhausted(numbered_frames(5), fps=20.0, live=live)
    assert (machine.shown, machine.rates) == ([[0, 1, 2, 3, 4]], [20.0])
    assert seconds_of(windows) == [(0, 0.25)]
    _, machine = exhausted(numbered_frames(1), live=live)
    assert (machine.shown, machine.rates) == ([[0]], [8.0])


def test_a_stored_iterator_is_read_as_it_is_needed():
    given = []

    def pictures():
        for number, picture in enumerate(numbered_frames(40)):
            given.append(number)
            yield picture

    stream, machine = stream_of(pictures(), live=False)
    next(stream)
    assert given == list(range(9))
    assert len(list(stream)) == 4
    assert [number for shown in machine.shown for number in shown] == list(range(40))


def test_frames_of_uneven_times(monkeypatch):
    """A window shows the frames of its time, at the rate that they have; without any, the last one before it."""
    times = [0.0, 0.1, 0.2, 0.3, 1.0, 1.9, 4.2, 4.4, 5.5]
    frames = list(zip(times, numbered_frames(9), strict=True))

    class Uneven:
        name, fps, is_live, is_paced, longest_wait = "uneven", 8.0, False, False, None

        def __iter__(self):
            return iter(frames)

        def close(self): ...

    monkeypatch.setattr(stream_module, "open_frame_stream", lambda *args, **settings: Uneven())
    _, machine = exhausted("uneven")
    assert machine.shown == [[0, 1, 2, 3], [4, 5], [5], [5], [6, 7]]
    assert machine.rates == pytest.approx([10.0, 1 / 0.9, 8.0, 8.0, 5.0])


def test_a_source_of_a_very_high_rate_is_thinned():
    """Of 400 frames a second, 32 are in a window: four times the 8 that the network is meant for."""
    frames_THWC = np.zeros((800, 2, 2, 3), np.uint8)
    _, machine = exhausted(frames_THWC, fps=400.0)
    assert [len(shown) for shown in machine.shown] == [31, 31]  # every 13th
    assert machine.rates == pytest.approx([400 / 13] * 2)


def test_large_pictures_are_shrunk_to_twice_the_scale():
    stream, _ = stream_of(np.zeros((8, 128, 256, 3), np.uint8))
    assert next(stream).prediction.frames.shape == (1, 64, 128, 3)


# ---- the budget ------------------------------------------------------------------------------------------------------


def test_it_moves_along_the_front_and_keeps_a_trace():
    machine = Machine()
    stream, _ = stream_of(numbered_frames(100), machine, fps=8.0, stride=0.125)
    assert stream.row == ROWS[-1]
    windows = []
    for number, window in enumerate(stream):
        machine.load = 2.0 if 20 <= number < 50 else 1.0
        windows.append(window)
    assert len(windows) == 93
    # The window after the load's begin is over; the ones after it fit, but for tries of the next one.
    assert [number for number, window in enumerate(windows) if window.milliseconds > 125] == [21]
    assert windows[21].milliseconds == pytest.approx(160)
    assert machine.configs[22:50].count(ROWS[1].config) >= 25
    assert set(machine.configs[22:50]) <= {ROWS[1].config, ROWS[2].config}
    assert set(machine.configs[60:]) == {FULL}
    trace = stream.trace
    assert [point.config for point in trace] == machine.configs
    assert [point.milliseconds for point in trace] == [window.milliseconds for window in windows]
    starts = itertools.accumulate((window.milliseconds / 1000 for window in windows[:-1]), initial=0.0)
    assert [point.seconds for point in trace] == pytest.approx(list(starts))
    assert trace[10].load == pytest.approx(1.0)
    assert trace[40].load == pytest.approx(2.0, rel=0.1)


def test_the_trace_is_bounded(monkeypatch):
    monkeypatch.setattr(stream_module, "MAX_TRACE", 3)
    stream, _ = stream_of(numbered_frames(80))
    windows = list(stream)
    assert len(windows) == 10
    assert [round(point.seconds, 3) for point in stream.trace] == [0.56, 0.64, 0.72]


# ---- live ------------------------------------------------------------------------------------------------------------


class Camera:
    """Source of frames that come at a call; iterating waits for them."""

    def __init__(self):
        self._frames: list[np.ndarray] = []
        self._has_ended, self._error, self._is_waiting = False, None, False
        self._changed = threading.Condition()
        self.given = 0

    def give(self, count, wait=True):
        """So many frames; `wait` until the reader has them all, and waits for more."""
        with self._changed:
            self._frames += [
                np.full((2, 2, 3), 2 * number % 256, np.uint8) for number in range(self.given, self.given + count)
            ]
            self.given += count
            self._changed.notify_all()
            assert not wait or self._changed.wait_for(lambda: self._is_waiting and not self._frames, 5)

    def end(self, error=None):
        with self._changed:
            self._has_ended, self._error = True, error
            self._changed.notify_all()

    def __iter__(self):
        while True:
            with self._changed:
                self._is_waiting = True
                self._changed.notify_all()
                assert self._changed.wait_for(lambda: self._frames or self._has_ended, 10)
                self._is_waiting = False
                if not self._frames:
                    if self._error:
                        raise self._error
                    return
                picture = self._frames.pop(0)
            yield picture


def told(*meanwhile, **settings) -> tuple[Stream, Machine, Camera]:
    """A stream of a camera of which there are 8 frames, a window; while the n-th window runs, `meanwhile[n]` happens:
    so many frames come, or a function is called."""
    camera, machine, steps = Camera(), Machine(), list(meanwhile)
    camera.give(8, wait=False)

    def predict(pictures, fps, config):
        prediction = machine.predict(pictures, fps, config)
        for step in steps.pop(0) if steps else ():
            camera.give(step) if isinstance(step, int) else step(camera)
        return prediction

    settings = {"milliseconds": 100, "fps": 8.0, "clock": machine.clock, **settings}
    return Stream(predict, ROWS, PREPROCESSING, camera, **settings), machine, camera


def test_the_network_gets_the_newest_window():
    """3 frames come while the first window runs, then 20, then 1."""
    stream, machine, _ = told([3], [20], [1], [Camera.end])
    with stream:
        assert stream.is_live
        windows = list(stream)
    assert machine.shown == [list(range(end - 8, end)) for end in (8, 11, 31, 32)]
    assert [window.num_skipped for window in windows] == [0, 0, 12, 0]
    assert [point.num_skipped for point in stream.trace] == [0, 0, 12, 0]
    assert seconds_of(windows) == [(0, 1), (0.375, 1.375), (2.875, 3.875), (3, 4)]


def test_a_live_stride():
    """Three frames are too few for the next window, half a second later; a fourth comes while it is waited for."""
    later = lambda camera: threading.Timer(0.05, camera.give, (1, False)).start()  # noqa: E731
    stream, _, _ = told([4], [3, later], [2, Camera.end], stride=0.5)
    assert seconds_of(stream) == [(0, 1), (0.5, 1.5), (1, 2)]


def test_the_source_is_never_held_up():
    """A thousand frames come while one window runs, and only a window of them is kept."""
    stream, _, camera = told([100] * 10 + [Camera.end])
    next(stream)
    assert camera.given == 1008
    assert len(stream._reader._frames) == 8
    assert next(stream).num_skipped == 992
    with pytest.raises(StopIteration):
        next(stream)


def test_an_error_of_a_live_source_comes_behind_the_windows():
    stream, machine, _ = told([2, lambda camera: camera.end(OSError("unplugged"))])
    windows = []
    with pytest.raises(OSError, match="unplugged"):
        windows.extend(iter(stream))
    assert machine.shown == [list(range(8)), list(range(2, 10))]
    assert len(windows) == 2
    assert list(stream) == []


@pytest.mark.parametrize("live", [False, True])
def test_an_error_of_what_gives_pictures_comes_behind_the_windows(live):
    def pictures():
        yield from numbered_frames(16)
        raise OSError("unplugged")

    stream, machine = stream_of(pictures(), live=live, fps=8.0)
    with pytest.raises(OSError, match="unplugged"):
        list(stream)
    assert machine.shown[-1] == list(range(8, 16))


@pytest.mark.parametrize("live", [False, True])
def test_a_broken_source_without_a_window_gives_its_error_alone(live):
    stream, machine = stream_of([*numbered_frames(3), None], live=live, fps=100.0)
    with pytest.raises(ValueError, match="picture 3 is None"):
        next(stream)
    assert machine.shown == []


def test_a_live_file_keeps_to_its_times(tmp_path):
    """Three tenths of a second of a file: windows of a tenth come when they are due, not before."""
    path = write_video(tmp_path / "a.mp4", numbered_frames(60), fps=200)
    machine = Machine()
    began = time.monotonic()
    with Stream(machine.predict, ROWS, FAST, str(path), milliseconds=100, live=True, stride=0.1) as stream:
        late = [time.monotonic() - began - window.end_seconds for window in stream]
    assert machine.shown[0] == list(range(machine.shown[0][0], machine.shown[0][0] + 20))
    assert 1 <= len(late) <= 3
    assert min(late) > -0.006  # a window's last frame comes 1 / fps before its end
    assert machine.rates == [200.0] * len(late)


# ---- ending ----------------------------------------------------------------------------------------------------------


def camera_without_end(closed, pause=0.001):
    try:
        for number in itertools.count():
            time.sleep(pause)
            yield np.full((2, 2, 3), number % 256, np.uint8)
    finally:
        closed.append(threading.current_thread().name)


def test_leaving_early_ends_the_thread_and_closes_the_source():
    closed = []
    stream, _ = stream_of(camera_without_end(closed), fps=100.0)
    with stream:
        for window in stream:
            assert window.num_skipped >= 0
            assert len(threads()) == 1
            break
    assert closed == ["mutualnet3d stream"]
    assert not threads()
    assert list(stream) == []
    assert len(stream.trace) == 1
    stream.close()


def test_a_stream_that_is_forgotten_does_not_read_on():
    closed = []
    stream, _ = stream_of(camera_without_end(closed), fps=100.0)
    next(stream)
    (thread,) = threads()
    del stream
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()
    assert closed


def test_an_error_of_the_network_closes_the_source():
    closed = []

    def predict(pictures, fps, config):
        raise RuntimeError("out of memory")

    stream = Stream(predict, ROWS, PREPROCESSING, camera_without_end(closed), milliseconds=100, fps=100.0)
    with pytest.raises(RuntimeError, match="out of memory"):
        next(stream)
    assert closed
    assert not threads()


def test_another_thread_may_close_it():
    camera = Camera()
    stream, _ = stream_of(camera, fps=8.0)
    threading.Timer(0.05, lambda: (camera.end(), stream.close())).start()
    assert list(stream) == []


def test_a_source_that_does_not_give_its_next_frame_is_left_behind(monkeypatch, caplog):
    monkeypatch.setattr(windows_module, "_CLOSING_SECONDS", 0.05)
    stream, _, camera = told()
    with caplog.at_level(logging.WARNING, "mutualnet3d"), stream:
        next(stream)
    assert "the pictures: no frame within 0.05 s; left to itself" in caplog.text
    assert len(threads()) == 1
    camera.end()


@pytest.mark.parametrize("live", [False, True])
def test_a_file_is_closed(tmp_path, live):
    path = write_video(tmp_path / "a.mp4", numbered_frames(60), fps=200)
    for num_windows in (0, 1):
        machine = Machine()
        stream = Stream(machine.predict, ROWS, FAST, str(path), milliseconds=100, live=live)
        source = stream._source
        for _ in range(num_windows):
            next(stream)
        assert source._container is not None
        stream.close()
        assert source._container is None


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"milliseconds": 10.0}, r"no sub-network fits milliseconds=10; the cheapest in milliseconds is w1\.0-s8-t4"),
        ({"milliseconds": -1.0}, "milliseconds is -1.0; a budget must be a number above 0"),
        ({"stride": 0}, "stride is 0; it must be a number above 0, seconds"),
        ({"stride": float("inf")}, "stride is inf; it must be"),
        ({"stride": True}, "stride is True; it must be"),
        ({"fps": -1.0}, "fps is -1.0; it must be a number above 0"),
    ],
)
def test_what_cannot_be_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        stream_of(numbered_frames(8), **settings)


def test_a_file_that_is_none_is_an_error_at_once(tmp_path):
    with pytest.raises(VideoDecodeError, match=r"none\.mp4: cannot be decoded"):
        stream_of(str(tmp_path / "none.mp4"))

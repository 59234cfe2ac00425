from __future__ import annotations

import time

import numpy as np
import pytest

from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.reader import VideoReader
from tests.video.encoded import NUM_FRAMES, assert_same_frames, read, refused


def test_the_time_begins_when_the_deadline_is_made(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    deadline, unlimited = Deadline("a.mp4", 2.5), Deadline("a.mp4")
    assert (deadline.remaining(), unlimited.remaining()) == (2.5, None)
    clock[0] = 102.5
    deadline.check()
    assert deadline.remaining() == 0.0
    with pytest.raises(VideoDecodeError, match=r"^a\.mp4: not decoded within 2\.5 s$"):
        deadline.check(needed=0.5)
    unlimited.check(needed=1e9)
    clock[0] = 102.6
    unlimited.check()
    with pytest.raises(VideoDecodeError, match=r"^a\.mp4: not decoded within 2\.5 s$"):
        deadline.check()


def test_the_time_begins_anew(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    deadline = Deadline("a.mp4", 2.0, "no frame came")
    clock[0] = 101.9
    deadline.restart()
    clock[0] = 103.8
    deadline.check()
    clock[0] = 104.0
    with pytest.raises(VideoDecodeError, match=r"^a\.mp4: no frame came within 2 s$"):
        deadline.check()


@pytest.mark.parametrize("name", ["closed.mp4", "open.ts", "mpeg4.avi"])
def test_no_time_at_all_is_too_short(video_named, name):
    refused(video_named(name)[0], "not decoded within 0 s", timeout=0)


def test_time_that_runs_out_while_decoding_is_noticed(video_named, monkeypatch):
    path, frames = video_named("closed.mp4")
    with VideoReader(str(path), timeout=30) as video:
        coming = video.read(range(NUM_FRAMES))
        assert np.array_equal(next(coming), frames[0])
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 31)
        with pytest.raises(VideoDecodeError) as caught:
            list(coming)
    assert str(caught.value) == f"{path}: not decoded within 30 s"


def test_enough_time_changes_nothing(video_named):
    path, frames = video_named("closed.mp4")
    assert_same_frames(read(path, [0, 59], timeout=60), frames, [0, 59])

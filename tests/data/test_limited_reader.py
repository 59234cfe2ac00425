"""Reading in processes with limits."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mutualnet3d.data.clip_reader import ClipReader
from mutualnet3d.data.limited_reader import BusyError, LimitedClipReader
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.shapes import ClipShape
from mutualnet3d.video.errors import VideoDecodeError
from tests.conftest import write_video
from tests.test_process_pool import is_running, wait_for

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux")

ROOT = Path(__file__).resolve().parents[2]
SHAPES = [ClipShape(4, 64), ClipShape(2, 48)]
HOW = Preprocessing(
    num_frames=4, sampling_rate=2, target_fps=24.0, scale=64, crop_size=64, mean=(0.5,) * 3, std=(0.2,) * 3
)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    frames = np.random.default_rng(1).integers(0, 256, (30, 72, 96, 3), dtype=np.uint8)
    return str(write_video(tmp_path_factory.mktemp("read") / "video.mp4", frames))


@pytest.fixture(scope="module")
def slow_video(tmp_path_factory):
    """A video whose one key frame is its first, so that its end is reached after seconds only."""
    frames = np.random.default_rng(1).integers(0, 256, (2, 720, 1280, 3), dtype=np.uint8)[np.arange(150) % 2]
    path = tmp_path_factory.mktemp("slow") / "slow.mp4"
    return str(write_video(path, frames, codec="libx264", qp="1", preset="ultrafast", g="1000"))


@pytest.fixture(scope="module")
def reader():
    reader = LimitedClipReader(HOW)
    yield reader
    reader.close()


def processes_of(reader):
    """Return the pids of the reader's server and of its processes."""
    server = reader._server._process.pid
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    return [server, *map(int, children)]


def test_clips_are_those_of_a_clip_reader(reader, video, tmp_path):
    read, direct = reader.read(video, SHAPES, 2, 3), ClipReader(HOW).read(video, SHAPES, 2, 3)
    assert list(read.clips) == list(direct.clips)
    assert all(torch.equal(read.clips[shape], direct.clips[shape]) for shape in SHAPES)
    assert read.decode_seconds > 0 < read.prepare_seconds
    assert read.place.to_json() == direct.place.to_json()
    frames = np.zeros((30, 72, 96, 3), np.uint8)
    assert torch.equal(reader.read(frames, SHAPES).clips[SHAPES[0]], torch.zeros(1, 4, 64, 64, 3, dtype=torch.uint8))
    with open(video, "rb") as file:  # a file of this process that may have no name
        again = reader.read(f"/proc/{os.getpid()}/fd/{file.fileno()}", SHAPES, 2, 3)
    assert torch.equal(again.clips[SHAPES[0]], direct.clips[SHAPES[0]])
    wait_for(lambda: len(processes_of(reader)) == 1)


def test_errors_are_those_of_a_clip_reader(reader, video, tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("no video")
    for source, kind, fps in ((str(path), VideoDecodeError, None), (video, ValueError, 24.0)):
        messages = []
        for reads in (reader, ClipReader(HOW)):
            with pytest.raises(kind) as caught:
                reads.read(source, SHAPES, fps=fps)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]


@pytest.mark.slow
def test_what_takes_too_long_or_too_much_is_refused_by_name_and_limit(slow_video, video):
    hasty = LimitedClipReader(HOW, seconds=0.05)
    try:
        with pytest.raises(VideoDecodeError, match=r"slow\.mp4: not decoded within 0\.05 s"):
            hasty.read(slow_video, SHAPES, 2)
        hasty.limits = type(hasty.limits)(9.0, 1 << 20)
        hasty.close()
        with pytest.raises(VideoDecodeError, match=r"slow\.mp4: (decoding it takes more|the process that d)"):
            hasty.read(slow_video, SHAPES, 2)
    finally:
        hasty.close()


@pytest.mark.slow
def test_a_process_that_is_killed_is_told_and_others_go_on(reader, slow_video, video):
    errors = []

    def read():
        try:
            reader.read(slow_video, SHAPES, 2)
        except VideoDecodeError as error:
            errors.append(str(error))

    reader.read(video, SHAPES)
    wait_for(lambda: len(processes_of(reader)) == 1)
    thread = threading.Thread(target=read)
    thread.start()
    wait_for(lambda: len(processes_of(reader)) == 2)
    # Another visitor does not wait for the slow one.
    started = time.monotonic()
    reader.read(video, SHAPES)
    assert time.monotonic() - started < 2
    assert thread.is_alive()
    os.kill(processes_of(reader)[1], 9)
    thread.join(30)
    assert errors == [f"{slow_video}: the process that decoded it died; it may take 9 s and 1 GB of memory"]
    os.kill(processes_of(reader)[0], 9)  # the server too
    reader._server._process.wait()
    assert len(reader.read(video, SHAPES).clips) == 2


@pytest.mark.slow
def test_no_more_wait_than_may(slow_video, video, reader):
    small = LimitedClipReader(HOW, processes=1, waiting=0)
    small._server.close()
    small._server = reader._server
    failed = []

    def read():
        try:
            small.read(slow_video, SHAPES, 2)
        except VideoDecodeError:
            failed.append(1)

    thread = threading.Thread(target=read)
    thread.start()
    wait_for(lambda: len(processes_of(reader)) == 2)
    with pytest.raises(BusyError, match="1 videos are being read or waited for; try again"):
        small.read(video, SHAPES)
    os.kill(processes_of(reader)[1], 9)
    thread.join(30)
    assert failed == [1]
    small.read(video, SHAPES)


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(slow_video, tmp_path):
    """By SIGKILL, while one decodes."""
    script = f"""
import threading
from pathlib import Path
from tests.data.test_limited_reader import HOW, SHAPES, processes_of, LimitedClipReader, wait_for
reader = LimitedClipReader(HOW)
threading.Thread(target=reader.read, args=({slow_video!r}, SHAPES, 2)).start()
wait_for(lambda: len(processes_of(reader)) == 2)
Path({str(tmp_path / "new")!r}).write_text(" ".join(map(str, processes_of(reader))))
Path({str(tmp_path / "new")!r}).rename({str(tmp_path / "pids")!r})
"""
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    try:
        wait_for((tmp_path / "pids").exists, 60)
    finally:
        parent.kill()
        parent.wait()
    pids = list(map(int, (tmp_path / "pids").read_text().split()))
    assert len(pids) == 2
    wait_for(lambda: not any(map(is_running, pids)))


@pytest.mark.slow
def test_its_copy_has_a_server_of_its_own(reader):
    copy = pickle.loads(pickle.dumps(reader))
    assert copy.limits == reader.limits
    assert copy._server is not reader._server
    copy.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"processes": 0}, "processes is 0; it must be an integer of at least 1"),
        ({"waiting": -1}, "waiting is -1; it must be an integer of at least 0"),
        ({"memory": 1.5}, "memory is 1.5; it must be an integer of at least 1"),
        ({"seconds": 0}, "seconds is 0; it must be a number above 0"),
    ],
)
def test_other_limits_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LimitedClipReader(HOW, **settings)

from __future__ import annotations

import errno
import threading
import time

import pytest

from mutualnet3d.data import outage
from mutualnet3d.data.lists import Video
from mutualnet3d.data.outage import DataAway, DataDisk, OutageCheck, errno_of, outages_reported_to


class ReadError(RuntimeError):
    pass


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Data set of twenty files in two folders, by `DataDisk`, and its folder."""
    monkeypatch.setattr(outage, "_FIRST_PAUSE", 0.02)
    root = tmp_path / "disk"
    videos = []
    for number in range(20):
        path = root / f"class_{number // 10}" / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video")
        videos.append(Video(str(path), 0, f"list:{number + 1}"))
    return DataDisk(videos, timeout=0.5), root


def reader(disk, index):
    def load():
        try:
            with open(disk.videos[index].path, "rb") as file:
                return file.read()
        except OSError as error:
            raise ReadError(str(error)) from error

    return load


def failing(code, times=1000):
    calls = []

    def load():
        calls.append(1)
        if len(calls) <= times:
            raise ReadError("failed") from OSError(code, "made up")
        return len(calls)

    return load


def test_a_single_file_that_is_missing_is_bad_at_once(data):
    disk, root = data
    (root / "class_0" / "3.mp4").unlink()
    started = time.monotonic()
    with pytest.raises(ReadError):
        disk.read(3, reader(disk, 3), ReadError)
    assert time.monotonic() - started < 0.2


@pytest.mark.parametrize("unmounted", [False, True])
def test_a_disk_that_comes_back_is_waited_for(data, unmounted):
    disk, root = data
    gone = root.rename(root.parent / "gone")
    if unmounted:
        root.mkdir()

    def come_back():
        if unmounted:
            root.rmdir()
        gone.rename(root)

    timer = threading.Timer(0.15, come_back)
    reports = []
    timer.start()
    with outages_reported_to(reports.append):
        assert disk.read(3, reader(disk, 3), ReadError) == b"video"
    timer.join()
    assert reports[0] > 0
    assert reports[-1] == 0.0


def test_a_disk_that_stays_away_ends_the_reading_and_is_waited_for_once(data):
    disk, root = data
    root.rename(root.parent / "gone")
    started = time.monotonic()
    with pytest.raises(DataAway, match=r"data disk away for \d+ s: .*class_0/3\.mp4"):
        disk.read(3, reader(disk, 3), ReadError)
    assert 0.4 < time.monotonic() - started < 2.0
    started = time.monotonic()
    with pytest.raises(DataAway):
        disk.read(4, reader(disk, 4), ReadError)
    assert time.monotonic() - started < 0.2


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_errors_of_a_disk(data, monkeypatch, code):
    disk, _ = data
    # The file is readable to its end: tried once more, and then it is damaged.
    assert disk.read(3, failing(code, times=1), ReadError) == 2
    with pytest.raises(ReadError):
        disk.read(3, failing(code), ReadError)
    monkeypatch.setattr(outage, "can_read", lambda video, to_its_end=False: not video.path.endswith("/3.mp4"))
    with pytest.raises(ReadError):  # it alone cannot be read: a bad block
        disk.read(3, failing(code), ReadError)
    monkeypatch.setattr(outage, "can_read", lambda video, to_its_end=False: False)
    assert disk.read(3, failing(code, times=3), ReadError) == 4
    with pytest.raises(DataAway):
        disk.read(3, failing(code), ReadError)


def test_too_few_descriptors_are_no_fault_of_the_video(data):
    disk, _ = data
    with pytest.raises(OSError, match=r"open files \(ulimit -n\)"):
        disk.read(3, failing(errno.EMFILE), ReadError)


def test_the_number_of_an_error_is_its_cause_s():
    error = ReadError("text")
    assert errno_of(error) is None
    error.__cause__ = OSError(errno.EIO, "made up")
    assert errno_of(error) == errno.EIO


def test_videos_that_are_read_once_are_told_from_a_disk_that_goes_away(data):
    disk, root = data
    paths = [video.path for video in disk.videos]
    check = OutageCheck([*paths, str(root / "never.mp4"), "s3://bucket/video.mp4"])
    (root / "class_0" / "3.mp4").unlink()
    check.refuse("one file of a folder is gone")
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(DataAway, match=r"^data disk away, no video is called bad for it: 5\.mp4: no such file$"):
        check.refuse("5.mp4: no such file")
    OutageCheck(paths).refuse("they never were there")
    OutageCheck([]).refuse("there are none")
    root.mkdir()  # where the disk was mounted
    with pytest.raises(DataAway):
        check.refuse("its folder is empty")
    root.rmdir()
    root.with_name("elsewhere").rename(root)
    check.refuse("it is back")


def test_an_error_of_the_disk_is_an_outage(data, monkeypatch):
    disk, _ = data
    check = OutageCheck([video.path for video in disk.videos])
    monkeypatch.setattr(outage, "_error_of", lambda path: OSError(errno.ESTALE, "stale"))
    with pytest.raises(DataAway):
        check.refuse("stale")

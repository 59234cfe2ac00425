from __future__ import annotations

import os
import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from mutualnet3d.data import folder_scan
from mutualnet3d.data.find_videos import find_videos
from mutualnet3d.data.folder_scan import ABSENT, PRESENT, UNSEEN, scan_folders
from mutualnet3d.data.video_list import Video, VideoList
from mutualnet3d.video import paths as video_paths
from mutualnet3d.video.paths import video_exists

NAMES = [f"{number}.mp4" for number in range(20)]


def listed(*paths):
    return VideoList.of([Video(os.fspath(path), 0, "list:1") for path in paths])


def found(videos):
    return [video.path for video in find_videos(videos).existing]


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / name).touch()
    return tmp_path


@pytest.fixture
def disk(monkeypatch):
    """Calls of the disk, counted; an error for a name in `errors` is raised instead of the call."""
    calls, errors = Counter(), {}

    def counted(name):
        def call(path):
            calls[name] += 1
            if name in errors:
                raise errors[name]
            return getattr(os, name)(path)

        return call

    counting = SimpleNamespace(stat=counted("stat"), scandir=counted("scandir"), path=os.path)
    for module in (folder_scan, video_paths):
        monkeypatch.setattr(module, "os", counting)
    return SimpleNamespace(calls=calls, errors=errors)


def test_one_listing_and_one_look_for_a_folder(folder, disk):
    videos = listed(*(folder / name for name in NAMES))
    assert find_videos(videos).existing == videos
    assert disk.calls == {"scandir": 1, "stat": 1}


def test_an_absent_folder_takes_no_look(tmp_path, disk):
    (tmp_path / "file").touch()
    for folder in ("none", "file", "none/../file", "a\0b"):
        assert found(listed(*(tmp_path / folder / name for name in NAMES))) == []
    assert disk.calls == {"scandir": 4, "stat": len(NAMES)}  # a path that cannot be is no absent folder
    assert scan_folders(listed(*(tmp_path / "none" / name for name in NAMES))).tolist() == [ABSENT] * len(NAMES)


def test_few_videos_of_a_folder_are_looked_at(folder, disk):
    videos = listed(*(folder / name for name in NAMES[:15]))
    assert find_videos(videos).existing == videos
    assert disk.calls == {"stat": 15}


def test_a_listing_ends_where_a_folder_has_many_more_files(folder, monkeypatch):
    for number in range(200):
        (folder / f"other {number}").touch()
    num_left = []

    def seen(entries, *args):
        yield from function(entries, *args)
        num_left.append(sum(1 for _ in entries))

    function = folder_scan._seen
    monkeypatch.setattr(folder_scan, "_seen", seen)
    videos = listed(*(folder / name for name in NAMES))
    assert find_videos(videos).existing == videos
    assert num_left == [220 - 4 * 20]


def test_folders_of_many_more_files_end_the_listings(tmp_path, disk, monkeypatch):
    """Listings that see less than half of the names are in vain."""
    monkeypatch.setattr(folder_scan, "_THREADS", 1)
    monkeypatch.setattr(folder_scan, "_MOST_IN_VAIN", 2)
    for number in range(6):
        (tmp_path / f"{number}").mkdir()
        for name in NAMES if number == 1 else NAMES[:9]:
            (tmp_path / f"{number}" / name).touch()
    videos = listed(*(tmp_path / f"{number}" / name for number in range(6) for name in NAMES))
    assert len(find_videos(videos).existing) == 20 + 5 * 9
    # Of folders 0 to 3; looks at one file of each, at the names that three lack, and at all of the last two.
    assert disk.calls == {"scandir": 4, "stat": 4 + 3 * 11 + 2 * 20}


def test_the_result_is_that_of_looks_at_all(folder, monkeypatch):
    (folder / "pictures").mkdir()
    (folder / "pictures" / "1.jpg").touch()
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    for name, target in {"link": "0.mp4", "folder link": "pictures", "dangling": "none", "loop": "loop"}.items():
        (folder / name).symlink_to(target)
    for name in (b"\xff.mp4", "é.mp4".encode(), b"a b\nc.mp4"):
        os.close(os.open(os.fsencode(folder) + b"/" + name, os.O_CREAT))
    others = ["pictures", "empty", "pipe.mp4", "link", "folder link", "dangling", "loop", "é.mp4", "e\u0301.mp4"]
    others += ["\udcff.mp4", "\udcc3\udca9.mp4", "\ud800.mp4", "a b\nc.mp4", "", ".", "..", "a\0b", "0.MP4", "0.mp4"]
    others += ["x" * 300, "0.mp4/", "none.mp4"]
    monkeypatch.chdir(folder)
    paths = [
        prefix + name
        for prefix in ("", "./", f"{folder}/", f"{folder}//", "pictures/../", "folder link/../", "0.mp4/../", "link/")
        for name in (*NAMES, *others)
    ]
    assert find_videos(listed(*paths)).existing == listed(*filter(video_exists, paths))
    states = scan_folders(listed(*paths)).reshape(8, -1)[:, : len(NAMES)]
    assert states.tolist() == [[PRESENT] * 20] * 6 + [[ABSENT] * 20] * 2


def test_a_name_that_the_listing_lacks_is_looked_at(folder, monkeypatch):
    """A disk may ignore case."""
    monkeypatch.setattr("mutualnet3d.data.find_videos.video_exists", lambda path: path.endswith("MP4"))
    videos = listed(*(folder / name for name in NAMES), folder / "1.MP4", folder / "1.mp5")
    assert find_videos(videos).existing == videos[:-1]


def test_a_folder_that_cannot_be_listed_or_reached(folder, disk):
    videos = listed(*(folder / name for name in NAMES))
    disk.errors["scandir"] = PermissionError()
    assert find_videos(videos).existing == videos
    assert disk.calls == {"scandir": 1, "stat": 20}
    del disk.errors["scandir"]
    disk.errors["stat"] = PermissionError()
    assert find_videos(videos).missing == videos


def test_a_disk_that_fails_or_lists_no_kinds(folder, monkeypatch):
    class Entry:
        def __init__(self, name, error=None):
            self.name, self._error = name, error

        def is_file(self, follow_symlinks):
            assert not follow_symlinks
            threads.add(threading.get_ident())
            if self._error:
                raise self._error
            return True

    def entries():
        yield from [Entry("0.mp4"), Entry("1.mp4", OSError()), Entry("2.mp4", FileNotFoundError())]
        yield Entry("3.mp4")
        raise OSError("input/output error")

    monkeypatch.setattr(folder_scan, "_PART", 1)
    monkeypatch.setattr(folder_scan, "_MOST_PARTS", 1)
    threads = set()
    with folder_scan.ThreadPoolExecutor(2) as checks:
        seen = list(folder_scan._seen(entries(), set(NAMES), checks))
    assert seen == [["0.mp4"], [], [], ["3.mp4"]]
    assert threads  # a look at a kind may be a wait
    assert threading.get_ident() not in threads


def test_pictures_remote_and_long_paths_are_left_to_looks(folder):
    pictures = [Video(str(folder), 0, "list:1", pictures=name) for name in NAMES]
    remote = [Video(f"s3://videos/{name}", 0, "list:1") for name in NAMES]
    long = [Video(f"{'x/../' * 200}{folder}/{name}", 0, "list:1") for name in NAMES]
    for videos in (pictures, remote, long, []):
        assert scan_folders(VideoList.of(videos)).tolist() == [UNSEEN] * len(videos)


def test_the_search_ends_at_a_folder_that_is_gone(tmp_path, disk):
    videos = listed(*(tmp_path / "none" / f"{number}.mp4" for number in range(2_000)))
    result = find_videos(videos, max_missing=500)
    assert (len(result.missing), result.num_left) == (625, 1_375)  # parts of 125
    assert disk.calls == {"scandir": 1}

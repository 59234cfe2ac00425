from __future__ import annotations

import csv
import os

import pytest

from mutualnet3d.data import bad_videos as bad_videos_module
from mutualnet3d.data.bad_videos import BadVideo, BadVideoFile, BadVideos, TooManyBadVideos
from mutualnet3d.data.batch_sampler import ClipRequest
from mutualnet3d.data.dataset import Failure
from mutualnet3d.data.lists import Video

VIDEOS = [Video(f"v{number}.mp4", 0, f"train.csv:{number + 1}") for number in range(10)]


def failure(index, reason="broken"):
    return Failure(ClipRequest(index, ()), f"v{index}.mp4: {reason}")


def lines(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_every_bad_video_is_written_down_once(tmp_path):
    path = str(tmp_path / "bad_videos.csv")
    bad = BadVideos("train", VIDEOS[:8], VIDEOS[8:], BadVideoFile(path))
    bad.report(failure(3, "two\nlines, and a comma"), position=17)
    bad.report(failure(3, "again"), position=40)
    bad.report(failure(5))
    assert lines(path) == [
        ["split", "path", "reason", "listed_at", "position"],
        ["train", "v8.mp4", "missing", "train.csv:9", ""],
        ["train", "v9.mp4", "missing", "train.csv:10", ""],
        ["train", "v3.mp4", "v3.mp4: two lines, and a comma", "train.csv:4", "17"],
        ["train", "v5.mp4", "v5.mp4: broken", "train.csv:6", ""],
    ]
    assert (bad.num_listed, bad.num_missing, bad.num_bad) == (10, 2, 2)


def test_a_later_run_adds_what_is_new(tmp_path):
    path = str(tmp_path / "bad_videos.csv")
    BadVideos("train", VIDEOS, [], BadVideoFile(path)).report(failure(3), position=17)
    again = BadVideos("train", VIDEOS, [], BadVideoFile(path))
    again.report(failure(3), position=17)
    again.report(failure(4), position=18)
    BadVideos("val", VIDEOS, [], BadVideoFile(path)).report(failure(3))
    assert [(row[0], row[1]) for row in lines(path)[1:]] == [
        ("train", "v3.mp4"),
        ("train", "v4.mp4"),
        ("val", "v3.mp4"),
    ]


def test_a_run_that_goes_on_knows_what_was_found_before(tmp_path):
    path = str(tmp_path / "bad_videos.csv")
    first = BadVideos("train", VIDEOS, [], BadVideoFile(path))
    for index, position in ((3, 17), (4, 30)):
        first.report(failure(index), position)
    again = BadVideos("train", VIDEOS, [], BadVideoFile(path))
    assert again.num_bad == 0  # what the file has of a killed run may be found again
    again.mark_bad([3, 5])
    assert again.num_bad == 2
    assert again.new_entries() == []  # all processes go on from the same checkpoint
    again.report(failure(3))
    assert again.num_bad == 2


def test_what_the_processes_of_a_job_find_is_put_together(tmp_path, monkeypatch):
    path = str(tmp_path / "bad_videos.csv")
    ranks = [
        BadVideos("train", VIDEOS, [], BadVideoFile(path, is_writer=rank == 0), max_fraction=0.2) for rank in range(2)
    ]
    ranks[0].report(failure(3), position=4)
    ranks[1].report(failure(7), position=9)
    assert [row[1] for row in lines(path)[1:]] == ["v3.mp4"]  # rank 0 alone writes
    entries = [entry for rank in ranks for entry in rank.new_entries()]
    for rank in ranks:
        rank.merge(entries)
        assert rank.num_bad == 2
    assert [row[1:] for row in lines(path)[1:]] == [
        ["v3.mp4", "v3.mp4: broken", "train.csv:4", "4"],
        ["v7.mp4", "v7.mp4: broken", "train.csv:8", "9"],
    ]
    monkeypatch.setattr(ranks[1], "_max_fraction", 0.3)
    ranks[1].report(failure(8))
    more = ranks[1].new_entries()
    assert [entry.path for entry in more] == ["v8.mp4"]  # what all know is not told again
    with pytest.raises(TooManyBadVideos, match="3 so far cannot be decoded"):
        ranks[0].merge(more)


def test_a_line_that_a_killed_run_left_unfinished_is_dropped(tmp_path):
    path = tmp_path / "bad_videos.csv"
    BadVideoFile(str(path)).add(BadVideo("train", "a.mp4", "broken", "list:1"))
    whole = path.read_bytes()
    path.write_bytes(whole + b'train,b.mp4,"half a li')
    file = BadVideoFile(str(path))
    assert path.read_bytes() == whole
    file.add(BadVideo("train", "b.mp4", "broken", "list:2"))
    assert [row[1] for row in lines(path)] == ["path", "a.mp4", "b.mp4"]


def test_a_file_of_other_columns_is_refused(tmp_path):
    path = tmp_path / "bad_videos.csv"
    path.write_text("name,why\n")
    with pytest.raises(ValueError, match=r"bad_videos\.csv:1: expected the header split,path,.*got 'name,why'"):
        BadVideoFile(str(path))


def test_too_many_end_the_run_and_say_why(tmp_path):
    path = str(tmp_path / "bad_videos.csv")
    bad = BadVideos("train", VIDEOS[:9], VIDEOS[9:], BadVideoFile(path), max_fraction=0.2)
    bad.report(failure(3))
    bad.report(failure(3))
    with pytest.raises(
        TooManyBadVideos,
        match=r"train: of 10 listed videos 1 are missing and 2 so far cannot be decoded, more than "
        r"DATA\.MAX_BAD_FRACTION, 0\.2, allows; the last: v5\.mp4: broken; all are in .*bad_videos\.csv",
    ):
        bad.report(failure(5))
    assert len(lines(path)) == 4  # the last one too


def test_too_many_missing_ones_end_the_run_at_once(tmp_path):
    file = BadVideoFile(str(tmp_path / "bad_videos.csv"))
    with pytest.raises(TooManyBadVideos, match=r"3 are missing.*the first that is missing is v7\.mp4, listed at train"):
        BadVideos("train", VIDEOS[:7], VIDEOS[7:], file, max_fraction=0.2)
    with pytest.raises(TooManyBadVideos, match="test: none of 10 listed videos is there"):
        BadVideos("test", [], VIDEOS, file)
    assert BadVideos("test", VIDEOS[:7], VIDEOS[7:], file).num_missing == 3


def test_missing_videos_beyond_the_limit_are_counted_and_the_first_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(bad_videos_module, "_MOST_OF_REFUSED", 3)
    monkeypatch.setattr(bad_videos_module, "_MOST_MISSING", 5)
    missing = [Video(f"v{number}.mp4", 0, f"list:{number}") for number in range(10)]
    file = BadVideoFile(str(tmp_path / "bad_videos.csv"))
    with pytest.raises(
        TooManyBadVideos,
        match=r"of 1010 listed videos 10 are missing .*is v0\.mp4, listed at list:0, then v1\.mp4, then v2\.mp4; "
        r"the first 3 are in",
    ):
        BadVideos("train", [], missing, file, max_fraction=0.001, num_left=1000)
    assert len((tmp_path / "bad_videos.csv").read_text().splitlines()) == 1 + 3
    assert BadVideos("val", [Video("w.mp4", 0, "list:11")], missing, file).num_missing == 10
    assert len((tmp_path / "bad_videos.csv").read_text().splitlines()) == 1 + 3 + 5


def test_damaged_videos_are_counted_once_and_stay_good(tmp_path):
    bad = BadVideos("train", VIDEOS, [], BadVideoFile(str(tmp_path / "bad_videos.csv")))
    for index in (3, 5, 3):
        bad.report_damaged(index)
    assert (bad.num_damaged, bad.damaged, bad.num_bad) == (2, {3, 5}, 0)


def test_a_file_that_may_never_end_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "bad_videos.csv")
    with pytest.raises(ValueError, match=r"bad_videos\.csv: a list of bad videos must be a file; this is a FIFO"):
        BadVideoFile(str(tmp_path / "bad_videos.csv"))

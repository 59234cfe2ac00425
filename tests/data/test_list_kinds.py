from __future__ import annotations

from dataclasses import fields

import pytest

from mutualnet3d.data.bad_videos import BadVideo
from mutualnet3d.data.kinetics_csv import KINETICS_COLUMNS
from mutualnet3d.data.list_kinds import large_label_hint, no_label_hint, other_kind, raw_frames_path, report_kind
from mutualnet3d.data.official_splits import MISSING_COLUMNS

KINETICS = ",".join(KINETICS_COLUMNS)


def test_files_that_are_written_beside_lists_are_known_by_their_headers():
    bad_videos = ",".join(field.name for field in fields(BadVideo))
    assert report_kind("out/bad_videos.csv", bad_videos) == "a run's list of bad videos"
    assert report_kind("x.csv", "path,status,reason") == "a report of check-videos"  # of the releases before
    assert report_kind("lists/missing.csv", KINETICS) == "make-lists' list of missing videos"
    assert report_kind("lists/missing.csv", ",".join(MISSING_COLUMNS)) == "make-lists' list of missing videos"
    assert report_kind("lists/train.csv", KINETICS) == ""
    assert report_kind("lists/missing.csv", "a.mp4 1") == ""  # a list may have this name


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["a.mp4 0"],
        ["a.mp4,0", "b.mp4,1"],
        ["0,a.mp4", "1,b.mp4"],  # two columns: labels of videos, or videos named by numbers
        ["0 a.mp4 1", "1 b.mp4 1"],  # paths with spaces
        ["0,a.mp4,1"],  # one line tells nothing
        ["7,a.mp4,1", "8,b.mp4,1"],
        ['"0,a.mp4",1', '"1,b.mp4",1'],
    ],
)
def test_what_may_be_a_list_is_none_of_them(lines):
    assert other_kind("train.csv", lines) == ""


def test_hints_of_lines():
    assert no_label_hint("one.mp4") == ""
    assert large_label_hint("one.mp4 9", 9, 5) == ""
    assert raw_frames_path("some/dir 120 3", " ") == "some/dir"
    assert raw_frames_path("some/dir 120 3", ",") == ""
    assert raw_frames_path("some dir/a 120 3", " ") == ""
    assert raw_frames_path("a.mp4 3", " ") == ""

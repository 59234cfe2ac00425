from __future__ import annotations

import os

import pytest

from mutualnet3d.data.list_kinds import report_kind
from mutualnet3d.data.preparation_record import COLUMNS, Preparation, PreparationRecord, preparation_of
from mutualnet3d.video.transcode import Encoding

ENTRY = Preparation(7, 1_700_000_000_123_456_789, Encoding(short_side=64, preset="slow"), damages=3)


def test_entries_come_back(tmp_path):
    record = PreparationRecord(str(tmp_path))
    assert record.is_new
    odd = os.fsdecode(b'a, "b"/\xff.mp4')  # a name that is no UTF-8
    record.write({"a.avi": ENTRY})
    record.add(odd, Preparation(8, 9, Encoding()))
    again = PreparationRecord(str(tmp_path))
    assert not again.is_new
    assert again.get("a.avi") == ENTRY
    assert again.get(odd) == Preparation(8, 9, Encoding())
    assert again.get("b.avi") is None


def test_a_line_that_a_kill_left_unfinished_is_dropped(tmp_path):
    PreparationRecord(str(tmp_path)).write({"a.avi": ENTRY})
    with open(tmp_path / "prepared.csv", "a") as file:
        file.write("b.avi,12,34,64,12,2")
    record = PreparationRecord(str(tmp_path))
    assert (record.get("a.avi"), record.get("b.avi")) == (ENTRY, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4 1\n", r"prepared\.csv:1: expected the header path,size,mtime_ns,short_side,keyframe_every,crf,preset"),
        (
            ",".join(COLUMNS) + "\na.avi,1\n",
            r"prepared\.csv:2: expected path,size,.* got \['a\.avi', '1'\]: not enough",
        ),
        (",".join(COLUMNS) + "\na.avi,1,2,4,4,5,slow,0,0\n", r"prepared\.csv:2: expected path,.*takes from"),
        (",".join(COLUMNS) + "\na.avi,1,2,3,4,5,slow\n", r"prepared\.csv:2: .*: short_side is 3; allowed: even, 2 or"),
    ],
)
def test_files_that_are_no_record(tmp_path, text, message):
    (tmp_path / "prepared.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        PreparationRecord(str(tmp_path))


def test_a_record_of_the_first_releases_is_continued(tmp_path):
    header = ",".join(COLUMNS[:-1])
    (tmp_path / "prepared.csv").write_text(f"{header}\na.avi,8,9,256,12,23,medium\n")
    assert PreparationRecord(str(tmp_path)).get("a.avi") == Preparation(8, 9, Encoding(), damages=0)
    assert report_kind("prepared.csv", header) == "prepare-videos' record"


def test_differences(tmp_path):
    (tmp_path / "a.avi").write_bytes(b"1234567")
    preparation = preparation_of(str(tmp_path / "a.avi"), Encoding(crf=20))
    assert preparation == Preparation(7, os.stat(tmp_path / "a.avi").st_mtime_ns, Encoding(crf=20))
    assert not preparation.is_of_source(ENTRY)
    assert preparation.difference(Encoding(crf=20)) == ""
    assert preparation.difference(Encoding(preset="fast")) == "crf 20, not 23, preset medium, not fast"
    assert report_kind("prepared.csv", ",".join(COLUMNS)) == "prepare-videos' record"


def test_a_record_that_may_never_end_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "prepared.csv")
    with pytest.raises(ValueError, match=r"prepared\.csv: a record of encoded videos must be a file; this is a FIFO"):
        PreparationRecord(str(tmp_path))

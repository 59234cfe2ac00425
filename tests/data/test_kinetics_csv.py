from __future__ import annotations

import pytest

from mutualnet3d.data.kinetics_csv import read_kinetics_csv
from tests.data.test_make_lists import write_csv


def test_no_such_kinetics_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file at .*none\.csv; expected a CSV file with the columns label,"):
        read_kinetics_csv(str(tmp_path / "none.csv"))


def test_columns_may_stand_in_any_order_after_a_byte_order_mark(tmp_path):
    (tmp_path / "a.csv").write_bytes(
        b"\xef\xbb\xbfyoutube_id,split,label,time_end,time_start\r\nabc,val,a b,12,2\r\n\r\n"
    )
    (clip,) = read_kinetics_csv(str(tmp_path / "a.csv"))
    assert (clip.label, clip.youtube_id, clip.start, clip.end, clip.split) == ("a b", "abc", 2, 12, "val")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("yoga,abc,1,11", r"a\.csv:3: expected 5 fields, got 'yoga,abc,1,11'; the columns are label,youtube_id,"),
        ("yoga,,1,11,val", r"a\.csv:3: expected a label and a youtube_id, got 'yoga,,1,11,val'"),
        (",abc,1,11,val", r"a\.csv:3: expected a label and a youtube_id"),
        ("yoga,abc,1.5,11,val", r"a\.csv:3: time_start and time_end must be whole seconds, the end after the start"),
        ("yoga,abc,11,11,val", r"a\.csv:3: time_start and time_end must be whole seconds, .* got 'yoga,abc,11,11,val'"),
        ("yoga,abc,1,11,dev", r"a\.csv:3: split must be one of train, val, validate, validation, test, got 'yoga,"),
        ('"yoga"x,abc,1,11,val', r"a\.csv:3: the file must be CSV: ',' expected after"),
    ],
)
def test_malformed_rows(tmp_path, row, message):
    path = write_csv(tmp_path / "a.csv", "yoga,abc,1,11,val", row)
    with pytest.raises(ValueError, match=message):
        read_kinetics_csv(path)


def test_files_that_list_nothing_or_are_no_text(tmp_path):
    with pytest.raises(ValueError, match=r"a\.csv: the file lists no video"):
        read_kinetics_csv(write_csv(tmp_path / "a.csv"))
    with pytest.raises(
        ValueError, match=r"a\.csv:1: no column 'split'; expected label,.*,split, got 'label,youtube_id"
    ):
        read_kinetics_csv(write_csv(tmp_path / "a.csv", header="label,youtube_id,time_start,time_end"))
    with pytest.raises(
        ValueError, match=r"a\.csv:1: no column 'label'; a test file that comes without labels makes no"
    ):
        read_kinetics_csv(write_csv(tmp_path / "a.csv", header="youtube_id,time_start,time_end,split"))
    (tmp_path / "a.csv").write_bytes(b"label\nyoga\xff\n")
    with pytest.raises(ValueError, match=r"a\.csv:2: the text must be UTF-8, got the byte 0xff"):
        read_kinetics_csv(str(tmp_path / "a.csv"))

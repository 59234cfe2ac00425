from __future__ import annotations

import pytest

from mutualnet3d.data.any_list import read_any_list


def test_lists_of_either_kind_are_read(tmp_path):
    path = tmp_path / "train.csv"
    (tmp_path / "a.mp4").write_bytes(b"")
    path.write_text("a.mp4 3,17\n")
    videos, sets = read_any_list(str(path), 18)
    assert sets.texts()[videos[0].label] == "3,17"
    path.write_text("video 1.mp4,3\nvideo 2.mp4,1\n")
    videos, sets = read_any_list(str(path), 18)
    assert sets is None
    assert [video.label for video in videos] == [3, 1]
    path.write_text("a.mp4 x\n")
    with pytest.raises(ValueError, match="label must be a class from 0 to 17, got 'x'"):
        read_any_list(str(path), 18)

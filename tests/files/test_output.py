from __future__ import annotations

import os
import re

import pytest

from mutualnet3d.files.output import check_output_file, check_output_folder


def test_outputs_that_can_be_written_leave_no_trace(tmp_path):
    check_output_folder(str(tmp_path / "a" / "b"), "--output")
    check_output_file(str(tmp_path / "c" / "report.csv"), "--output")
    check_output_file(str(tmp_path / "report.csv"), "--output")
    assert os.listdir(tmp_path) == []


def test_a_name_without_a_folder_is_of_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_output_file("report.csv", "--output")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("check", "name", "message"),
    [
        (check_output_folder, "file", "--output: .*file is no folder; nothing can be written into .*file$"),
        (check_output_folder, "file/below", "--output: .*file is no folder; nothing can be written into .*file/below$"),
        (check_output_file, "file/below.csv", "--output: .*file is no folder; nothing can be written into .*file$"),
        (check_output_file, "folder", "--output: .*folder is a folder; expected a file"),
    ],
)
def test_outputs_that_cannot_be_written_are_named(check, name, message, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=message):
        check(str(tmp_path / name), "--output")


def test_a_folder_without_permission_is_named(tmp_path):
    if os.geteuid() == 0:
        folder = "/proc/self"  # where root cannot write either
    else:
        tmp_path.chmod(0o500)
        folder = str(tmp_path)
    with pytest.raises(ValueError, match=rf"OUTPUT_DIR: nothing can be written into {re.escape(folder)}: "):
        check_output_folder(folder, "OUTPUT_DIR")

from __future__ import annotations

import os
import socket

import pytest

from mutualnet3d.files.regular import check_regular
from mutualnet3d.files.torch_file import read_torch_file


def test_files_and_what_is_absent_pass(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for name in ("a", "link", "none", "a/b"):
        check_regular(str(tmp_path / name), "a list")


def test_what_is_no_file_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    os.mkdir("folder")
    os.symlink("circle", "circle")
    os.symlink("nowhere", "broken")
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind("plug")
    cases = {
        "pipe": "pipe: a pipe; it must be a list",
        "folder": "folder: a folder;",
        "/dev/zero": "/dev/zero: a device;",
        "plug": "plug: a socket;",
        "circle": "'circle': cannot be read as a list: Too many levels of symbolic links",
        "broken": "broken: a link to nothing;",
        "x" * 300: "cannot be read as a list: File name too long",
        "a\0b": r"cannot be read as a list: embedded null",
    }
    for path, message in cases.items():
        with pytest.raises(ValueError, match=message):
            check_regular(path, "a list")
        with pytest.raises(ValueError, match=message):
            read_torch_file(path, "a list")

from __future__ import annotations

import os
import socket

import pytest

from mutualnet3d.files.regular import check_regular, kind_of, read_bounded
from mutualnet3d.files.torch_file import read_torch_file


def test_files_are_read_up_to_their_bound(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    (tmp_path / "link").symlink_to("a")
    assert read_bounded(str(path), "a table", 5) == read_bounded(str(tmp_path / "link"), "a table", 5) == b"12345"
    with pytest.raises(ValueError, match="a: a table has at most 0 MB; this file is larger"):
        read_bounded(str(path), "a table", 4)
    with pytest.raises(FileNotFoundError, match=r"no table at .*nothing"):
        read_bounded(str(tmp_path / "nothing"), "a table", 4)


def test_a_sparse_file_of_100_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "a"
    path.touch()
    os.truncate(path, 100 << 30)
    with pytest.raises(ValueError, match="a table has at most 1 MB"):
        read_bounded(str(path), "a table", 1 << 20)


def test_what_may_never_end_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    for path, kind in (
        (tmp_path / "fifo", "a FIFO"),
        (tmp_path / "socket", "a socket"),
        ("/dev/zero", "a device"),
        (tmp_path, "a folder"),
    ):
        with pytest.raises(ValueError, match=f"{path}: a table must be a file; this is {kind}"):
            read_bounded(str(path), "a table", 4)


def test_a_link_is_told_from_its_file(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to("a")
    assert kind_of(os.lstat(tmp_path / "link").st_mode) == "a link"
    assert kind_of(os.stat(tmp_path / "link").st_mode) is None


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
        "pipe": "pipe: a list must be a file; this is a FIFO",
        "folder": "folder: a list must be a file; this is a folder",
        "/dev/zero": "/dev/zero: a list must be a file; this is a device",
        "plug": "plug: a list must be a file; this is a socket",
        "circle": "'circle': cannot be read as a list: Too many levels of symbolic links",
        "broken": "broken: a list must be a file; this is a link to nothing",
        "x" * 300: "cannot be read as a list: File name too long",
        "a\0b": r"cannot be read as a list: embedded null",
    }
    for path, message in cases.items():
        with pytest.raises(ValueError, match=message):
            check_regular(path, "a list")
        with pytest.raises(ValueError, match=message):
            read_torch_file(path, "a list")

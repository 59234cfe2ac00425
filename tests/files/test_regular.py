from __future__ import annotations

import os
import socket

import pytest

from mutualnet3d.files.regular import kind_of, read_bounded


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

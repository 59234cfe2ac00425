from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

import pytest

from mutualnet3d.files import atomic, unfinished
from tests.copies import SERVER


def _write_and_die(path, kind):
    begin = atomic.atomic_file if kind == "file" else atomic.atomic_folder
    with begin(path) as temporary:
        Path(temporary, "half" if kind == "folder" else "").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def half_written(path, kind):
    """Begin to write in a process that is killed in the middle."""
    process = SERVER.Process(target=_write_and_die, args=(str(path), kind))
    process.start()
    process.join(30.0)
    assert process.exitcode == -signal.SIGKILL


def write(path, kind):
    if kind == "file":
        atomic.write_text(str(path), "whole")
    else:
        with atomic.atomic_folder(str(path)) as temporary:
            Path(temporary, "a").write_text("whole")


def names_in(folder):
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_next_write_removes_what_a_killed_writer_left(tmp_path, kind):
    half_written(tmp_path / "a", kind)
    half_written(tmp_path / "b", kind)
    left_a, left_b = names_in(tmp_path)
    assert (left_a[:3], left_b[:3], left_a[-4:]) == (".a.", ".b.", ".tmp")
    write(tmp_path / "a", kind)
    assert names_in(tmp_path) == [left_b, "a"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_being_written_stays(tmp_path, kind, monkeypatch):
    """By another thread or process, and by another machine's: its number tells nothing here, its lock does."""
    begin = atomic.atomic_file if kind == "file" else atomic.atomic_folder
    with begin(str(tmp_path / "a")) as temporary:
        Path(temporary, "half" if kind == "folder" else "").write_text("half")
        unfinished.remove_abandoned(str(tmp_path), "a")
        monkeypatch.setattr(unfinished, "is_running", lambda pid: False)
        unfinished.remove_abandoned(str(tmp_path), "a")
        assert os.path.exists(temporary)
    assert names_in(tmp_path) == ["a"]


def test_only_an_output_s_own_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(unfinished, "is_running", lambda pid: pid == 7)
    foreign = [".a.b.9.tmp", ".a.7.tmp", ".a.x.tmp", ".a.9.tmp2", "a.9.tmp", ".b.9.tmp", ".a.12345678.9a.b.tmp"]
    for name in (*foreign, ".a.9.tmp", ".a.8.abc_1.tmp"):
        (tmp_path / name).touch()
    (tmp_path / ".a.8.folder.tmp").mkdir()  # without a lock: of something else
    unfinished.remove_abandoned(str(tmp_path), "a")
    assert names_in(tmp_path) == sorted([*foreign, ".a.8.folder.tmp"])
    unfinished.remove_abandoned(str(tmp_path / "none"), "a")
    unfinished.remove_abandoned(str(tmp_path))
    others = {".a.b.9.tmp", ".b.9.tmp"}
    assert names_in(tmp_path) == sorted({*foreign, ".a.8.folder.tmp"} - others)


def test_a_link_or_a_pipe_is_not_followed_or_waited_for(tmp_path):
    (tmp_path / "precious").write_text("x")
    number = 4194305  # above the largest of a process
    (tmp_path / f".a.{number}.tmp").symlink_to(tmp_path / "precious")
    os.mkfifo(tmp_path / f".a.{number + 1}.tmp")
    unfinished.remove_abandoned(str(tmp_path), "a")
    assert (tmp_path / "precious").read_text() == "x"


def test_a_disk_without_locks_is_written_and_nothing_of_it_is_removed(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError("no locks available")

    (tmp_path / ".a.4194305.tmp").touch()
    monkeypatch.setattr(fcntl, "flock", refuse)
    atomic.write_text(str(tmp_path / "a"), "whole")
    assert names_in(tmp_path) == [".a.4194305.tmp", "a"]

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict, replace

import pytest

from mutualnet3d.files import folder_lock
from mutualnet3d.files.folder_lock import STALE_SECONDS, FolderInUse, FolderLock, is_running, start_of
from tests.copies import SERVER


@pytest.fixture
def hold(tmp_path):
    """Write the lock of another run, whose holder differs from this process by `changes`; return its path."""

    def write(seconds_ago=0.0, **changes):
        lock = FolderLock(str(tmp_path))
        path = tmp_path / "run.lock"
        path.write_text(json.dumps(asdict(replace(lock.own, token="other", **changes))))
        touched = time.time() - seconds_ago
        os.utime(path, (touched, touched))
        return path

    return write


def taken_over(tmp_path, **arguments):
    """Return what is reported when the folder is taken."""
    with FolderLock(str(tmp_path), **arguments) as lock:
        assert lock.is_held()
        assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]
    assert list(tmp_path.iterdir()) == []
    return lock.notices


def test_a_folder_is_of_one_run_at_a_time(tmp_path):
    folder = tmp_path / "new"
    with FolderLock(str(folder), "SLURM job 7"):
        expected = (
            rf"{re.escape(str(folder))} is in use by another run: process {os.getpid()} on \S+ of SLURM job 7, since "
            r"\d{4}-.*choose another OUTPUT_DIR"
        )
        with pytest.raises(FolderInUse, match=expected), FolderLock(str(folder), "SLURM job 7", attempt=1):
            pass
        assert [path.name for path in folder.iterdir()] == ["run.lock"]
    assert taken_over(folder) == []


def test_the_lock_goes_with_an_error(tmp_path):
    with pytest.raises(KeyError), FolderLock(str(tmp_path)):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_gone_holds_nothing(tmp_path, hold):
    process = SERVER.Process(target=int)
    process.start()
    assert process.pid is not None
    process.join()
    assert not is_running(process.pid)
    hold(pid=process.pid)
    (line,) = taken_over(tmp_path)
    assert line.endswith("is taken over: its process is gone")


def test_a_number_that_another_process_has_now_holds_nothing(tmp_path, hold):
    hold(started=start_of(os.getpid()) - 1)
    assert taken_over(tmp_path)[0].endswith("its process is gone")
    hold(boot="before")
    assert taken_over(tmp_path)[0].endswith("the machine was started again since")


def test_another_machine_holds_it_while_it_touches_the_file(tmp_path, hold):
    hold(host="node9")
    with pytest.raises(FolderInUse, match=r"on node9.*killed on another machine counts as ended when"):
        taken_over(tmp_path)
    hold(host="node9", seconds_ago=STALE_SECONDS + 1)
    assert re.search(r"was not touched for 18\d s$", taken_over(tmp_path)[0])


def test_a_job_that_is_started_again_takes_its_own_over(tmp_path, hold):
    hold(host="node9", job="SLURM job 7", attempt=0)
    for job, attempt in (("SLURM job 7", 0), ("SLURM job 8", 1), ("", 1)):
        with pytest.raises(FolderInUse):
            taken_over(tmp_path, job=job, attempt=attempt)
    assert taken_over(tmp_path, job="SLURM job 7", attempt=1)[0].endswith("it is of an earlier start of this job")


def test_a_lock_without_content_is_of_somebody_for_a_while(tmp_path):
    (tmp_path / "run.lock").touch()
    with pytest.raises(FolderInUse, match="of which its lock does not tell"):
        taken_over(tmp_path)
    os.utime(tmp_path / "run.lock", (1, 1))
    assert len(taken_over(tmp_path)) == 1


def test_a_disk_without_links(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock.os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    with FolderLock(str(tmp_path)) as lock:
        assert lock.is_held()
        with pytest.raises(FolderInUse):
            taken_over(tmp_path)


def test_a_holder_touches_its_file_and_notices_that_it_is_lost(tmp_path, hold, monkeypatch):
    monkeypatch.setattr(folder_lock, "BEAT_SECONDS", 0.01)
    with FolderLock(str(tmp_path)) as lock:
        path = tmp_path / "run.lock"
        os.utime(path, (1, 1))
        deadline = time.monotonic() + 10.0
        while path.stat().st_mtime == 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 1
        lock.check()
        hold(host="node9", seconds_ago=1000.0)
        with pytest.raises(FolderInUse, match=r"was taken over from this run by process \d+ on node9"):
            lock.check()
    assert path.exists()  # the other's

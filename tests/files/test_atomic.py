from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from mutualnet3d.demo.write_set import write_clip
from mutualnet3d.files import atomic
from mutualnet3d.files.torch_file import CHECKPOINT, write_torch_file
from tests.copies import SERVER
from tests.small_disk import mount, why_none


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.csv"
    atomic.write_text(str(path), "first\n")

    def fail(source, target):
        raise OSError("no space left")

    monkeypatch.setattr(atomic.os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        atomic.write_text(str(path), "second\n")
    assert [(file.name, file.read_text()) for file in path.parent.iterdir()] == [("a.csv", "first\n")]


def test_a_folder_is_whole_or_absent(tmp_path):
    path = tmp_path / "new" / "bundle"

    def break_off():
        with atomic.atomic_folder(str(path)) as temporary:
            (Path(temporary) / "a").write_text("half")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        break_off()
    assert list(path.parent.iterdir()) == []
    with atomic.atomic_folder(str(path)) as temporary:
        folder = Path(temporary)
        (folder / "b").mkdir()
        (folder / "b" / "a").write_text("whole")
        assert not path.exists()
    assert [(file.relative_to(path.parent).as_posix(), file.read_text()) for file in path.rglob("a")] == [
        ("bundle/b/a", "whole")
    ]
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == (tmp_path / "new").stat().st_mode & 0o777
    with pytest.raises(FileExistsError, match="bundle is there already"), atomic.atomic_folder(str(path)):
        pass


@pytest.mark.parametrize("has_links", [True, False])
def test_a_second_name_takes_the_place_of_the_old_one(tmp_path, monkeypatch, has_links):
    if not has_links:
        monkeypatch.setattr(atomic.os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    (tmp_path / "best").write_text("old")
    (tmp_path / "newest").write_text("new")
    atomic.link_atomically(str(tmp_path / "newest"), str(tmp_path / "best"))
    assert (tmp_path / "best").read_text() == "new"
    assert (tmp_path / "best").samefile(tmp_path / "newest") is has_links
    assert sorted(file.name for file in tmp_path.iterdir()) == ["best", "newest"]


def test_the_temporary_name_is_hidden_and_a_process_own(tmp_path):
    assert atomic.temporary_path(str(tmp_path / "a.mp4"), pid=7) == str(tmp_path / ".a.mp4.7.tmp")
    with atomic.atomic_file(str(tmp_path / "a.mp4"), sync=False) as temporary:
        assert temporary == atomic.temporary_path(str(tmp_path / "a.mp4"))
        open(temporary, "w").close()
    assert (tmp_path / "a.mp4").exists()


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half of the ne")
        raise OSError("disk full, on purpose")

    with pytest.raises(OSError, match="disk full"):
        atomic.write_atomically(str(path), fail)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.bin", b"old")]


def _write_all(folder, pipe):
    """Write files of each kind to a disk of 256 kB, and send the errors and what is left."""
    mount(folder, 256 << 10)
    path = Path(folder, "whole")
    atomic.write_text(str(path), "old")

    def write(kind):
        if kind == "text":
            atomic.write_text(str(path), "x" * 1_000_000)
        elif kind == "checkpoint":
            write_torch_file(str(path), CHECKPOINT, {"x": torch.zeros(500_000)})
        elif kind == "scores":
            atomic.write_atomically(str(path), lambda file: np.savez(file, x=np.zeros(500_000)))
        elif kind == "video":
            noise = np.random.default_rng(0).integers(0, 255, (60, 256, 256, 3), dtype=np.uint8)
            write_clip(path.with_suffix(".mp4"), noise, 24)
        else:
            with atomic.atomic_folder(f"{path}_folder") as temporary, open(os.path.join(temporary, "a"), "wb") as file:
                file.write(bytes(1_000_000))

    for kind in ("text", "checkpoint", "scores", "video", "folder"):
        try:
            write(kind)
        except OSError as error:
            pipe.send((kind, type(error).__name__, error.errno, str(error), sorted(os.listdir(folder))))
        else:
            pipe.send((kind, "written", 0, "", sorted(os.listdir(folder))))


@pytest.mark.skipif(bool(why_none()), reason=why_none())
def test_a_full_disk_is_named_with_its_file_and_leaves_no_half(tmp_path):
    receiver, sender = SERVER.Pipe(duplex=False)
    process = SERVER.Process(target=_write_all, args=(str(tmp_path), sender))
    process.start()
    for name, kept in (
        ("whole", "the one before is whole"),
        ("whole", "the one before is whole"),
        ("whole", "the one before is whole"),
        ("whole.mp4", "no part of it is left"),
        ("whole_folder", "no part of it is left"),
    ):
        kind, error, number, message, names = receiver.recv()
        assert (error, number, names) == ("WriteError", errno.ENOSPC, ["whole"]), kind
        start = re.escape(f"{tmp_path / name} cannot be written: No space left on device (")
        free = rf"{start}\d+ bytes are free on the disk of {re.escape(str(tmp_path))}\); {kept}"
        assert re.fullmatch(free, message), message
    process.join()


def test_what_a_killed_process_left_is_removed(tmp_path):
    names = [".a.csv.7.tmp", ".a.b.8.tmp", ".a.csv.tmp", "a.csv.7.tmp", ".x.abcd12.tmp"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".folder.7.tmp").mkdir()
    assert atomic.remove_unfinished(str(tmp_path), lambda pid: pid == 8) == [".a.csv.7.tmp"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names[1:], ".folder.7.tmp"])

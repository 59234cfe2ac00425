from __future__ import annotations

from pathlib import Path

import pytest

from mutualnet3d.files import atomic


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

from __future__ import annotations

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

from __future__ import annotations

import hashlib

from mutualnet3d.data.preparation_lists import PreparedLists, is_below, new_name


def test_lists_are_written_for_what_is_there(tmp_path):
    """tests/data/test_prepare_videos.py has the lists that cannot be."""
    root, out = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    (root / "a.avi").touch()
    (root / "train.csv").write_text("a.avi jump\nb.avi run\n")
    (root / "names.txt").write_text("jump\nrun\n")
    names = str(root / "names.txt")
    lists = PreparedLists([str(root / "train.csv")], str(root), str(out), "", " ", names)
    out.mkdir()
    lists.write(lambda target: target == str(out / "a.mp4"))
    assert (out / "train.csv").read_text() == "a.mp4 0\n"
    assert (out / "labels.json").read_text() == '{\n "jump": 0,\n "run": 1\n}\n'
    digest = hashlib.sha256(b"jump\nrun\n").hexdigest()
    assert lists.hashes()[names] == f"with SHA-256 {digest}"
    assert list(lists.hashes()) == [str(root / "train.csv"), names]


def test_names_and_places():
    assert new_name("a.b/c.d.webm") == "a.b/c.d.mp4"
    assert is_below("/a/b", "/a")
    assert is_below("/a", "/a")
    assert not is_below("/ab", "/a")

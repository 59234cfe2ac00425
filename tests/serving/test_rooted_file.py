from __future__ import annotations

import os

import pytest

from mutualnet3d.serving.rooted_file import NoFileError, file_below


@pytest.fixture
def root(tmp_path):
    """A folder with a file, links that lead out of it and back, and what is no file."""
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "ü 1.mp4").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "relative").symlink_to("../secret")
    (root / "out").symlink_to(tmp_path)
    (root / "in").symlink_to("a")
    os.mkfifo(root / "fifo")
    return root


def test_a_file_is_opened_by_its_name(root):
    with file_below(str(root), "a/ü 1.mp4") as fd, open(f"/proc/self/fd/{fd}", encoding="utf-8") as file:
        assert file.read() == "inside"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    with pytest.raises(FileNotFoundError), file_below(str(root / "none"), "a"):
        pass


@pytest.mark.parametrize(
    "name",
    [
        *("../secret", "a/../../secret", "..", ".", "", "/", "a//ü 1.mp4", "./a/ü 1.mp4", "{outside}/secret"),
        *("link", "relative", "out/secret", "in/ü 1.mp4", "fifo", "a", "a/", "none", "a/ü 1.mp4/x"),
        *("a/ü 1.mp4\0", "%2e%2e/secret", "..%2fsecret", "..\\secret", "x" * 5000, "\udcff"),
    ],
)
def test_no_other_name_opens_anything(name, root):
    open_before = len(os.listdir("/proc/self/fd"))
    with (
        pytest.raises(NoFileError, match=r"no video .* below the server's folder"),
        file_below(str(root), name.format(outside=root.parent)),
    ):
        pass
    assert len(os.listdir("/proc/self/fd")) == open_before

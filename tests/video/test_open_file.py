from __future__ import annotations

import os
import tempfile

import pytest

from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.open_file import path_of_open_file


def test_a_file_without_a_name_is_read_by_a_path_and_errors_call_it_by_its_name(tmp_path):
    with tempfile.TemporaryFile() as file:
        file.write(b"a video")
        file.flush()
        with path_of_open_file(file.fileno(), "a.mp4") as path, open(path, "rb") as again:
            assert again.read() == b"a video"
        for kind in (VideoDecodeError, ValueError):
            with pytest.raises(kind, match=r"^a\.mp4: wrong$"), path_of_open_file(file.fileno(), "a.mp4") as path:
                raise kind(f"{path}: wrong")
    (tmp_path / "b").write_bytes(b"another")
    fd = os.open(tmp_path / "b", os.O_PATH)
    with path_of_open_file(fd, "b") as path, open(path, "rb") as file:
        assert file.read() == b"another"
    os.close(fd)

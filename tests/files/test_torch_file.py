from __future__ import annotations

import pytest
import torch

from mutualnet3d.files.torch_file import CHECKPOINT, MODEL, VERSIONS, format_of, read_torch_file, write_torch_file


@pytest.mark.parametrize("file_format", [CHECKPOINT, MODEL])
def test_a_file_says_its_format_and_version(file_format, tmp_path):
    path = str(tmp_path / "a.pyth")
    write_torch_file(path, file_format, {"w": torch.ones(2)})
    content = read_torch_file(path, "a file")
    assert (content["format"], content["version"]) == (file_format, VERSIONS[file_format])
    assert torch.equal(content["w"], torch.ones(2))
    assert format_of(content, path) == file_format
    with pytest.raises(
        ValueError, match=rf"a\.pyth: {file_format.split('.')[1]} version 99; this release reads up to 1"
    ):
        format_of({**content, "version": 99}, path)


@pytest.mark.parametrize("content", [[1], {"w": 1}, {"format": "another"}, {"format": [CHECKPOINT]}, None])
def test_files_of_other_projects_have_no_format(content):
    assert format_of(content, "a.pyth") is None


def test_a_flipped_bit_is_found(tmp_path):
    """torch.load would take it for a weight."""
    path = tmp_path / "a.pyth"
    write_torch_file(str(path), MODEL, {"w": torch.zeros(1000)})
    content = bytearray(path.read_bytes())
    place = content.index(bytes(400))
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pyth: cannot be read as a file.*the check sum of .* in it is wrong"):
        read_torch_file(str(path), "a file")


@pytest.mark.parametrize("version", [None, "1", 0, 1.0, True])
def test_a_version_that_is_no_number_is_refused(version):
    with pytest.raises(ValueError, match=r"a\.pyth: model version is .*; it must be an integer from 1 to 1"):
        format_of({"format": MODEL, "version": version}, "a.pyth")


@pytest.mark.parametrize("content", [b"", b"hello world\n" * 20, b"K\x01.", b"\x80\x02}q", b"(lp0\n" * 9, bytes(99)])
def test_files_that_are_none_are_refused(content, tmp_path):
    """Any text is a pickle to torch, whose nonsense ends in errors of any type."""
    path = tmp_path / "a.pyth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pyth: cannot be read as a file"):
        read_torch_file(str(path), "a file")

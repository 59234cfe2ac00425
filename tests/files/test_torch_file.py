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

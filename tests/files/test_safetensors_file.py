"""safetensors' files: told by their bytes, read, and refused by name."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import save_file

from mutualnet3d.files.safetensors_file import is_safetensors, read_safetensors


def test_tensors_come_back_from_any_name(tmp_path):
    tensors = {"a.weight": torch.arange(6.0).view(2, 3), "a.count": torch.tensor(3)}
    for name in ("weights.safetensors", "weights.bin"):
        save_file(tensors, tmp_path / name)
        assert is_safetensors(str(tmp_path / name))
        read = read_safetensors(str(tmp_path / name), "weights")
        assert read.keys() == tensors.keys()
        assert all(torch.equal(read[key], value) for key, value in tensors.items())


def test_other_files_are_none(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "new.pth")
    torch.save({"a": torch.ones(1)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "text.pth").write_text('{"a": 1}')
    assert not any(is_safetensors(str(tmp_path / f"{name}.pth")) for name in ("new", "old", "text", "absent"))
    os.mkfifo(tmp_path / "fifo.pth")
    with pytest.raises(ValueError, match="this is a FIFO"):
        is_safetensors(str(tmp_path / "fifo.pth"))


def test_damaged_and_absent_files_are_named(tmp_path):
    path = tmp_path / "cut.safetensors"
    save_file({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"cut\.safetensors: cannot be read as weights \(safetensors\), it may be tru"):
        read_safetensors(str(path), "weights")
    with pytest.raises(FileNotFoundError, match=r"no file at .*none\.safetensors, which should be weights"):
        read_safetensors(str(tmp_path / "none.safetensors"), "weights")

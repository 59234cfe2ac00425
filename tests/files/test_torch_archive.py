from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from mutualnet3d.files.torch_archive import check_archive, is_archive
from mutualnet3d.files.torch_file import MODEL, read_torch_file, write_torch_file


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / "a.pyth")
    write_torch_file(path, MODEL, {"w": torch.arange(1000.0), "empty": torch.empty(0)})
    return path


def rewrite(path, change):
    """Write the archive anew, its parts changed by `change`: names and contents, and a method of compression."""
    with zipfile.ZipFile(path) as archive:
        parts = [(record.filename, archive.read(record)) for record in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content, method in change([(name, content, zipfile.ZIP_STORED) for name, content in parts]):
            archive.writestr(name, content, method)


def test_what_torch_writes_passes(path, tmp_path):
    assert is_archive(path)
    check_archive(path)
    rewrite(path, lambda parts: parts)
    check_archive(path)
    torch.save({"w": torch.ones(2)}, tmp_path / "legacy.pyth", _use_new_zipfile_serialization=False)
    assert not is_archive(str(tmp_path / "legacy.pyth"))
    assert torch.equal(read_torch_file(str(tmp_path / "legacy.pyth"), "weights")["w"], torch.ones(2))


def test_a_file_without_check_sums_is_read(tmp_path, monkeypatch):
    path = str(tmp_path / "a.pyth")
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.ones(2)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_torch_file(path, "weights")["w"], torch.ones(2))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parts: [*parts, parts[1]], "two of its parts have the same name"),
        (lambda parts: [*parts, ("other/x", b"1", zipfile.ZIP_STORED)], "its parts are not data.pkl and others in one"),
        (lambda parts: parts[1:], "its parts are not data.pkl"),
        (
            lambda parts: [*parts, ("archive/data/9", bytes(10**7), zipfile.ZIP_DEFLATED)],
            "its part archive/data/9 is compressed",
        ),
    ],
)
def test_another_structure_is_refused(path, change, message):
    rewrite(path, change)
    with pytest.raises(ValueError, match=message):
        check_archive(path)


def test_more_before_or_after_is_refused(path):
    file = Path(path)
    whole = file.read_bytes()
    for content in (whole + b"x", whole + bytes(30), whole[:4] + b"x" * 9 + whole):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.pyth: cannot be read as a file"):
            read_torch_file(path, "a file")


def test_a_part_that_is_said_to_be_a_folder_is_refused(path):
    """torch would take a tensor from memory that it has not written; no check sum covers this byte."""
    content = bytearray(Path(path).read_bytes())
    record = content.index(b"archive/data/0", content.index(b"PK\x01\x02")) - 46
    content[record + 38] |= 0x10
    Path(path).write_bytes(content)
    with pytest.raises(ValueError, match=r"its part archive/data/0 is said to be encrypted or a folder"):
        check_archive(path)

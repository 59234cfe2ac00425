"""Bundles: whole or refused, with the file that is damaged."""

from __future__ import annotations

import re
import subprocess

import pytest

from mutualnet3d.deploy import bundle as bundle_module
from mutualnet3d.deploy.bundle import CHECKPOINT, DESCRIPTION, SUMS, Bundle, write_bundle
from mutualnet3d.deploy.export import export
from mutualnet3d.files import atomic
from tests.cli.test_latency import CONFIGS
from tests.deploy.networks import SMALL, source_of

for module in ("onnx", "onnxruntime", "openvino"):
    pytest.importorskip(module, reason=f"{module} is not installed (extra [deploy])")


def test_its_sums_are_those_of_coreutils(exported):
    _, bundle = exported
    subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=bundle.path, check=True, capture_output=True)


def test_what_a_killed_export_left_does_not_hinder_the_next(tmp_path, monkeypatch):
    """In a container every process may have the same number; the bundle is for all to read."""
    source = source_of("x3d", tmp_path)
    path = tmp_path / "of" / "all" / "bundle"
    monkeypatch.setattr(atomic.shutil, "rmtree", lambda *args, **kwargs: None)  # as if it was killed
    with pytest.raises(KeyError):
        write_bundle(str(path), {}, None, lambda folder: {}["no networks"])
    assert [entry.name[:8] for entry in path.parent.iterdir()] == [".bundle."]
    monkeypatch.undo()
    bundle = export(source, str(path), [SMALL], ["pytorch"])
    assert bundle.configs == (SMALL,)
    assert path.stat().st_mode & 0o777 == (tmp_path / "of").stat().st_mode & 0o777
    assert len(list(path.parent.iterdir())) == 2


@pytest.fixture
def copied(exported, tmp_path):
    _, bundle = exported
    path = tmp_path / "copied"
    subprocess.run(["cp", "-r", bundle.path, path], check=True)
    return path


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    [
        DESCRIPTION,
        "query_table.json",
        CHECKPOINT,
        *(f"networks/{CONFIGS[0]}{end}" for end in (".onnx", ".bin", ".pt2")),
    ],
)
def test_a_changed_byte_is_found(name, copied):
    flip(copied / name)
    with pytest.raises(ValueError, match=re.escape(f"{name} is not what was written")):
        Bundle.load(str(copied))


def test_a_changed_list_of_sums_is_found(copied):
    flip(copied / SUMS)
    with pytest.raises(ValueError, match=r"copied.*(is not what was written|expected a SHA-256 sum|is missing|not in)"):
        Bundle.load(str(copied))


def test_missing_and_added_files_are_found(copied):
    (copied / "networks" / "more.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"networks/more\.onnx is not in SHA256SUMS"):
        Bundle.load(str(copied))
    (copied / "networks" / "more.onnx").unlink()
    (copied / CHECKPOINT).unlink()
    with pytest.raises(ValueError, match=r"checkpoint\.pyth is missing"):
        Bundle.load(str(copied))


def test_other_folders_are_no_bundles(tmp_path, copied):
    with pytest.raises(FileNotFoundError, match=r"not a bundle: it has no bundle\.json"):
        Bundle.load(str(tmp_path))
    (copied / SUMS).unlink()
    with pytest.raises(ValueError, match="SHA256SUMS is missing"):
        Bundle.load(str(copied))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"version": 1', '"version": 9', r"bundle\.json: version 9; this release reads 1"),
        ('"mutualnet3d.bundle"', '"another"', r"bundle\.json: not the description of a bundle"),
        ('"schema"', "schema", r"bundle\.json: not a JSON file"),
    ],
)
def test_other_descriptions_are_refused(old, new, message, copied):
    (copied / DESCRIPTION).write_text((copied / DESCRIPTION).read_text().replace(old, new, 1))
    (copied / SUMS).unlink()
    bundle_module._write_sums(str(copied))
    with pytest.raises(ValueError, match=message):
        Bundle.load(str(copied))

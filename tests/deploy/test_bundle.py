"""Bundles: whole or refused, with the file that is damaged."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from mutualnet3d.deploy.bundle import CHECKPOINT, DESCRIPTION, Bundle, write_bundle
from mutualnet3d.deploy.bundle_files import SUMS, write_sums
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


def test_a_bundle_is_one_line(exported):
    _, bundle = exported
    formats = "onnx, openvino, pt2, pytorch"
    text = f"{len(bundle.configs)} sub-networks, {len(bundle.class_names)} classes; {formats}"
    assert repr(bundle) == f"<Bundle: {bundle.path}: {text}>"


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
    write_sums(str(copied))
    with pytest.raises(ValueError, match=message):
        Bundle.load(str(copied))


def described(copied, change):
    """The bundle with a changed description, which its sums are right for."""
    content = json.loads((copied / DESCRIPTION).read_text())
    change(content)
    (copied / DESCRIPTION).write_text(json.dumps(content))
    (copied / SUMS).unlink()
    write_sums(str(copied))
    return str(copied)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("networks", None, "networks is None; it must be an object, not empty"),
        ("networks", {}, "networks is {}; it must be an object, not empty"),
        ("networks", {"zz": {}}, "networks: not a sub-network's key: 'zz'"),
        ("networks", {"w0.5-s32-t2": 3}, "w0.5-s32-t2 is 3; it must have gflops, params, inputs, files, differences"),
        ("class_names", "ab", "class_names is 'ab'; it must be a list"),
        ("class_names", ["a", 1], r"class_names is \['a', 1\]; it must be a list of texts"),
        ("preprocessing", [], r"preprocessing is \[\]; it must be a mapping"),
        ("about", 1, "about is 1; it must be an object"),
    ],
)
def test_parts_of_another_type_are_named(name, value, message, copied):
    with pytest.raises(ValueError, match=rf"bundle\.json: {message}"):
        Bundle.load(described(copied, lambda content: content.update({name: value})))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("gflops", "1", "gflops is '1'; it must be a number of at least 0"),
        ("params", None, "params is None; it must be a number of at least 0"),
        ("inputs", [], r"inputs is \[\]; it must be \(T, S, S, 3\) of each pathway"),
        ("inputs", [[1, 2]], r"inputs is \[\[1, 2\]\]; it must be \(T, S, S, 3\)"),
        ("inputs", [[0, 8, 8, 3]], "inputs: ClipShape: frames must be an integer of at least 1, got 0"),
        ("files", {"onnx": 3}, "files is {'onnx': 3}; it must have a value for each format"),
        ("files", {"onnx": "../other.onnx"}, r"has the file '\.\./other\.onnx', which is not in the bundle"),
        ("differences", {"onnx": "x"}, "differences is .*; it must have a value for each format"),
    ],
)
def test_networks_that_are_none_are_named(name, value, message, copied):
    with pytest.raises(ValueError, match=rf"bundle\.json: w.*{message}"):
        Bundle.load(described(copied, lambda content: next(iter(content["networks"].values())).update({name: value})))


def test_names_of_other_classes_are_refused(copied):
    bundle = Bundle.load(described(copied, lambda content: content["class_names"].pop()))
    with pytest.raises(ValueError, match=r"bundle\.json: class_names has \d+ names, the classifier \d+ outputs"):
        bundle.network()


def test_a_network_that_openvino_cannot_read_is_named(copied):
    config = Bundle.load(str(copied)).configs[0]
    (copied / "networks" / f"{config}.xml").write_text("junk")
    bundle = Bundle.load(described(copied, lambda content: None))
    with pytest.raises(ValueError, match=rf"{re.escape(str(config))}\.xml: OpenVINO cannot read it: "):
        bundle.openvino(config)

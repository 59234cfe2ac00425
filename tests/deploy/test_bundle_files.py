"""Bundles of somebody who means harm: nothing runs, nothing outside is read, nothing hangs."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from mutualnet3d.deploy.backends import BACKENDS
from mutualnet3d.deploy.bundle import CHECKPOINT, DESCRIPTION, TABLE, Bundle
from mutualnet3d.deploy.bundle_files import SUMS, check_sums, list_files, write_sums
from mutualnet3d.deploy.clip_network import random_clips
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.deploy.quantize import quantize
from mutualnet3d.extras import installed
from tests.cli.test_latency import CONFIGS
from tests.conftest import restored_generators
from tests.damages import damaged
from tests.deploy.damages import bundle_attempts, scores

onnx, _, openvino = (
    pytest.importorskip(module, reason=f"{module} is not installed (extra [deploy])")
    for module in ("onnx", "onnxruntime", "openvino")
)
FULL = f"networks/{CONFIGS[0]}"
DAMAGES = range(int(os.environ.get("MUTUALNET3D_TEST_DAMAGES", "40")))  # of each file


@pytest.fixture(scope="module")
def whole(exported, tmp_path_factory):
    """A bundle in all formats, the float32 networks in the place of int8 ones."""
    path = tmp_path_factory.mktemp("whole") / "bundle"
    shutil.copytree(exported[1].path, path)
    content = json.loads((path / DESCRIPTION).read_text())
    for key, values in content["networks"].items():
        for end in (".xml", ".bin"):
            shutil.copy(path / f"networks/{key}{end}", path / f"networks/{key}-int8{end}")
        values["files"]["openvino-int8"] = f"networks/{key}-int8.xml"
    (path / DESCRIPTION).write_text(json.dumps(content))
    renewed(path)
    return path


@pytest.fixture(scope="module")
def quantized(whole, exported, tmp_path_factory):
    """Bundle of `whole` with a network that was quantised, where NNCF is installed."""
    path = tmp_path_factory.mktemp("quantized") / "bundle"
    shutil.copytree(whole, path)
    if installed("nncf"):
        tested, _ = exported
        with restored_generators():
            clips = [random_clips(tested.shapes(CONFIGS[1]), 2, seed=1)]
            model = quantize(tested.openvino(CONFIGS[1]), clips)
        openvino.save_model(model, path / f"networks/{CONFIGS[1]}-int8.xml", compress_to_fp16=False)
        assert "FakeQuantize" in (path / f"networks/{CONFIGS[1]}-int8.xml").read_text()
        renewed(path)
    return path


@pytest.fixture
def copied(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "copied"))


def renewed(path: Path) -> str:
    """Make the sums right again, as the maker of a hostile bundle does."""
    (path / SUMS).unlink(missing_ok=True)
    write_sums(str(path))
    return str(path)


# ---- code ------------------------------------------------------------------------------------------------------------


class Touch:
    """Value whose unpickling makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def poison_program(path: Path, kind: str, mark: Path) -> None:
    """Put a pickle in the place of all weights of a .pt2 file, or an expression in that of all its symbols."""
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    for name, content in entries.items():
        if kind == "expression":
            if name.endswith("model.json"):
                expression = f"__import__('os').system('touch {mark}')"
                entries[name] = re.sub(rb'"expr_str": ?"[^"]*"', f'"expr_str": "{expression}"'.encode(), content)
        elif name.endswith("model_weights_config.json"):
            entries[name] = re.sub(rb'"use_pickle": ?false', b'"use_pickle": true', content)
        elif "/weights/" in name:
            entries[name] = pickle.dumps(Touch(mark))
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)


@pytest.mark.parametrize("kind", ["pickle", "expression"])
@pytest.mark.parametrize("backend", ["auto", "fast", "pytorch", "openvino", "onnxruntime", "openvino-int8", "pt2"])
def test_a_hostile_bundle_runs_nothing_but_where_pt2_is_named(backend, kind, copied):
    """Every .pt2 file has code; the model file too. To name "pt2" does load it: the poison works."""
    mark = copied.parent / "mark"
    for config in CONFIGS:
        poison_program(copied / f"networks/{config}.pt2", kind, mark)
    if backend == "pt2":
        with pytest.raises(ValueError, match=r"networks/w.*\.pt2: pt2 cannot run it"):
            scores(renewed(copied), backend)
        assert mark.exists()
        return
    predictor = Predictor.load(renewed(copied), backend=backend, threads=1)
    assert len(scores(str(copied), predictor.backend)) == 2
    assert not mark.exists()
    if backend in ("auto", "fast"):
        reason = "its files are code, which runs when it is loaded; name pt2 if you trust who made them"
        assert predictor.rejected["pt2"] == reason


def test_a_bundle_of_programs_alone_needs_the_name(copied):
    content = json.loads((copied / DESCRIPTION).read_text())
    for values in content["networks"].values():
        values["files"] = {"pt2": values["files"]["pt2"]}
    (copied / DESCRIPTION).write_text(json.dumps(content))
    (copied / CHECKPOINT).unlink()
    with pytest.raises(ValueError, match=r"no back end can run .*pt2: its files are code"):
        Predictor.load(renewed(copied))
    assert Predictor.load(str(copied), backend="pt2").backend == "pt2"


@pytest.mark.parametrize("backend", ["auto", "fast", "pytorch"])
def test_a_pickle_in_the_model_file_runs_nothing(backend, copied):
    mark = copied.parent / "mark"
    torch.save({"format": "mutualnet3d.model", "version": 1, "model_state": Touch(mark)}, copied / CHECKPOINT)
    with pytest.raises(ValueError, match=r"checkpoint\.pyth: cannot be read as a model file"):
        scores(renewed(copied), backend)
    assert not mark.exists()
    torch.load(copied / CHECKPOINT, weights_only=False)  # the poison works
    assert mark.exists()


# ---- files outside ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["outside.bin", "../../outside.bin", "ABSOLUTE"])
def test_weights_in_other_files_are_refused(place, copied):
    path = copied / f"{FULL}.onnx"
    model = onnx.load(path)
    outside = copied.parent / "outside.bin"
    for tensor in model.graph.initializer:
        with outside.open("ab") as file:
            offset = file.tell()
            file.write(tensor.raw_data)
        onnx.external_data_helper.set_external_data(
            tensor, str(outside) if place == "ABSOLUTE" else place, offset, len(tensor.raw_data)
        )
        tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=rf"{FULL}\.onnx: its weights are in other files"):
        scores(renewed(copied), "onnxruntime")


@pytest.mark.parametrize("text", ["ONNX", "<!DOCTYPE net [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><net>&a;</net>"])
def test_openvino_reads_nothing_but_its_own_format(text, copied):
    """It takes a file for ONNX by its content, and ONNX may name files."""
    path = copied / f"{FULL}.xml"
    path.write_bytes((copied / f"{FULL}.onnx").read_bytes() if text == "ONNX" else text.encode())
    with pytest.raises(ValueError, match=rf"{FULL}\.xml: OpenVINO cannot read it: it does not begin with <\?xml"):
        scores(renewed(copied), "openvino")


def test_openvinos_entities_are_not_read(copied):
    (copied / f"{FULL}.xml").write_text(
        '<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/hostname">]><net name="&a;" version="11"/>'
    )
    with pytest.raises(ValueError, match=rf"{FULL}\.xml: "):
        scores(renewed(copied), "openvino")


def test_weights_of_openvino_are_in_the_bundle(copied):
    (copied / f"{FULL}.bin").unlink()
    with pytest.raises(ValueError, match=rf"bundle\.json: w.*, whose '{FULL}\.bin' is not in the bundle"):
        Bundle.load(renewed(copied))


# ---- what is no file -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [DESCRIPTION, SUMS, TABLE, CHECKPOINT, f"{FULL}.onnx", "networks/more"])
@pytest.mark.parametrize("kind", ["a FIFO", "a link", "a folder"])
def test_what_is_no_file_is_refused_by_name(kind, name, exported, tmp_path):
    path = Path(shutil.copytree(exported[1].path, tmp_path / "bundle"))
    place = path / name
    if place.exists():
        place.rename(tmp_path / "outside")
    if kind == "a FIFO":
        os.mkfifo(place)
    elif kind == "a link":
        place.symlink_to(tmp_path / "outside")
    else:
        place.mkdir()
        (place / "file").touch()
    with pytest.raises(ValueError, match=rf"{name}(/file)? (is {kind}|is not in|is missing)|{name}: .* this is {kind}"):
        Bundle.load(str(path))


def test_a_folder_that_is_a_link_is_refused_and_the_bundle_itself_may_be(exported, tmp_path):
    path = Path(shutil.copytree(exported[1].path, tmp_path / "bundle"))
    (tmp_path / "link").symlink_to("bundle")
    assert Bundle.load(str(tmp_path / "link")).configs == CONFIGS
    (path / "networks").rename(tmp_path / "networks")
    (path / "networks").symlink_to("../networks")
    with pytest.raises(ValueError, match="bundle: networks is a link; a bundle has files and folders alone"):
        Bundle.load(str(path))


@pytest.mark.parametrize("name", [DESCRIPTION, SUMS, TABLE, CHECKPOINT])
def test_a_sparse_file_of_100_gigabytes_is_refused_at_once(name, exported, tmp_path):
    path = Path(shutil.copytree(exported[1].path, tmp_path / "bundle"))
    os.truncate(path / name, 100 << 30)
    with pytest.raises(ValueError, match=f"{name} has 107374182400 bytes; allowed: 4294967296"):
        Bundle.load(str(path))


def test_names_that_cannot_be_printed_are_refused(tmp_path):
    (tmp_path / "\x1b[2J").touch()
    with pytest.raises(ValueError, match=r"the name '\\x1b\[2J' in it has characters that cannot be printed"):
        list_files(str(tmp_path))


def test_the_same_file_twice_in_the_sums(tmp_path):
    (tmp_path / "a").touch()
    write_sums(str(tmp_path))
    assert check_sums(str(tmp_path)) == ["a"]
    (tmp_path / SUMS).write_text(2 * (tmp_path / SUMS).read_text())
    with pytest.raises(ValueError, match="SHA256SUMS, line 2: 'a' is in the list twice"):
        check_sums(str(tmp_path))


# ---- numbers ---------------------------------------------------------------------------------------------------------


def poison_statistics(content, value):
    next(iter(next(iter(content["statistics"].values())).values()))[1][0] = value


def poison_weights(content, value):
    next(tensor for name, tensor in content["model_state"].items() if name.endswith("running_var"))[0] = value


@pytest.mark.parametrize(("value", "message"), [(-1.0, "below 0"), (float("nan"), "not finite|not or below")])
@pytest.mark.parametrize("poison", [poison_statistics, poison_weights])
def test_statistics_that_are_none_are_refused(poison, value, message, copied):
    content = torch.load(copied / CHECKPOINT)
    poison(content, value)
    torch.save(content, copied / CHECKPOINT)
    with pytest.raises(ValueError, match=rf"checkpoint\.pyth: .*({message})"):
        scores(renewed(copied), "pytorch")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_network_of_other_classes_is_refused(backend, copied):
    content = json.loads((copied / DESCRIPTION).read_text())
    content["class_names"].append("more")
    (copied / DESCRIPTION).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"networks/w.*: the network gives \(1, 2\) for 1 views; expected logits of 3"):
        scores(renewed(copied), backend)


# ---- damages ---------------------------------------------------------------------------------------------------------


def damages_by_the_senders_sums(whole, path, numbers):
    """A damage of any file is found by the sums, or is none. Of one network alone: each time all is hashed."""
    shutil.copytree(whole, path, ignore=lambda folder, names: [name for name in names if str(CONFIGS[0]) in name])
    renewed(path)
    files = [*list_files(str(path)), SUMS]
    for name in files:
        content = (path / name).read_bytes()
        for number in numbers:
            changed = damaged(content, number)
            (path / name).write_bytes(changed)
            if changed == content:
                check_sums(str(path))
                continue
            with pytest.raises(ValueError, match=SUMS if name == SUMS else f"{re.escape(name)} is not what was"):
                check_sums(str(path))
        (path / name).write_bytes(content)
    return len(files)


def test_a_damage_of_each_file_is_found(whole, tmp_path):
    assert damages_by_the_senders_sums(whole, tmp_path / "copied", range(4)) == 10


@pytest.mark.slow
def test_damages_of_each_file_are_found(whole, tmp_path):
    damages_by_the_senders_sums(whole, tmp_path / "copied", DAMAGES)


NATIVE = {
    ".onnx": "onnxruntime",
    ".xml": "openvino",
    ".bin": "openvino",
    "-int8.xml": "openvino-int8",
    "-int8.bin": "openvino-int8",
}


def check_damages_under_right_sums(whole, folder, end, numbers):
    """Damages before the sums are made: other numbers are possible, as other weights are."""
    backend = NATIVE.get(end, "pytorch")
    name, config = (f"networks/{CONFIGS[1]}{end}", CONFIGS[1]) if end in NATIVE else (end, None)
    attempts = bundle_attempts(str(whole), folder, name, backend, numbers, config)
    attempts.check("refused", "equal", "others")
    assert attempts.outcomes.total() == len(numbers)
    assert attempts.outcomes["refused"] > len(numbers) / 4


@pytest.mark.parametrize("end", [CHECKPOINT, ".onnx", ".bin"])
def test_damages_that_the_sums_do_not_show(end, whole, tmp_path):
    check_damages_under_right_sums(whole, tmp_path, end, range(4))


@pytest.mark.slow
@pytest.mark.parametrize("end", [DESCRIPTION, TABLE, CHECKPOINT, *NATIVE])
def test_damages_that_the_sums_do_not_show_are_refused_by_name_or_a_prediction_ends(end, quantized, tmp_path):
    check_damages_under_right_sums(quantized, tmp_path, end, DAMAGES)


def test_names_of_back_ends():
    assert [name for name, kind in BACKENDS.items() if kind.runs_files] == ["pt2"]

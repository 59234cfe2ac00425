"""Damaged bytes of every kind of file with weights: refused by name, or weights; each within 10 s and 500 MB.

Files that torch.save writes today have check sums: no damage of theirs gives other weights."""

from __future__ import annotations

import functools
import io
import json
import pickle
import re
import struct
from functools import partial
from pathlib import Path

import pytest
import torch

from mutualnet3d.deploy.load import build_network_of
from mutualnet3d.files.torch_file import CHECKPOINT, write_torch_file
from mutualnet3d.models import SlimmableNet, load_weights, read_model_file, write_model_file
from tests.damages import damaged, run_attempts
from tests.models.families import calibrated, tiny
from tests.models.test_model_file import CONFIG, model_file_of

# pytorchvideo's names of an X3D's layers -> PySlowFast's, one after the other.
_TO_PYSLOWFAST = (
    (r"blocks\.0\.conv\.conv_t\.", "s1.pathway0_stem.conv_xy."),
    (r"blocks\.0\.conv\.conv_xy\.", "s1.pathway0_stem.conv."),
    (r"blocks\.0\.norm\.", "s1.pathway0_stem.bn."),
    (r"blocks\.(\d)\.res_blocks\.", lambda match: f"s{int(match[1]) + 1}.pathway0_res"),
    (r"branch1_conv", "branch1"),
    (r"branch1_norm", "branch1_bn"),
    (r"norm_b\.1\.block\.0", "se.fc1"),
    (r"norm_b\.1\.block\.2", "se.fc2"),
    (r"norm_b\.0", "b_bn"),
    (r"norm_([abc])", r"\1_bn"),
    (r"conv_([abc])\.", r"\1."),
    (r"blocks\.5\.proj", "head.projection"),
    (r"blocks\.5\.pool\.pre_conv", "head.conv_5"),
    (r"blocks\.5\.pool\.pre_norm", "head.conv_5_bn"),
    (r"blocks\.5\.pool\.post_conv", "head.lin_5"),
)


def pyslowfast_name(name: str) -> str:
    for pattern, new in _TO_PYSLOWFAST:
        name = re.sub(pattern, new, name)
    return name


def saved(content: object, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def safetensors(state: dict[str, torch.Tensor]) -> bytes:
    """Return the state dict in the format of safetensors, which torch.load reads."""
    header, data = {}, b""
    for name, value in state.items():
        content = value.numpy().tobytes()
        header[name] = {
            "dtype": "F32" if value.is_floating_point() else "I64",
            "shape": list(value.shape),
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def write_files(folder: Path) -> None:
    """Write a file of each kind, of the tiny X3D."""
    model = tiny("x3d")
    state = model.state_dict()
    pyslowfast = {"epoch": 3, "model_state": {pyslowfast_name(name): value for name, value in state.items()}}
    caffe2 = pickle.dumps({"blobs": {name: value.numpy() for name, value in state.items()}}, protocol=2)
    for name, content in {
        "zoo.pyth": saved({"model_state": state}),
        "legacy.pyth": saved({"state_dict": state}, legacy=True),
        "pyslowfast.pyth": saved({**pyslowfast, "cfg": "TRAIN: {}"}, legacy=True),
        "caffe2.pkl": caffe2,
        "caffe2.pyth": caffe2,
        "weights.safetensors": safetensors(state),
    }.items():
        (folder / name).write_bytes(content)
    write_torch_file(str(folder / "checkpoint.pyth"), CHECKPOINT, {"step": 7, "model_state": state})
    write_model_file(str(folder / "calibrated.pyth"), model_file_of(calibrated(model, CONFIG), class_names=("a",) * 7))


# Outcomes beside "refused" that a damage may have.
KINDS = {
    "calibrated.pyth": {"equal"},
    "checkpoint.pyth": {"equal"},
    "zoo.pyth": {"equal"},
    "legacy.pyth": {"equal", "others"},
    "pyslowfast.pyth": {"equal", "others"},
    "caffe2.pkl": set(),
    "caffe2.pyth": set(),
    "weights.safetensors": {"equal", "others"},
}


@functools.cache
def network() -> SlimmableNet:
    return tiny("x3d")


def values_of(path: str) -> list[object]:
    """Return what a file gives: tensors of weights and statistics as bytes, and the plain values."""
    if path.endswith("calibrated.pyth"):
        model_file = read_model_file(path)
        model = build_network_of(model_file, path)
        values: list[object] = [model_file.class_names, model_file.preprocessing, model_file.space, model_file.config]
    else:
        model, values = network(), []
        values.append(load_weights(model, path))
    tensors = [*model.state_dict().values()]
    for config in model.statistics:
        tensors += [part for pair in model.statistics[config].values() for part in pair]
    return [*values, *(tensor.numpy().tobytes() for tensor in tensors)]


def attempt(path: str, content: bytes, expected: list[object] | None, number: int) -> str:
    Path(path).write_bytes(damaged(content, number))
    try:
        values = values_of(path)
    except ValueError as error:
        return "refused" if path in str(error) else f"without the file: {error}"
    except Exception as error:  # noqa: BLE001 - the point: there must be none
        return f"{type(error).__name__}: {error}"
    return "equal" if values == expected else "others"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng(devices=[]):
        write_files(folder)
    return folder


def check_damages(folder, name, numbers):
    path, allowed = folder / name, KINDS[name]
    content = path.read_bytes()
    with torch.random.fork_rng(devices=[]):
        expected = values_of(str(path)) if allowed else None
    attempts = run_attempts(partial(attempt, str(path), content, expected), numbers)
    path.write_bytes(content)
    attempts.check("refused", *allowed)
    assert attempts.outcomes.total() == len(numbers)
    assert attempts.outcomes["refused"] > len(numbers) / 4


@pytest.mark.parametrize("name", ["calibrated.pyth", "pyslowfast.pyth"])
def test_damages_are_refused_by_name_or_give_weights(name, files):
    check_damages(files, name, range(8))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(KINDS))
def test_60_damages_are_refused_by_name_or_give_weights(name, files):
    check_damages(files, name, range(60))

from __future__ import annotations

import os

import pytest
import torch

from mutualnet3d.engine.checkpoint import (
    file_hash,
    load_checkpoint,
    load_model_state,
    save_checkpoint,
    statistics_to_state,
)
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.shapes import ClipShape, SubnetConfig


def test_what_is_saved_comes_back(tmp_path):
    path = str(tmp_path / "a.pyth")
    statistics = {SubnetConfig(0.63, 160, 10): {"norm": (torch.randn(8), torch.rand(8))}}
    state = statistics_to_state(statistics)
    save_checkpoint(path, {"step": 7, "model_state": {"w": torch.ones(2)}, "statistics": state})
    content = load_checkpoint(path)
    assert content["step"] == 7
    assert torch.equal(content["model_state"]["w"], torch.ones(2))
    back = content["statistics"]["w0.63-s160-t10"]["norm"]
    assert torch.equal(back[1], statistics[SubnetConfig(0.63, 160, 10)]["norm"][1])
    assert len(file_hash(path)) == 16


def test_missing_truncated_damaged_and_foreign_checkpoints_are_refused_by_name(tmp_path):
    path = tmp_path / "a.pyth"
    with pytest.raises(FileNotFoundError, match=r"no file at .*a\.pyth, which should be a checkpoint"):
        load_checkpoint(str(path))
    save_checkpoint(str(path), {"model_state": {"w": torch.randn(1000)}})
    whole = path.read_bytes()
    for keep in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:keep])
        with pytest.raises(ValueError, match=r"a\.pyth: cannot be read as a checkpoint, it may be trunc"):
            load_checkpoint(str(path))
    torch.save({"model_state": {}}, path)
    with pytest.raises(ValueError, match=r"a\.pyth: not a checkpoint of mutualnet3d"):
        load_checkpoint(str(path))
    torch.save({"format": "mutualnet3d.checkpoint", "version": 99}, path)
    with pytest.raises(ValueError, match=r"a\.pyth: checkpoint version 99; this release reads up to 1"):
        load_checkpoint(str(path))


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_a_checkpoint_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": "mutualnet3d.checkpoint", "version": 1, "cfg": _Evil()}, "a.pyth")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        load_checkpoint("a.pyth")
    assert not os.path.exists("evil")


def test_another_models_checkpoint_is_refused_with_what_differs():
    settings = {"full_clip": ClipShape(4, 32), "num_classes": 5, "width_factor": 1.0, "depth_factor": 0.3, "dim_c5": 32}
    model = build_x3d(**settings)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wider = build_x3d(**{**settings, "num_classes": 7}).state_dict()
    with pytest.raises(ValueError, match=r"x\.pyth: .* of another model: blocks\.5\.proj\.weight is \(7, 32\), here"):
        load_model_state(model, wider, "x.pyth")
    deeper = build_x3d(**{**settings, "depth_factor": 1.0}).state_dict()
    with pytest.raises(ValueError, match=r"blocks\.\S+ is unknown here; .* and \d+ more"):
        load_model_state(model, deeper, "x.pyth")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())

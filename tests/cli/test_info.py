from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.cli import info
from mutualnet3d.cli.main import COMMANDS
from mutualnet3d.deploy.backends import BACKENDS

ROOT = Path(__file__).resolve().parents[2]


def test_the_overview_names_all_that_there_is(capsys):
    assert info.main([]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"mutualnet3d {m3.__version__}, torch {torch.__version__}\n")
    words = text.split()
    configs = [path.name for path in (ROOT / "configs").rglob("*.yaml")]
    assert len(COMMANDS) > 8
    assert len(configs) > 20
    assert {*m3.list_models(), *configs, *COMMANDS, *BACKENDS, info.SLURM_SCRIPT} <= set(words)
    assert max(len(line) for line in text.splitlines() if info.SLURM_SCRIPT not in line) <= 120


def test_json_says_the_same(capsys):
    assert info.main(["--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert list(content) == ["version", "torch", "models", "configs", "commands", "slurm_script", "backends", "gpus"]
    assert content["models"] == m3.list_models()
    assert list(content["backends"]) == list(BACKENDS)
    assert content["backends"]["pytorch"] == "ready"
    assert content["commands"]["train"] == "Train a network as a config says, and test it"
    assert os.path.isfile(content["slurm_script"])
    assert len(content["gpus"]) == torch.cuda.device_count()


def test_every_config_is_found_by_the_name_that_is_given():
    for name in info.find_configs()[::8]:
        assert m3.load_cfg(name).MODEL.ARCH


def test_configs_of_one_name_are_told_apart(tmp_path):
    for name in ("a/one.yaml", "b/one.yaml", "b/two.yaml", "b/notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert info.find_configs(str(tmp_path)) == ["a/one.yaml", "b/one.yaml", "two.yaml"]


def test_a_folder_without_configs(tmp_path):
    assert info.find_configs(str(tmp_path / "none")) == []


def test_a_library_that_is_missing(monkeypatch):
    monkeypatch.setattr("mutualnet3d.deploy.backend.installed", lambda module: False)
    assert info.find_backends()["onnxruntime"] == "onnxruntime is not installed: pip install 'mutualnet3d[deploy]'"
    pytest.importorskip("openvino", reason="openvino is not installed (extra [deploy])")
    monkeypatch.setattr("mutualnet3d.deploy.backend.installed", lambda module: True)
    monkeypatch.setattr(info, "installed", lambda module: module != "onnxscript")
    states = info.find_backends()
    hint = "onnxscript is not installed: pip install 'mutualnet3d[deploy]'"
    assert states["onnxruntime"] == f"ready for bundles; for checkpoints: {hint}"
    assert states["pytorch"] == "ready"


def test_gpus_are_counted():
    content = {**info.overview(), "gpus": ["H100", "H100", "A10"]}
    assert info.to_text(content).endswith("\nGPUs\n  H100 2 x\n  A10 1 x")
    assert info.to_text({**content, "gpus": []}).endswith("\n  none; the CPU computes")

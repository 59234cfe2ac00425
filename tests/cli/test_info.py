from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d import __main__ as page
from mutualnet3d.deploy.backends import BACKENDS

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_names_all_that_there_is(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mutualnet3d"])
    monkeypatch.delitem(sys.modules, "mutualnet3d.__main__")
    with pytest.raises(SystemExit) as left:
        runpy.run_module("mutualnet3d", run_name="__main__")
    text = capsys.readouterr().out
    assert left.value.code == 0
    assert text.startswith(f"mutualnet3d {m3.__version__}, torch {torch.__version__}\n")
    words = text.split()
    tools = [f"tools/{path.name}" for path in (ROOT / "tools").glob("*.py")]
    configs = [path.name for path in (ROOT / "configs").rglob("*.yaml")]
    assert len(tools) > 8
    assert len(configs) > 20
    assert {*m3.list_models(), *configs, *tools, *BACKENDS} <= set(words)
    assert max(map(len, text.splitlines())) <= 120


def test_json_says_the_same(capsys):
    assert page.main(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["version", "torch", "models", "configs", "tools", "backends", "gpus"]
    assert found["models"] == m3.list_models()
    assert list(found["backends"]) == list(BACKENDS)
    assert found["backends"]["pytorch"] == "ready"
    assert found["tools"]["tools/run_net.py"] == "Train and test a network as a config says"
    assert len(found["gpus"]) == torch.cuda.device_count()


def test_every_config_is_found_by_the_name_that_is_given():
    for name in page.find_configs()[::8]:
        assert m3.load_cfg(name).MODEL.ARCH


def test_configs_of_one_name_are_told_apart(tmp_path):
    for name in ("a/one.yaml", "b/one.yaml", "b/two.yaml", "b/notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert page.find_configs(str(tmp_path)) == ["a/one.yaml", "b/one.yaml", "two.yaml"]


def test_tools_are_named_by_their_first_sentence(tmp_path):
    (tmp_path / "b.py").write_text('"""Does b\nwell. And more.\n\nAt length.\n"""\n')
    (tmp_path / "a.py").write_text("pass\n")
    (tmp_path / "c.sh").write_text("true\n")
    tools = page.find_tools(str(tmp_path))
    assert tools == {f"{tmp_path.name}/a.py": "", f"{tmp_path.name}/b.py": "Does b well"}
    lines = page.to_text({**page.overview(), "tools": tools}).splitlines()
    place = lines.index("tools")
    assert lines[place + 1 : place + 3] == [f"  {tmp_path.name}/a.py", f"  {tmp_path.name}/b.py  Does b well"]


def test_without_a_checkout(tmp_path):
    assert page.find_configs(str(tmp_path / "none")) == []
    assert page.find_tools(str(tmp_path / "none")) == {}
    found = {**page.overview(), "configs": [], "tools": {}}
    assert page.to_text(found).count("  none here; they come with a checkout") == 2


def test_a_library_that_is_missing(monkeypatch):
    monkeypatch.setattr("mutualnet3d.deploy.backends.installed", lambda module: False)
    assert page.find_backends()["onnxruntime"] == "onnxruntime is not installed: pip install 'mutualnet3d[deploy]'"
    monkeypatch.setattr("mutualnet3d.deploy.backends.installed", lambda module: True)
    monkeypatch.setattr(page, "installed", lambda module: module != "onnxscript")
    said = page.find_backends()
    hint = "onnxscript is not installed: pip install 'mutualnet3d[deploy]'"
    assert said["onnxruntime"] == f"ready for bundles; for checkpoints: {hint}"
    assert said["pytorch"] == "ready"


def test_gpus_are_counted():
    found = {**page.overview(), "gpus": ["H100", "H100", "A10"]}
    assert page.to_text(found).endswith("\nGPUs\n  H100 2 x\n  A10 1 x")
    assert page.to_text({**found, "gpus": []}).endswith("\n  none; the CPU computes")

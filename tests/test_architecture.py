"""Imports point one way; a shortcut across the layers fails here."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import mutualnet3d as m3

PACKAGE = Path(__file__).resolve().parents[1] / "mutualnet3d"

# Leaves: every part may import them; of ours they import each other at most as said here.
LEAVES = {"shapes", "log", "extras", "files", "process_pool"}
# part -> the parts of ours that it may import beside the leaves.
ALLOWED = {
    "shapes": set(),
    "log": set(),
    "extras": set(),
    "files": set(),
    "process_pool": set(),
    "config": set(),
    "ops": set(),
    "slimmable_model": {"ops"},
    "distributed": set(),
    "video": set(),
    "data": {"video"},
    "demo": {"video"},
    "models": {"ops", "slimmable_model"},
    "mutual": {"ops", "slimmable_model"},
    "results": set(),
    "plots": {"results"},
    "engine": {"mutual", "results", "ops", "distributed", "slimmable_model"},
    # Of `engine` what checkpoints are: see ENGINE_OF_DEPLOY.
    "deploy": {"config", "models", "mutual", "data", "video", "results", "plots", "engine"},
    "runner": {
        "deploy",
        "config",
        "data",
        "models",
        "mutual",
        "engine",
        "results",
        "plots",
        "ops",
        "distributed",
        "slimmable_model",
    },
    "cli": {
        "config",
        "data",
        "demo",
        "deploy",
        "distributed",
        "engine",
        "models",
        "plots",
        "results",
        "runner",
        "video",
    },
    "__main__": {"cli"},
    "__init__": {"config", "data", "deploy", "models", "mutual", "engine", "results", "runner"},
}
ENGINE_OF_DEPLOY = {"checkpoint"}
READS_CFG = {
    "config",
    "runner",
    "cli",
    "data/build_loaders.py",
    "data/build_split.py",
    "deploy/build.py",
    "models/build.py",
}


def _part(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def _imported_parts(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            names = [
                f"{node.module}.{alias.name}" if node.module == "mutualnet3d" else str(node.module)
                for alias in node.names
            ]
        parts |= {name.split(".")[1] for name in names if name.startswith("mutualnet3d.")}
    return parts


def test_imports_point_one_way():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        part = _part(path)
        assert part in ALLOWED, f"{path}: give {part} its place in ALLOWED"
        for imported in _imported_parts(path) - {part} - (set() if part in LEAVES else LEAVES) - ALLOWED[part]:
            wrong.append(f"{path.relative_to(PACKAGE)} imports {imported}")
    assert not wrong


def test_deploy_knows_no_loops():
    imported = {
        node.module.split(".")[2]
        for path in sorted((PACKAGE / "deploy").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("mutualnet3d.engine.")
    }
    assert imported <= ENGINE_OF_DEPLOY


def test_the_check_sees_every_kind_of_import(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(
        "import mutualnet3d.engine.hooks\nfrom mutualnet3d import runner\n"
        "def f():\n    from mutualnet3d.video.reader import x\n"
    )
    assert _imported_parts(module) == {"engine", "runner", "video"}


def test_cfg_is_read_at_the_edge_only():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        if _part(path) in READS_CFG or name in READS_CFG:
            continue
        wrong += [f"{name}:{node.lineno}" for node in ast.walk(ast.parse(path.read_text())) if _is_cfg(node)]
    assert not wrong


def _is_cfg(node: ast.AST) -> bool:
    return (isinstance(node, ast.Name) and node.id == "cfg") or (isinstance(node, ast.arg) and node.arg == "cfg")


def _imported_packages(path: Path) -> set[str]:
    """First parts of the names of all imported modules."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    return {name.split(".")[0] for name in names}


def test_pyav_is_imported_by_video_alone():
    using = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if "av" in _imported_packages(path)}
    assert {path.parts[0] for path in using} == {"video"}


def test_what_reads_videos_alone_loads_no_torch():
    """Every process that the data tools start would take seconds more."""
    names = ["data.check_videos", "data.prepare_videos", "data.make_lists", "demo", "process_pool"]
    names += [f"video.{path.stem}" for path in sorted((PACKAGE / "video").glob("*.py")) if path.stem != "__init__"]
    modules = [f"mutualnet3d.{name}" for name in names]
    script = f"import sys, mutualnet3d, {', '.join(modules)}; print(*({{'torch', 'torchvision'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_public_names_are_there_when_they_are_asked_for():
    assert set(m3._HOMES) == set(m3.__all__)
    for name in m3.__all__:
        assert getattr(m3, name).__name__ == name
        assert getattr(m3, name) is getattr(importlib.import_module(f"mutualnet3d.{m3._HOMES[name]}"), name)
        assert name in dir(m3)
    assert m3.models.create_model is m3.create_model
    with pytest.raises(AttributeError, match=r"module 'mutualnet3d' has no attribute 'nothing'"):
        m3.nothing  # noqa: B018

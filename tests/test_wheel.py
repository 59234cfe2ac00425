"""The wheel in an environment that has its dependencies and no checkout: a user's first commands."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import threading
import urllib.request
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.cli.main import COMMANDS
from tests.conftest import TINY, as_overrides

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "constraints.txt", "mutualnet3d")
PACKAGE = ROOT / "mutualnet3d"
DATA = ("*.yaml", "*.json", "*.sbatch", "py.typed")


def without_checkout(**variables: str) -> dict[str, str]:
    """Return the environment of a program that finds no checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return environment | {"OMP_NUM_THREADS": "1", **variables}


def run(*words: object, folder: Path, **variables: str) -> str:
    """Return what a program prints; it finds no checkout."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=without_checkout(**variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the wheel and the sdist, built from a copy: a checkout may have removed modules in build/."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    (source / "configs").symlink_to("mutualnet3d/configs")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel"]
    run(*pip, "--no-deps", "--no-build-isolation", "--no-index", "-w", output, ".", folder=source)
    script = f"import setuptools.build_meta as build; build.build_sdist({str(output)!r})"
    run(sys.executable, "-c", script, folder=source)
    return output


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    (path,) = built.glob("*.whl")
    assert path.name == f"mutualnet3d-{m3.__version__}-py3-none-any.whl"
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The bin folder of an environment with the wheel and, by a .pth file, what is installed beside this checkout.

    Python reads no .pth file of a folder that a .pth file names, so that an editable installation has no effect.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    others = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (packages / "others.pth").write_text("\n".join(others) + "\n")
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run(*pip, "install", "--no-deps", "--no-index", "--ignore-installed", wheel, folder=folder)
    script = "import sys, mutualnet3d; print(mutualnet3d.__file__, sys.path)"
    place, _, paths = run(python, "-c", script, folder=folder).partition(" ")
    assert Path(place).is_relative_to(packages)
    assert repr(str(ROOT)) not in paths
    return folder / "bin"


def test_the_wheel_has_all_files_of_the_package(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        str(path.relative_to(ROOT)) for pattern in ("*.py", *DATA) for path in PACKAGE.rglob(pattern) if path.is_file()
    }
    assert len(expected) > 150
    assert expected == {name for name in names if name.startswith("mutualnet3d/")}
    assert {name.partition("/")[0] for name in names} == {"mutualnet3d", f"mutualnet3d-{m3.__version__}.dist-info"}


def test_the_sdist_has_them_too(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"constraints.txt", "README.md", "LICENSE"} <= names
    assert {str(path.relative_to(ROOT)) for pattern in DATA for path in PACKAGE.rglob(pattern)} <= names
    assert not any(name.startswith(("tests", "configs")) for name in names)


def imported_modules(path: Path) -> set[str]:
    """Return the first names of all modules that a file imports, `require` of mutualnet3d.extras included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "require":
            names |= {word.value for word in node.args[:1] if isinstance(word, ast.Constant)}
    return {name.partition(".")[0] for name in names}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_import_is_a_dependency(wheel):
    """Of the wheel, or of one of its extras beside `dev`."""
    imported = set().union(*map(imported_modules, PACKAGE.rglob("*.py")))
    third_party = imported - sys.stdlib_module_names - {"mutualnet3d"}
    assert {"torch", "yaml", "PIL", "streamlit", "openvino"} <= third_party
    (metadata,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA"))
    lines = zipfile.ZipFile(wheel).read(metadata).decode().splitlines()
    needs = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    allowed = {canonical(re.match(r"[\w.-]+", need)[0]) for need in needs if 'extra == "dev"' not in need}
    distributions = importlib.metadata.packages_distributions()
    missing = {
        module
        for module in third_party & set(distributions)
        if not allowed & {canonical(name) for name in distributions[module]}
    }
    assert missing <= {"triton"}  # which torch for CUDA brings along; without it torch's kernels are taken
    # Not installed here: an extra that the tests do without.
    assert third_party - set(distributions) <= {"argcomplete", "pynvml", "wandb", "mlflow"}


def test_the_command_alone_and_all_its_helps(installed, tmp_path):
    listing = run(installed / "mutualnet3d", folder=tmp_path)
    assert set(COMMANDS) <= set(listing.split())
    for name in COMMANDS:
        assert run(installed / "mutualnet3d", name, "--help", folder=tmp_path).startswith(f"usage: mutualnet3d {name} ")
    assert run(installed / "python", "-m", "mutualnet3d", folder=tmp_path) == listing
    assert [path for path in tmp_path.iterdir() if path.name != "__pycache__"] == []


# Of a user's own network and of a shared model, in one process: each loads torch.
IN_PYTHON = """
import torchvision
import mutualnet3d as m3
from mutualnet3d.sharing.shared_model import SharedModel

network = torchvision.models.video.r3d_18(num_classes=2)
own = m3.make_slimmable(network, m3.ClipShape(frames=4, size=32))
print(m3.multiply_adds(own, m3.SubnetConfig(0.5, 32, 4)) < m3.multiply_adds(own, m3.SubnetConfig(1.0, 32, 4)))
SharedModel.load("output/calibrated.pyth").save_pretrained("shared")
print(SharedModel.from_pretrained("shared").predictor().predict("data/val/00000.mp4").labels[0].name)
"""


def test_data_training_and_prediction(installed, tmp_path):
    def mutualnet3d(*words: object) -> str:
        return run(installed / "mutualnet3d", *words, folder=tmp_path)

    size = ["--train", 16, "--val", 4, "--workers", 1, "--height", 48, "--width", 64]
    size += ["--classes", "move_left", "grow"]
    assert "data: written" in mutualnet3d("demo-data", "--output", "data", *size)
    small = {**TINY, "DATA.PATH_TO_DATA_DIR": "data", "OUTPUT_DIR": "output", "SOLVER.MAX_EPOCH": 1}
    # A config is found by its path in a checkout too.
    words = ["--cfg", "configs/demo/X3D_tiny_mutual.yaml", *as_overrides(small)]
    words += ["TEST.SUBNETS", "['full','w0.5-s32-t2']"]
    words += ["SOLVER.OPTIMIZING_METHOD", "adamw", "TRAIN.CLASS_BALANCE", "loss"]
    assert "on the Pareto front" in mutualnet3d("train", *words)
    words = ["--checkpoint", "output/calibrated.pyth", "--backend", "pytorch", "--subnet", "w0.5-s32-t2"]
    printed = mutualnet3d("predict", "data/val.csv", *words)
    assert printed.count("w0.5-s32-t2") == 4
    assert "move_left" in printed
    mutualnet3d("predict", "data/val.csv", *words, "--output", "results.parquet", "--workers", 1)
    mutualnet3d("segments", "data/val/00000.mp4", *words, "--every", 0.5, "--output", "film.srt")
    mutualnet3d("features", "data/val.csv", *words, "--workers", 1, "--output", "features.npz")
    with np.load(tmp_path / "features.npz") as features:
        assert len(features["features"]) == 4
    assert (tmp_path / "film.srt").read_text().startswith("1\n00:00:00,000 --> ")
    assert (tmp_path / "results.parquet").read_bytes()[:4] == b"PAR1"
    mutualnet3d("export", "--checkpoint", "output/calibrated.pyth", "--output", "bundle", "--formats", "pytorch")
    assert "move_left" in mutualnet3d("predict", "data/val/00000.mp4", "--checkpoint", "bundle", "--top", 2)
    words = ["--checkpoint", "bundle", "--input", "data/val/00000.mp4", "--output", "stream.mp4", "--activation-map"]
    assert "stream.mp4" in mutualnet3d("stream", *words)
    weights = ["--cfg", "X3D_tiny_mutual.yaml", *as_overrides(TINY), "--output", "weights.pyth"]
    mutualnet3d("weights", "output/calibrated.pyth", *weights)
    assert torch.load(tmp_path / "weights.pyth", weights_only=True)
    own, shared = run(installed / "python", "-c", IN_PYTHON, folder=tmp_path).split()
    assert own == "True"
    assert shared in ("move_left", "grow")
    answer = served(installed, tmp_path, tmp_path / "data" / "val" / "00000.mp4")
    assert answer["config"] in ("w1.0-s32-t4", "w0.5-s32-t2")


def served(installed: Path, folder: Path, video: Path) -> dict[str, object]:
    """Return the answer of a server of the bundle to an upload; the server then ends by SIGTERM."""
    words = [installed / "mutualnet3d", "serve", "--checkpoint", "bundle", "--port", "0"]
    server = subprocess.Popen(words, cwd=folder, env=without_checkout(), stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    limit = threading.Timer(120, server.kill)  # ends the wait for an address that is never printed
    limit.start()
    try:
        printed = server.stdout.readline()
        address = re.search(r"http://[\d.:]+", printed)
        assert address, f"the server printed no address: {printed!r}"
        with urllib.request.urlopen(f"{address[0]}/predict", data=video.read_bytes(), timeout=60) as response:
            answer: dict[str, object] = json.load(response)
        server.terminate()
        assert server.wait(60) == 0
    finally:
        limit.cancel()
        server.kill()
        server.wait()
        server.stdout.close()
    return answer

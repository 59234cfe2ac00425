"""The command that lists, fetches and converts weights."""

from __future__ import annotations

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.cli.weights import _cfg_of
from mutualnet3d.models import build_model
from mutualnet3d.models.published import all_published
from tests.conftest import TINY, as_overrides


def test_the_list_says_where_files_are_or_belong(run_tool, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "X3D_S.pyth").touch()
    status, printed, _ = run_tool("mutualnet3d", "weights")
    assert status == 0
    lines = [line.split() for line in printed.splitlines()]
    zoo = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics"
    assert ["x3d_s", "kinetics400", "here", f"{zoo}/X3D_S.pyth"] in lines
    assert [str(folder / "X3D_M.pyth")] in lines
    assert len(lines) == 2 * len(all_published())


def test_a_file_is_fetched_and_its_path_printed(run_tool, server):
    address = server.add("/a/best.pth", b"123")
    status, printed, errors = run_tool("mutualnet3d", "weights", address)
    assert status == 0, errors
    with open(printed.strip(), "rb") as file:
        assert file.read() == b"123"
    status, _, errors = run_tool("mutualnet3d", "weights", f"{address}?missing#sha256=01234567")
    assert status == 2
    assert "SHA-256 sum begins with" in errors


def test_a_model_file_is_made_of_weights(run_tool, server, tmp_path):
    words = [str(word) for word in as_overrides({**TINY, "DATA.PATH_TO_DATA_DIR": tmp_path})]
    torch.save(build_model(m3.load_cfg("X3D_tiny_mutual.yaml", words)).state_dict(), tmp_path / "weights.pth")
    address, output = server.add("/weights.pth", (tmp_path / "weights.pth").read_bytes()), tmp_path / "model.pyth"
    line = ["weights", address, "--cfg", "X3D_tiny_mutual.yaml", "--output", output, *words]
    status, printed, errors = run_tool("mutualnet3d", *line)
    assert status == 0, errors
    assert printed.splitlines()[-1] == f"wrote {output}: 2 classes, from 0 to 1"
    assert m3.Predictor.load(output, backend="pytorch").class_names == ("0", "1")
    status, _, errors = run_tool("mutualnet3d", "weights", address, "--output", tmp_path / "other.pyth")
    assert status == 2
    assert f"{address}: --cfg is needed, the config that these weights are of" in errors


@pytest.mark.parametrize("model", [weights.model for weights in all_published() if weights.source == "pytorchvideo"])
def test_published_networks_have_configs(model):
    cfg = m3.load_cfg(_cfg_of(f"{model}:kinetics400"))
    assert cfg.MODEL.NUM_CLASSES == 400
    assert model.startswith(f"{cfg.MODEL.ARCH}_")

from __future__ import annotations

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.files.torch_file import OtherNetwork
from mutualnet3d.models import build_model, load_weights
from mutualnet3d.runner.other_network import changes_named, network_changes
from tests.conftest import TINY, as_overrides
from tests.runner.runs import CFG


def cfg_of(**changes):
    return m3.load_cfg(CFG, as_overrides({**TINY, **{key.replace("__", "."): value for key, value in changes.items()}}))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"X3D__DEPTH_FACTOR": 2.2}, ["X3D.DEPTH_FACTOR 2.2 in the checkpoint, 0.3 in the config"]),
        (
            {"X3D__WIDTH_FACTOR": 2.0, "MODEL__NUM_CLASSES": 5},
            [
                "MODEL.NUM_CLASSES 5 in the checkpoint, 2 in the config",
                "X3D.WIDTH_FACTOR 2.0 in the checkpoint, 1.0 in the config",
            ],
        ),
        ({"MODEL__ARCH": "slow", "RESNET__DEPTH": 101}, ["MODEL.ARCH slow in the checkpoint, x3d in the config"]),
        ({"SOLVER__BASE_LR": 3.0, "RESNET__DEPTH": 101, "MODEL__DROPOUT_RATE": 0.1}, []),  # weights are the same
    ],
)
def test_keys_that_make_another_network(changes, expected):
    assert network_changes(cfg_of(**changes).dump(), cfg_of()) == expected


@pytest.mark.parametrize("stored", ["", "[1", "3", "MODEL: {NAME: x}\n"])
def test_a_stored_config_of_other_projects_explains_nothing(stored):
    assert network_changes(stored, cfg_of()) == []


@pytest.mark.parametrize("name", ["cfg", "config"])  # of a training's checkpoint, of a model file
def test_the_first_words_name_the_keys_and_few_parameters_follow(name, tmp_path):
    path, deeper = str(tmp_path / "a.pyth"), cfg_of(X3D__DEPTH_FACTOR=2.2)
    torch.save({"model_state": build_model(deeper).state_dict(), name: deeper.dump()}, path)
    with pytest.raises(OtherNetwork) as caught, changes_named(cfg_of()):
        load_weights(build_model(cfg_of()), path)
    text = str(caught.value)
    assert text.startswith(
        f"{path}: the checkpoint is of another model: X3D.DEPTH_FACTOR 2.2 in the checkpoint, 0.3 in the config ("
    )
    assert text.count("blocks.") <= 15
    assert len(text) < len(path) + 900
    assert "more" in text


def test_without_a_config_the_parameters_are_named(tmp_path):
    torch.save({"model_state": build_model(cfg_of(X3D__DEPTH_FACTOR=2.2)).state_dict()}, tmp_path / "a.pyth")
    with (
        pytest.raises(OtherNetwork, match=r"of another model\. \d+ unknown here: blocks.* and \d+ more"),
        changes_named(cfg_of()),
    ):
        load_weights(build_model(cfg_of()), str(tmp_path / "a.pyth"))

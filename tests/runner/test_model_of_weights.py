"""Model file of weights that no test has calibrated."""

from __future__ import annotations

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.models import build_model
from mutualnet3d.runner.model_of_weights import write_model_of
from tests.conftest import TINY, as_overrides
from tests.models.families import randomise

CFG = "X3D_tiny_mutual.yaml"
WORDS = as_overrides(TINY)


def test_the_full_network_predicts_with_the_names_of_its_classes(tmp_path, numbered_video):
    cfg = m3.load_cfg(CFG, [*WORDS, "DATA.LABEL_FILE", str(tmp_path / "names.txt")])
    (tmp_path / "names.txt").write_text("dark\nbright\n")
    model = build_model(cfg)
    randomise(model)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "weights.pth")
    assert write_model_of(cfg, str(tmp_path / "weights.pth"), str(tmp_path / "model.pyth")) == ["dark", "bright"]
    predictor = m3.Predictor.load(tmp_path / "model.pyth", backend="pytorch")
    assert (predictor.configs, predictor.class_names) == ((model.full,), ("dark", "bright"))
    prediction = predictor.predict(str(numbered_video))
    assert {label.name for label in prediction.labels} == {"dark", "bright"}
    assert sum(label.score for label in prediction.labels) == pytest.approx(1)


def test_another_number_of_classes_is_refused(tmp_path):
    cfg = m3.load_cfg(CFG, [*WORDS, "MODEL.NUM_CLASSES", 5])
    torch.save(build_model(cfg).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"weights\.pth: its classifier has 5 classes, the model 2; MODEL\.NUM_CLASS"):
        write_model_of(m3.load_cfg(CFG, WORDS), str(tmp_path / "weights.pth"), str(tmp_path / "model.pyth"))
    assert not (tmp_path / "model.pyth").exists()

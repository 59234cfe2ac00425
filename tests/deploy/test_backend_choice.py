from __future__ import annotations

import time
import types

import numpy as np
import pytest
import torch

from mutualnet3d.deploy.backend_choice import _inexact, _why_not_int8
from mutualnet3d.deploy.backends import BACKENDS, CHOICES, PyTorch
from mutualnet3d.deploy.predictor import Predictor
from tests.deploy.networks import FULL, SMALL, source_of

CLIP = np.random.default_rng(1).integers(0, 256, (8, 72, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        return source_of("x3d", tmp_path_factory.mktemp("source"))


def test_the_fastest_back_end_is_chosen_by_running_them(source, monkeypatch):
    """Of three: one is slow, one is fast, one is faster still and gives other logits."""

    class Slow(PyTorch):
        name = "slow"
        seconds, factor = 0.02, 1.0

        def _make(self, config):
            run = super()._make(config)
            return lambda clips: (time.sleep(self.seconds), self.factor * run(clips))[1]

    class Fast(Slow):
        name, seconds = "fast", 0.0

    class Wrong(Fast):
        name, exact, factor = "wrong", False, 1.05

    class Missing(Fast):
        name, module = "missing", "no_such_module"

    for kind in (Slow, Fast, Wrong, Missing):
        monkeypatch.setitem(BACKENDS, kind.name, kind)
    monkeypatch.setitem(CHOICES, "auto", ("slow", "wrong", "missing", "fast"))
    predictor = Predictor(source)
    assert predictor.backend is None
    assert predictor.predict(CLIP, config=SMALL).backend == predictor.backend == "fast"
    assert set(predictor.trials) == {"slow", "fast"}
    assert predictor.trials["fast"] < predictor.trials["slow"]
    assert predictor.rejected == {
        "wrong": "its logits differ by 0.05 of the largest",
        "missing": "no_such_module is not installed: pip install 'mutualnet3d[deploy]'",
    }


def test_int8_is_not_taken_without_a_table():
    source = types.SimpleNamespace(table=None, path="here")
    assert _why_not_int8(source, FULL, ()) == "the query table has no accuracy of w1.0-s64-t4 in int8"


def test_fast_looks_at_a_clip_less_closely_where_accuracy_was_measured():
    logits = torch.tensor([[10.0, 0.0]])
    others = {"pytorch-bf16": logits + 1, "openvino-int8": logits + 1}
    assert _inexact({"pytorch": logits, **others}) == {"pytorch-bf16": "its logits differ by 0.1 of the largest"}
    assert _inexact(others) == {}  # there is nothing to compare with
    assert list(_inexact({"pytorch": logits, "openvino-int8": logits + 3})) == ["openvino-int8"]
    assert list(_inexact({"pytorch": logits, "openvino-int8": logits * torch.nan})) == ["openvino-int8"]

from __future__ import annotations

import time
import types
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from mutualnet3d.deploy import backend as backend_module
from mutualnet3d.deploy.backend_choice import _inexact, _why_not_quantised, choose_backend, runnable_front
from mutualnet3d.deploy.backends import BACKENDS, CHOICES, OnnxRuntime, OpenVINOInt8, PyTorch
from mutualnet3d.deploy.networks import CheckpointNetworks
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.results.latency import device_name
from mutualnet3d.results.query_table import QueryTable
from tests.deploy.networks import CLASS_NAMES, FULL, HOW, SMALL

CPU = torch.device("cpu")
CLIP = np.random.default_rng(1).integers(0, 256, (8, 72, 96, 3), dtype=np.uint8)


def test_the_fastest_back_end_is_chosen_by_running_them(networks, monkeypatch):
    """Of three: one is slow, one is fast, one is faster still and gives other logits."""

    class Slow(PyTorch):
        name = "slow"
        seconds, factor = 0.02, 1.0

        def _make(self, config, features=False):
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
    predictor = Predictor(networks)
    assert predictor.backend == "fast"
    assert predictor.predict(CLIP, config=SMALL).backend == "fast"
    assert set(predictor.trials) == {"slow", "fast"}
    assert predictor.trials["fast"] < predictor.trials["slow"]
    assert predictor.rejected == {
        "wrong": "its logits differ by 0.05 of the largest",
        "missing": "no_such_module is not installed: pip install 'mutualnet3d[deploy]'",
    }


def test_candidates_run_the_most_expensive_sub_network_of_the_front(networks, monkeypatch):
    """Noise of its shape, once for the logits and three times for the time; nothing runs after that."""
    ran = []

    class Told(PyTorch):
        def _make(self, config, features=False):
            return lambda clips: ran.append((self.name, config, tuple(clips[0].shape))) or torch.ones(1, 7)

    monkeypatch.setitem(BACKENDS, "one", type("One", (Told,), {"name": "one"}))
    monkeypatch.setitem(BACKENDS, "two", type("Two", (Told,), {"name": "two"}))
    monkeypatch.setitem(CHOICES, "auto", ("one", "two"))
    predictor = Predictor(networks)
    assert Counter(ran) == {(name, FULL, (1, 4, 64, 64, 3)): 4 for name in ("one", "two")}
    assert predictor.backend in ("one", "two")
    ran.clear()
    # Where a better one is as cheap, the full network is not on the front.
    full, small = networks.table.rows
    table = QueryTable((replace(full, top1=50.0), small))
    choice = choose_backend(with_table(networks, table), "auto", None, None)
    assert {config for _, config, _ in ran} == {SMALL}
    assert runnable_front(networks, table) == (SMALL,)
    assert choice.backend.name in choice.trials
    ran.clear()
    choose_backend(with_table(networks, None), "auto", None, None)
    assert {config for _, config, _ in ran} == {FULL}
    assert runnable_front(networks, None) == ()


def with_table(networks, table):
    return CheckpointNetworks(networks.path, networks.network(), HOW, CLASS_NAMES, table)


def test_a_name_is_taken_as_it_is(networks):
    choice = choose_backend(networks, "pytorch", "cpu", 1)
    assert (choice.backend.name, choice.backend.device, choice.backend.threads) == ("pytorch", CPU, 1)
    assert (choice.trials, choice.rejected) == ({}, {})


def test_int8_is_not_taken_without_a_table():
    networks = types.SimpleNamespace(table=None, path="here")
    reason = "the query table has no accuracy of w1.0-s64-t4 on openvino-int8"
    assert _why_not_quantised(networks, OpenVINOInt8, FULL, ()) == reason


def test_fast_looks_at_a_clip_less_closely_where_accuracy_was_measured():
    logits = torch.tensor([[10.0, 0.0]])
    others = {"pytorch-bf16": logits + 1, "openvino-int8": logits + 1}
    assert _inexact({"pytorch": logits, **others}) == {"pytorch-bf16": "its logits differ by 0.1 of the largest"}
    assert _inexact(others) == {}  # there is nothing to compare with
    assert list(_inexact({"pytorch": logits, "openvino-int8": logits + 3})) == ["openvino-int8"]
    assert list(_inexact({"pytorch": logits, "openvino-int8": logits * torch.nan})) == ["openvino-int8"]


@pytest.mark.slow
def test_beside_a_gpu_the_other_libraries_run_on_the_cpu(networks, monkeypatch):
    pytest.importorskip("openvino", reason="openvino is not installed (extra [deploy])")
    with monkeypatch.context() as has_gpu:
        has_gpu.setattr(torch.cuda, "is_available", lambda: True)
        assert PyTorch.default_device() == torch.device("cuda")
        assert OnnxRuntime.why_not(networks, SMALL, None) is None
        predictor = Predictor(networks, backend="openvino", threads=1)
        with pytest.raises(ValueError, match=r"back end openvino: openvino does not run on cuda, but on cpu$"):
            Predictor(networks, backend="openvino", device="cuda")
    clip = np.zeros((8, 72, 96, 3), np.uint8)
    assert predictor.predict(clip, config=SMALL).backend == "openvino"
    assert predictor.measure().facts["device"] == device_name(CPU)


def test_without_a_converter_pytorch_runs(networks, monkeypatch, video):
    monkeypatch.setattr(backend_module, "installed", lambda module: module != "onnxscript")
    predictor = Predictor(networks)
    assert predictor.predict(video, config=SMALL).backend == "pytorch"
    assert predictor.rejected["openvino"] == "onnxscript is not installed: pip install 'mutualnet3d[deploy]'"


def test_missing_extras_are_one_line(networks, monkeypatch, video, caplog):
    hidden = {"openvino", "onnxruntime"}
    monkeypatch.setattr(backend_module, "installed", lambda module: module not in hidden)
    with pytest.raises(ModuleNotFoundError, match=r"^openvino is not installed: pip install 'mutualnet3d\[deploy\]'$"):
        Predictor(networks, backend="openvino")
    predictor = Predictor(networks)
    assert predictor.predict(video, config=SMALL).backend == "pytorch"
    assert set(predictor.rejected) == {"openvino", "onnxruntime", "pt2"}
    assert "openvino is not installed: pip install 'mutualnet3d[deploy]'" in caplog.text

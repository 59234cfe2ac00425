from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from mutualnet3d.deploy import backend as backend_module
from mutualnet3d.deploy import backends as backends_module
from mutualnet3d.deploy.backends import BACKENDS, CHOICES, OpenVINO, OpenVINOBf16, PyTorch, PyTorchBf16
from mutualnet3d.deploy.clip_network import random_clips
from mutualnet3d.deploy.export import eager_logits
from mutualnet3d.deploy.predictor import Predictor
from tests.deploy.networks import FULL, SMALL

CPU = torch.device("cpu")


def test_a_back_end_is_a_call_and_makes_each_sub_network_once(networks):
    backend = PyTorch(networks, CPU, 1)
    clips = {config: random_clips(networks.shapes(config), 2) for config in (FULL, SMALL)}
    for config, given in clips.items():
        torch.testing.assert_close(backend(config, given), eager_logits(networks, config, given), rtol=1e-4, atol=1e-5)
    forward = backend.forward(SMALL)
    assert torch.equal(forward(clips[SMALL]), backend(SMALL, clips[SMALL]))
    assert backend.forward(SMALL) is forward


def test_reasons_why_a_back_end_cannot_run(networks, monkeypatch):
    assert PyTorch.why_not(networks, SMALL, CPU) is None
    why_not = BACKENDS["pt2"].why_not
    assert why_not(networks, SMALL, CPU) == f"{networks.path} has no pt2 network of w0.5-s48-t2"
    assert why_not(networks, SMALL, torch.device("cuda")) == "pt2 does not run on cuda, but on cpu"
    monkeypatch.setattr(backend_module, "installed", lambda module: False)
    assert OpenVINO.why_not(networks, SMALL, CPU) == "openvino is not installed: pip install 'mutualnet3d[deploy]'"
    monkeypatch.setattr(backends_module, "_cpu_has_bf16", lambda: False)
    assert PyTorchBf16.why_not(networks, SMALL, CPU) == "this cpu does not compute with bfloat16"


def test_auto_computes_in_float32_alone():
    exact = set(CHOICES["auto"])
    assert exact == {"openvino", "onnxruntime", "pytorch", "pt2"}
    assert set(CHOICES["fast"]) - exact == {"openvino-bf16", "openvino-int8", "pytorch-bf16"}


def test_bf16_is_near(networks, monkeypatch):
    monkeypatch.setattr(backends_module, "_cpu_has_bf16", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)  # see test_train_network.py: oneDNN's bf16 on this CPU
    clips = random_clips(networks.shapes(SMALL), 2)
    expected = eager_logits(networks, SMALL, clips)
    got = PyTorchBf16(networks, CPU, None).forward(SMALL)(clips)
    difference = float((got - expected).abs().max() / expected.abs().max())
    assert 1e-5 < difference < 0.05


@pytest.mark.parametrize("config", [pytest.param(FULL, marks=pytest.mark.slow), SMALL])
def test_openvinos_bf16_is_near_and_its_logits_are_float32(config, networks):
    pytest.importorskip("openvino", reason="openvino is not installed (extra [deploy])")
    problem = OpenVINOBf16.why_not(networks, config, CPU)
    if problem is not None:
        pytest.skip(problem)
    clips = random_clips(networks.shapes(config), 2)
    expected = eager_logits(networks, config, clips)
    got = OpenVINOBf16(networks, CPU, 1).forward(config)(clips)
    difference = float((got - expected).abs().max() / expected.abs().max())
    assert 1e-5 < difference < 0.05
    assert not torch.equal(got, got.bfloat16().float())


def test_float32_logits_compute_the_same(networks):
    """In float32, where both forms of the classifier give the same but for rounding."""
    pytest.importorskip("openvino", reason="openvino is not installed (extra [deploy])")
    clips = random_clips(networks.shapes(SMALL), 2)
    in_bf16s_form = OpenVINOBf16(networks, CPU, 1)
    in_bf16s_form._precision = "f32"
    expected, got = (runner.forward(SMALL)(clips) for runner in (OpenVINO(networks, CPU, 1), in_bf16s_form))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_back_ends_agree(backend, networks, video):
    pytest.importorskip(backend, reason=f"{backend} is not installed (extra [deploy])")
    eager, compiled = (Predictor(networks, backend=name, threads=1) for name in ("pytorch", backend))
    expected, got = (runner.predict(video, config=SMALL, views=2) for runner in (eager, compiled))
    assert (got.backend, got.views) == (backend, 2)
    assert [label.index for label in got.labels] == [label.index for label in expected.labels]
    assert [label.score for label in got.labels] == pytest.approx([label.score for label in expected.labels], rel=1e-4)


@pytest.mark.slow
def test_openvino_sends_no_statistics(tmp_path):
    """It would when it is imported, and by `openvino.convert_model`, which is not called; it makes files for that."""
    pytest.importorskip("openvino", reason="openvino is not installed (extra [deploy])")
    script = (
        "import sys; from mutualnet3d.deploy.networks import openvino_core; openvino_core();"
        "assert 'openvino' in sys.modules and 'openvino_telemetry' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env={**os.environ, "HOME": str(tmp_path)}, check=True
    )
    assert list(tmp_path.iterdir()) == []

from __future__ import annotations

import logging

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.ops import triton_switch
from mutualnet3d.runner import kernel_choice
from mutualnet3d.runner.kernel_choice import choose_kernels, try_kernels

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def gpu(monkeypatch, caplog):
    """A GPU on which the small layers run."""
    caplog.set_level(logging.INFO, "mutualnet3d")
    monkeypatch.setattr(logging.getLogger("mutualnet3d"), "propagate", True)
    monkeypatch.setattr(triton_switch, "_is_on", False)  # and put back after the test
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(triton_switch, "_obstacle", lambda device: ("", ""))
    monkeypatch.setattr(kernel_choice, "try_kernels", lambda device: None)


def config(*words):
    return m3.load_cfg("X3D_tiny_mutual.yaml", list(words))


def test_a_gpu_takes_the_kernels_by_itself(gpu, caplog):
    choose_kernels(config(), GPU)
    assert triton_switch.is_on()
    assert caplog.messages == ["MODEL.TRITON auto: this project's kernels"]


def test_a_cpu_keeps_torchs_kernels_without_a_word(gpu, caplog):
    triton_switch.switch(True, GPU)  # of a run before
    choose_kernels(config(), CPU)
    assert not triton_switch.is_on()
    assert caplog.messages == []


def test_what_speaks_against_them_is_said(gpu, caplog, monkeypatch):
    def fails(device):
        raise RuntimeError("Failed to find C compiler.\nSpecify one")

    choose_kernels(config("MODEL.CHANNELS_LAST", "auto"), GPU)
    monkeypatch.setattr(kernel_choice, "try_kernels", fails)
    choose_kernels(config(), GPU)
    monkeypatch.setattr(triton_switch, "_obstacle", lambda device: ("Triton is not installed", "with the package"))
    choose_kernels(config(), GPU)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    choose_kernels(config(), GPU)
    assert not triton_switch.is_on()
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "INFO", "INFO"]
    assert caplog.messages == [
        "MODEL.TRITON auto: torch's kernels: MODEL.CHANNELS_LAST is auto, and they are for channels_last_3d",
        "MODEL.TRITON auto: torch's kernels: small layers failed: RuntimeError: Failed to find C compiler. Specify one",
        "MODEL.TRITON auto: torch's kernels: Triton is not installed",
        "MODEL.TRITON auto: torch's kernels: TRITON_INTERPRET is 1, and Triton's interpreter is for tests",
    ]


def test_true_and_false_are_obeyed(gpu):
    choose_kernels(config("MODEL.TRITON", "True"), GPU)
    assert triton_switch.is_on()
    choose_kernels(config("MODEL.TRITON", "False"), GPU)
    assert not triton_switch.is_on()


def test_small_layers_run():
    """In the interpreter, or on a GPU if there is one."""
    pytest.importorskip("triton", reason="triton is not installed")
    try_kernels(GPU if torch.cuda.is_available() else CPU)

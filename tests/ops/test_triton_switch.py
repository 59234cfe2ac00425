from __future__ import annotations

import importlib.util

import pytest
import torch

from mutualnet3d.ops import triton_switch

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def gpu(monkeypatch):
    """A GPU, which answers as the test says; Triton is installed and compiles."""
    capability = [9, 0]
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: tuple(capability))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    return capability


def test_it_is_off_at_first_and_afterwards(gpu):
    assert not triton_switch.is_on()
    with triton_switch.switched(True, GPU):
        assert triton_switch.is_on()
        with triton_switch.switched(False, GPU):
            assert not triton_switch.is_on()
        assert triton_switch.is_on()
    assert not triton_switch.is_on()


def test_without_triton_the_error_says_what_to_install(gpu, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = (
        r"MODEL\.TRITON is True, and Triton is not installed; allowed: auto, False, or True with the package triton"
    )
    with pytest.raises(ValueError, match=message):
        triton_switch.switch(True, GPU)
    triton_switch.switch(False, GPU)
    assert not triton_switch.is_on()


def test_a_cpu_is_refused(gpu):
    message = r"MODEL\.TRITON is True, and the device is cpu; allowed: auto, False, or True on a CUDA device"
    with pytest.raises(ValueError, match=message):
        triton_switch.switch(True, CPU)
    assert not triton_switch.is_on()


def test_an_old_gpu_is_refused(gpu):
    gpu[:] = 7, 5
    message = r"cuda:0 is Tesla T4 of compute capability 7\.5; allowed: auto, False, or True on a GPU of 8\.0 or more"
    with pytest.raises(ValueError, match=message), triton_switch.switched(True, GPU):
        pass


def test_kernels_are_taken_where_they_run(gpu, monkeypatch):
    x = torch.zeros(1)
    with triton_switch.switched(True, GPU):
        assert not triton_switch.takes(x)
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        assert triton_switch.takes(x)
        assert not triton_switch.takes(torch.zeros(1, device="meta"))
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        assert not triton_switch.takes(x)
    assert not triton_switch.takes(x)

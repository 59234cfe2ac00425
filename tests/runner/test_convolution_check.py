from __future__ import annotations

import re

import pytest
import torch

from mutualnet3d.log import logger
from mutualnet3d.runner import convolution_check
from mutualnet3d.runner.convolution_check import warn_of_wrong_convolutions

CPU = torch.device("cpu")


@pytest.fixture
def warnings(monkeypatch):
    """Warnings of the log, as text."""
    texts = []
    monkeypatch.setattr(logger, "warning", lambda text, *args: texts.append(text % args))
    return texts


@pytest.mark.parametrize(("autocast", "least", "most"), [(None, 1e-9, 1e-5), (torch.bfloat16, 1e-4, 0.01)])
def test_right_convolutions_have_errors_of_rounding(warnings, autocast, least, most):
    state = torch.get_rng_state()
    assert least < warn_of_wrong_convolutions(CPU, autocast) < most
    assert warnings == []
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("wrong", "name", "error"),
    [
        (lambda x, y, groups: y * 1.5 if groups > 1 else y, r"gradient of the \w+, depthwise, \w+", "1.2"),
        (lambda x, y, groups: y * float("nan"), "output, dense, channels last", "inf"),
    ],
)
def test_wrong_ones_are_told_with_their_error(warnings, monkeypatch, wrong, name, error):
    right = convolution_check.conv3d

    def conv3d(x, weight, *settings, **training):
        y = right(x, weight, *settings, **training)
        return y if x.dtype == torch.float64 else wrong(x, y, settings[-1])

    monkeypatch.setattr(convolution_check, "conv3d", conv3d)
    warn_of_wrong_convolutions(CPU, torch.bfloat16)
    (text,) = warnings
    assert text.startswith("3D convolutions in bfloat16 are wrong here: ")
    assert f" has a relative error of {error}, at most 0.03 is rounding (torch {torch.__version__} on " in text
    assert re.search(name, text)


@pytest.mark.needs_cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("autocast", [None, torch.bfloat16, torch.float16])
def test_this_gpus_are_right(warnings, autocast):
    warn_of_wrong_convolutions(torch.device("cuda"), autocast)
    assert warnings == []

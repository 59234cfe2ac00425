from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mutualnet3d.models.meta_device import ShapesAlone, result_like_input

X = torch.empty(2, 3, 4, 5, 6, device="meta", dtype=torch.float16).to(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.batch_norm(x, None, None, training=True),
        F.relu,
        F.relu6,
        F.hardswish,
        lambda x: F.hardtanh(x, 0.0, 6.0),
        torch.relu,
        torch.nn.ReLU(),
        torch.nn.BatchNorm3d(3, affine=False, track_running_stats=False),
    ],
)
def test_results_are_of_torchs_shape_type_and_format(function):
    with torch.no_grad():
        expected = function(X)
        with ShapesAlone():
            y = function(X)
    assert (y.shape, y.dtype, y.device, y.stride()) == (expected.shape, expected.dtype, X.device, expected.stride())
    assert y is not X


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (F.relu, (X,), {"inplace": True}),
        (F.relu, (X, True), {}),
        (F.hardtanh, (X, 0.0, 6.0, True), {}),
    ],
)
def test_a_call_in_place_returns_its_input(function, args, kwargs):
    with torch.no_grad():
        assert result_like_input(function, args, kwargs) is X
        with ShapesAlone():
            assert function(*args, **kwargs) is X


def test_other_calls_are_torchs():
    real = torch.tensor([-1.0, 1.0])
    with torch.no_grad():
        assert result_like_input(F.relu, (real,), {}) is None
        assert result_like_input(torch.sigmoid, (X,), {}) is None
        assert result_like_input(F.relu, (), {"input": X}) is None
        with ShapesAlone():
            assert F.relu(real).tolist() == [0.0, 1.0]
            assert torch.cat([X, X]).shape == (4, 3, 4, 5, 6)
    weight = torch.empty(2, device="meta", requires_grad=True)
    with ShapesAlone():
        assert F.relu(weight).grad_fn is not None

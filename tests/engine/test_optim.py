from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mutualnet3d.engine.optim import build_sgd, cosine_with_warmup, parameter_groups
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.shapes import ClipShape


def test_weight_decay_falls_on_conv_and_linear_weights_alone():
    model = build_x3d(native=ClipShape(4, 32), num_classes=5, width_factor=1.0, depth_factor=1.0, dim_c5=32)
    decayed, others = parameter_groups(model, 1e-4)
    names = {parameter: name for name, parameter in model.named_parameters()}
    layers = dict(model.named_modules())
    for group, expected in ((decayed, True), (others, False)):
        assert group["weight_decay"] == (1e-4 if expected else 0.0)
        for parameter in group["params"]:
            layer, _, kind = names[parameter].rpartition(".")
            assert (isinstance(layers[layer], nn.Conv3d | nn.Linear) and kind == "weight") is expected, names[parameter]
    assert len(decayed["params"]) + len(others["params"]) == len(list(model.parameters()))
    assert any(parameter.ndim == 5 and parameter.shape[1] == 1 for parameter in decayed["params"])  # depthwise too


def test_sgd_is_nesterov_with_momentum_by_hand():
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = build_sgd(model, base_lr=0.1, momentum=0.9, dampening=0.0, nesterov=True, weight_decay=0.5)
    weight, velocity = 1.0, 0.0
    for _ in range(3):
        model.weight.grad = torch.full((1, 1), 2.0)
        optimizer.step()
        grad = 2.0 + 0.5 * weight
        velocity = 0.9 * velocity + grad
        weight -= 0.1 * (grad + 0.9 * velocity)
        assert model.weight.item() == pytest.approx(weight)


SETTINGS = {
    "base_lr": 0.1,
    "end_lr": 0.001,
    "max_epoch": 300,
    "warmup_epochs": 35.0,
    "warmup_start_lr": 0.01,
    "cosine_after_warmup": False,
}


@pytest.mark.parametrize("epoch", [35, 36.5, 150, 299.99, 300])
def test_cosine_is_pyslowfasts(epoch):
    expected = 0.001 + 0.099 * (math.cos(math.pi * epoch / 300) + 1) / 2
    assert cosine_with_warmup(**SETTINGS)(epoch) == pytest.approx(expected)


def test_warmup_is_a_line_to_where_the_cosine_then_is():
    lr_at = cosine_with_warmup(**SETTINGS)
    assert lr_at(0) == pytest.approx(0.01)
    assert lr_at(17.5) == pytest.approx((0.01 + lr_at(35)) / 2)
    assert lr_at(35 - 1e-9) == pytest.approx(lr_at(35))


def test_cosine_after_warmup_starts_at_the_peak():
    lr_at = cosine_with_warmup(**{**SETTINGS, "cosine_after_warmup": True})
    assert lr_at(35) == pytest.approx(0.1)
    assert lr_at(300) == pytest.approx(0.001)
    assert cosine_with_warmup(**{**SETTINGS, "warmup_epochs": 0.0})(0) == pytest.approx(0.1)

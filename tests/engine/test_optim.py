from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mutualnet3d.engine.optim import build_sgd, cosine, linear_scaling, parameter_groups, relative_steps, with_warmup
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.shapes import ClipShape


def test_weight_decay_falls_on_conv_and_linear_weights_alone():
    model = build_x3d(full_clip=ClipShape(4, 32), num_classes=5, width_factor=1.0, depth_factor=1.0, dim_c5=32)
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


COSINE = {"base_lr": 0.1, "end_lr": 0.001, "max_epoch": 300}
WARMUP = {"warmup_epochs": 35.0, "warmup_start_lr": 0.01}


@pytest.mark.parametrize("epoch", [35, 36.5, 150, 299.99, 300])
def test_cosine_is_pyslowfasts(epoch):
    expected = 0.001 + 0.099 * (math.cos(math.pi * epoch / 300) + 1) / 2
    assert cosine(**COSINE)(epoch) == pytest.approx(expected)
    assert with_warmup(cosine(**COSINE), **WARMUP)(epoch) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", [cosine(**COSINE), relative_steps(base_lr=0.3, steps=[0, 40], lrs=[1, 0.1])])
def test_warmup_is_a_line_to_where_the_schedule_then_is(schedule):
    lr_at = with_warmup(schedule, **WARMUP)
    assert lr_at(0) == pytest.approx(0.01)
    assert lr_at(17.5) == pytest.approx((0.01 + schedule(35)) / 2)
    assert lr_at(35 - 1e-9) == pytest.approx(schedule(35))
    assert with_warmup(schedule, warmup_epochs=0.0, warmup_start_lr=0.01)(0) == pytest.approx(schedule(0))


def test_cosine_after_warmup_starts_at_the_peak():
    lr_at = with_warmup(cosine(**COSINE, start_epoch=35.0), **WARMUP)
    assert lr_at(35) == pytest.approx(0.1)
    assert lr_at(300) == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("epoch", "lr"), [(0, 0.03), (13.99, 0.03), (14, 0.003), (17.99, 0.003), (18, 0.0003), (22, 0.0003)]
)
def test_steps_are_pyslowfasts(epoch, lr):
    """Its Something-Something recipe: STEPS [0, 14, 18], six LRS of which three are used."""
    lr_at = relative_steps(base_lr=0.03, steps=[0, 14, 18], lrs=[1, 0.1, 0.01, 0.001, 0.0001, 0.00001])
    assert lr_at(epoch) == pytest.approx(lr)


def test_linear_scaling_of_the_learning_rate():
    assert linear_scaling(1024, 256) == 4.0
    assert linear_scaling(1024, 0) == 1.0

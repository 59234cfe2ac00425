from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mutualnet3d.engine.optim import build_adam, build_sgd, cosine, linear_scaling, relative_steps, with_warmup


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


@pytest.mark.parametrize("is_decoupled", [False, True])
def test_adam_by_hand(is_decoupled):
    """With weight decay in the gradient, or beside it (AdamW)."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = build_adam(model, base_lr=0.1, betas=(0.8, 0.9), weight_decay=0.5, is_decoupled=is_decoupled)
    weight, mean, square = 1.0, 0.0, 0.0
    for step in range(1, 4):
        model.weight.grad = torch.full((1, 1), 2.0 * step)
        optimizer.step()
        grad = 2.0 * step + (0.0 if is_decoupled else 0.5 * weight)
        weight -= 0.1 * 0.5 * weight if is_decoupled else 0.0
        mean, square = 0.8 * mean + 0.2 * grad, 0.9 * square + 0.1 * grad**2
        weight -= 0.1 * (mean / (1 - 0.8**step)) / (math.sqrt(square / (1 - 0.9**step)) + 1e-8)
        assert model.weight.item() == pytest.approx(weight, rel=1e-5)


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

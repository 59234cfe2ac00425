from __future__ import annotations

import copy

import pytest
import torch

from mutualnet3d.engine.averaged import AveragedWeights
from mutualnet3d.engine.optim import build_sgd, linear_scaling
from mutualnet3d.engine.optimizer_step import Update
from mutualnet3d.engine.step_metrics import CHECKPOINT, STOP, agree
from mutualnet3d.mutual import StepResult

SETTINGS = {"base_lr": 0.1, "momentum": 0.9, "dampening": 0.0, "nesterov": True, "weight_decay": 1e-2}
YES, NO = torch.tensor(True), torch.tensor(False)


def make_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3))


def loss_of(model, seed, scale=1.0):
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))
    return scale * model(x).square().mean()


def step(model, update, seed, is_finite=YES, scale=1.0):
    update.zero_grad()
    update.backward(loss_of(model, seed, scale))
    update(is_finite)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_steps_are_those_of_torchs_plain_optimizer():
    model = make_model()
    update = Update(build_sgd(model, **SETTINGS))
    plain = copy.deepcopy(model)
    decayed = [plain[0].weight, plain[2].weight]
    others = [each for each in plain.parameters() if not any(each is one for one in decayed)]
    groups = [{"params": decayed, "weight_decay": 1e-2}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, foreach=False)
    for seed in range(4):
        step(model, update, seed)
        optimizer.zero_grad()
        loss_of(plain, seed).backward()
        optimizer.step()
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-6, atol=1e-7)


def test_no_step_from_losses_that_are_not_finite_nor_behind_them():
    model = make_model()
    update = Update(build_sgd(model, **SETTINGS))
    step(model, update, 0)
    before = weights(model)
    step(model, update, 1, is_finite=NO)
    step(model, update, 2, is_finite=YES)  # a GPU's host learns of it a step later
    assert torch.equal(weights(model), before)


def test_gradients_are_clipped():
    model = make_model()
    update = Update(build_sgd(model, **SETTINGS), clip_norm=0.5)
    step(model, update, 0, scale=100.0)
    norm = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).norm()
    assert norm.item() == pytest.approx(0.5, rel=1e-4)
    update = Update(build_sgd(model, **SETTINGS), clip_value=0.01)
    step(model, update, 0, scale=100.0)
    assert max(parameter.grad.abs().max() for parameter in model.parameters()) == pytest.approx(0.01)


def test_scaled_losses_give_the_same_steps_and_an_overflow_is_left_out():
    model, plain = make_model(), make_model()
    scaled, update = (
        Update(build_sgd(model, **SETTINGS), scale_losses=True, clip_norm=0.5),
        Update(build_sgd(plain, **SETTINGS), clip_norm=0.5),
    )
    for seed in range(3):
        step(model, scaled, seed)
        step(plain, update, seed)
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-5, atol=1e-6)
    before, scale = weights(model), scaled.scaler.get_scale()
    scaled.zero_grad()
    scaled.backward(loss_of(model, 5))
    model[0].weight.grad[0, 0] = float("inf")  # as a gradient too large for float16 is
    scaled(YES)
    assert torch.equal(weights(model), before)
    assert scaled.scaler.get_scale() == scale / 2
    step(model, scaled, 6)
    assert not torch.equal(weights(model), before)

    again = Update(build_sgd(make_model(), **SETTINGS), scale_losses=True)
    again.load_state_dict(scaled.state_dict())
    assert again.scaler.get_scale() == scale / 2


def test_averages_by_hand():
    model = make_model()
    start = weights(model)
    averaged = AveragedWeights(model, decay=0.15)
    expected = start.clone()
    for count, decay in ((0, 1 / 10), (1, 0.15), (2, 0.15)):  # (1 + n) / (10 + n), at most the decay
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 1.0
            model[1].num_batches_tracked += 1
        averaged.update()
        expected = decay * expected + (1 - decay) * (start + count + 1)
    torch.testing.assert_close(weights(averaged.model), expected)
    assert averaged.model[1].num_batches_tracked == 3
    again = AveragedWeights(make_model(), decay=0.15)
    again.load_state_dict(averaged.state_dict())
    assert again.num_steps == 3
    assert torch.equal(weights(again.model), weights(averaged.model))
    for decay in (-0.1, 1.0):
        with pytest.raises(ValueError, match=rf"must be in \[0, 1\), got {decay}"):
            AveragedWeights(model, decay)


def test_the_outcome_of_a_step_in_parts():
    parts = [
        StepResult({"w1.0-s32-t4": torch.tensor(a)}, {"w1.0-s32-t4": torch.tensor(b)})
        for a, b in ((1.0, 0.5), (3.0, 0.0))
    ]
    outcome = agree(7, parts, {STOP: True})
    assert outcome.losses == {"w1.0-s32-t4": 2.0}
    assert outcome.top1 == {"w1.0-s32-t4": 0.25}
    assert outcome.asked_for(STOP)
    assert not outcome.asked_for(CHECKPOINT)
    assert bool(outcome.is_finite)
    outcome.check_finite()


def test_linear_scaling_of_the_learning_rate():
    assert linear_scaling(1024, 256) == 4.0
    assert linear_scaling(1024, 0) == 1.0

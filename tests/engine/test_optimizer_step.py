from __future__ import annotations

import copy

import pytest
import torch

from mutualnet3d.engine.optim import build_adam, build_sgd
from mutualnet3d.engine.optimizer_step import OptimizerStep

SETTINGS = {"base_lr": 0.1, "momentum": 0.9, "dampening": 0.0, "nesterov": True, "weight_decay": 1e-2}
ADAM = {"base_lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 1e-2, "is_decoupled": True}
BUILDERS = {"sgd": lambda model: build_sgd(model, **SETTINGS), "adamw": lambda model: build_adam(model, **ADAM)}
YES, NO = torch.tensor(True), torch.tensor(False)


def make_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3))


def loss_of(model, seed, scale=1.0):
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))
    return scale * model(x).square().mean()


def step(model, optimizer_step, seed, is_finite=YES, scale=1.0):
    optimizer_step.zero_grad()
    optimizer_step.backward(loss_of(model, seed, scale))
    optimizer_step(is_finite)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_steps_are_those_of_torchs_plain_optimizer():
    model = make_model()
    optimizer_step = OptimizerStep(build_sgd(model, **SETTINGS))
    reference = copy.deepcopy(model)
    decayed = [reference[0].weight, reference[2].weight]
    others = [reference[0].bias, *reference[1].parameters(), reference[2].bias]
    groups = [{"params": decayed, "weight_decay": 1e-2}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, foreach=False)
    for seed in range(4):
        step(model, optimizer_step, seed)
        optimizer.zero_grad()
        loss_of(reference, seed).backward()
        optimizer.step()
    torch.testing.assert_close(weights(model), weights(reference), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("method", BUILDERS)
def test_no_step_from_losses_that_are_not_finite_nor_after_them(method):
    model = make_model()
    optimizer_step = OptimizerStep(BUILDERS[method](model))
    step(model, optimizer_step, 0)
    before = weights(model)
    step(model, optimizer_step, 1, is_finite=NO)
    step(model, optimizer_step, 2, is_finite=YES)  # a GPU's host sees it a step later
    assert torch.equal(weights(model), before)


def test_gradients_are_clipped():
    model = make_model()
    optimizer_step = OptimizerStep(build_sgd(model, **SETTINGS), clip_norm=0.5)
    step(model, optimizer_step, 0, scale=100.0)
    norm = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).norm()
    assert norm.item() == pytest.approx(0.5, rel=1e-4)
    optimizer_step = OptimizerStep(build_sgd(model, **SETTINGS), clip_value=0.01)
    step(model, optimizer_step, 0, scale=100.0)
    assert max(parameter.grad.abs().max() for parameter in model.parameters()) == pytest.approx(0.01)


@pytest.mark.parametrize("method", BUILDERS)
def test_scaled_losses_give_the_same_steps_and_an_overflow_is_left_out(method):
    model, reference = make_model(), make_model()
    scaled = OptimizerStep(BUILDERS[method](model), scale_losses=True, clip_norm=0.5)
    unscaled = OptimizerStep(BUILDERS[method](reference), clip_norm=0.5)
    for seed in range(3):
        step(model, scaled, seed)
        step(reference, unscaled, seed)
    torch.testing.assert_close(weights(model), weights(reference), rtol=1e-5, atol=1e-6)
    before, scale = weights(model), scaled.scaler.get_scale()
    scaled.zero_grad()
    scaled.backward(loss_of(model, 5))
    model[0].weight.grad[0, 0] = float("inf")  # as a gradient too large for float16 is
    scaled(YES)
    assert torch.equal(weights(model), before)
    assert scaled.scaler.get_scale() == scale / 2
    step(model, scaled, 6)
    assert not torch.equal(weights(model), before)

    resumed = OptimizerStep(BUILDERS[method](make_model()), scale_losses=True)
    resumed.load_state_dict(scaled.state_dict())
    assert resumed.scaler.get_scale() == scale / 2

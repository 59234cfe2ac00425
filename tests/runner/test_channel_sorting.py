from __future__ import annotations

import copy

import pytest
import torch

from mutualnet3d.engine.averaged import AveragedWeights
from mutualnet3d.engine.optim import build_adam, build_sgd
from mutualnet3d.models.channel_order import ChannelOrder, important_first
from mutualnet3d.runner.channel_sorting import SortedAt, sort_training
from tests.models.families import clips, tiny

SOLVER = {"base_lr": 0.05, "momentum": 0.9, "dampening": 0.0, "nesterov": True, "weight_decay": 1e-2}


ADAM = {"base_lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 1e-2, "is_decoupled": True}
BUILDERS = {"sgd": lambda model: build_sgd(model, **SOLVER), "adamw": lambda model: build_adam(model, **ADAM)}


class Training:
    """A tiny network in training, in float64, with momenta and averages that are not zero."""

    def __init__(self, family, method):
        self.model = tiny(family).double().train()
        self.optimizer = BUILDERS[method](self.model)
        self.averaged = AveragedWeights(self.model, decay=0.5)
        self.clips = [clip.double() for clip in clips(self.model, self.model.full, batch=3)]

    def step(self):
        self.optimizer.zero_grad()
        with self.model.dropout.off():
            torch.nn.functional.cross_entropy(self.model(self.clips), torch.tensor([0, 1, 2])).backward()
        self.optimizer.step()
        self.averaged.update()

    def state(self):
        state_of = {name: self.optimizer.state[parameter] for name, parameter in self.model.named_parameters()}
        kinds = {kind for state in state_of.values() for kind in state if kind != "step"}
        momenta = [{name: state[kind] for name, state in state_of.items()} for kind in sorted(kinds)]
        return [self.model.state_dict(), *momenta, self.averaged.model.state_dict()]


@pytest.mark.parametrize(
    ("family", "method"),
    [
        ("x3d", "adamw"),
        pytest.param("x3d", "sgd", marks=pytest.mark.slow),
        pytest.param("slowfast", "adamw", marks=pytest.mark.slow),
        pytest.param("slowfast", "sgd", marks=pytest.mark.slow),
    ],
)
def test_a_step_after_sorting_is_the_step_that_would_have_been(family, method):
    training = Training(family, method)
    training.step()
    assert len(training.state()) == {"sgd": 3, "adamw": 4}[method]  # Adam's two momenta are made in its first step
    reference = copy.deepcopy(training)
    orders = important_first(training.model)
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    sort_training(training.model, training.optimizer, training.averaged)
    assert sum(not torch.equal(value, before[name]) for name, value in training.model.state_dict().items()) > 50
    for sorted_training in (training, reference):
        sorted_training.step()
    for order in orders:
        back = ChannelOrder(torch.argsort(order.order), order.rows, order.columns)
        for tensors in training.state():
            back.apply(tensors)
    for tensors, expected in zip(training.state(), reference.state(), strict=True):
        for name, value in expected.items():
            torch.testing.assert_close(tensors[name], value, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: name)
    assert not training.model.statistics


def test_the_channels_are_sorted_once_before_their_step():
    calls = []
    step = SortedAt(lambda step, batch: calls.append((step, batch)), 2, lambda: calls.append("sorted"))
    for number in range(4):
        step(number, "clips")
    assert calls == [(0, "clips"), (1, "clips"), "sorted", (2, "clips"), (3, "clips")]

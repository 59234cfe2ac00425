from __future__ import annotations

import copy

import pytest
import torch

from mutualnet3d.engine.averaged import AveragedWeights
from mutualnet3d.engine.optim import build_sgd
from mutualnet3d.models.channel_order import ChannelOrder, important_first
from mutualnet3d.runner.channel_sorting import SortedAt, sort_training
from tests.models.families import clips, tiny

SOLVER = {"base_lr": 0.05, "momentum": 0.9, "dampening": 0.0, "nesterov": True, "weight_decay": 1e-2}


class Training:
    """A tiny network in training, in float64, with momenta and averages that are not zero."""

    def __init__(self, family):
        self.model = tiny(family).double().train()
        self.optimizer = build_sgd(self.model, **SOLVER)
        self.averaged = AveragedWeights(self.model, decay=0.5)
        self.clips = [clip.double() for clip in clips(self.model, self.model.full, batch=3)]

    def step(self):
        self.optimizer.zero_grad()
        with self.model.dropout.off():
            torch.nn.functional.cross_entropy(self.model(self.clips), torch.tensor([0, 1, 2])).backward()
        self.optimizer.step()
        self.averaged.update()

    def state(self):
        named = dict(self.model.named_parameters())
        momenta = {name: self.optimizer.state[parameter]["momentum_buffer"] for name, parameter in named.items()}
        return [self.model.state_dict(), momenta, self.averaged.model.state_dict()]


@pytest.mark.parametrize("family", ["x3d", pytest.param("slowfast", marks=pytest.mark.slow)])
def test_a_step_after_sorting_is_the_step_that_would_have_been(family):
    training = Training(family)
    training.step()
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

from __future__ import annotations

import pytest
import torch
from torch import nn

from mutualnet3d.models.dropout import DropoutSwitch
from mutualnet3d.models.x3d import build_x3d
from tests.models.families import FULL_CLIP, clips, tiny


def gradients(model):
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("family", ["x3d", "slow", "slowfast"])
def test_logits_without_dropout_come_along(family):
    model = tiny(family).train()
    x = clips(model, model.full)
    with model.dropout.off():
        expected = model(x)
    dropped, dropped_grads = forward(model, x)
    with model.dropout.clean_logits() as dropout:
        logits, grads = forward(model, x)
        clean = dropout.clean_BK
    assert model.dropout.clean_BK is None
    assert logits.shape == expected.shape
    assert not clean.requires_grad
    torch.testing.assert_close(clean, expected.detach(), rtol=1e-5, atol=1e-6)
    assert (dropped - expected).abs().max() > 0.1 * expected.abs().max()  # half of the features are away
    # The loss with dropout is the one of a pass by itself, and so are its gradients.
    torch.testing.assert_close(logits, dropped, rtol=1e-5, atol=1e-6)
    assert len(grads) == len(dropped_grads) > 20
    for gradient, alone in zip(grads, dropped_grads, strict=True):
        torch.testing.assert_close(gradient, alone, rtol=1e-4, atol=1e-5 * alone.abs().max().item())


def forward(model, x):
    """Return logits and gradients of a pass with dropout, the same features dropped in every call."""
    torch.manual_seed(3)
    model.zero_grad()
    logits = model(x)
    logits.square().sum().backward()
    return logits.detach(), gradients(model)


def test_the_switch_is_back_after_an_exception():
    model = tiny("x3d").train()
    (layer,) = model.dropout.layers
    for context in (model.dropout.off(), model.dropout.clean_logits()):
        with pytest.raises(RuntimeError, match="inside"), context:
            raise RuntimeError("inside")
    assert layer.training
    assert not layer._forward_hooks
    assert model(clips(model, model.full)).shape == (2, 7)
    with model.eval().dropout.off():
        pass
    assert not layer.training


def test_without_dropout_the_logits_are_the_clean_ones():
    model = build_x3d(full_clip=FULL_CLIP, num_classes=3, dropout_rate=0.0, width_factor=1.0, depth_factor=0.3)
    with model.train().dropout.clean_logits() as dropout:
        logits = model(clips(model, model.full))
        assert torch.equal(dropout.clean_BK, logits.detach())


def test_dropout_that_is_not_in_the_head_alone():
    head = nn.Sequential(nn.Dropout(), nn.Linear(2, 2))
    assert len(DropoutSwitch(nn.Sequential(nn.Linear(2, 2), head), head).layers) == 1
    with pytest.raises(ValueError, match="at most one dropout layer, in its head, not 2"):
        DropoutSwitch(nn.Sequential(nn.Dropout(), head), head)

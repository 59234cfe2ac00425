"""Fit of tensors to a network: what is taken, what lies beside it, what differs."""

from __future__ import annotations

import pytest
import torch
from pytorchvideo.models.head import ResNetBasicHead

from mutualnet3d.models.weight_fit import WeightFit, family_of, fit_of, listed
from mutualnet3d.models.weight_parts import parts_of
from tests.models.families import FAMILIES, tiny


def fit(state: dict[str, torch.Tensor], family: str = "x3d") -> WeightFit:
    model = tiny(family)
    (part,) = parts_of(state, frozenset(model.state_dict()))
    return fit_of(part, model)


def test_a_whole_state_is_complete_with_losses_beside_and_without_counters():
    state = {name: value for name, value in tiny("x3d").state_dict().items() if "num_batches_tracked" not in name}
    assert fit(state).is_complete
    with_losses = fit({**{f"model.{name}": value for name, value in state.items()}, "loss.weight": torch.ones(7)})
    assert (with_losses.is_complete, with_losses.unused) == (True, ("loss.weight",))
    beside = fit({**state, "train_top1.confmat": torch.ones(7, 7)})
    assert (beside.is_complete, beside.unused) == (True, ("train_top1.confmat",))


def test_differences_are_counted_by_kind():
    state = dict(tiny("x3d").state_dict())
    del state["blocks.0.norm.weight"]
    state |= {"blocks.9.odd": torch.ones(1), "blocks.0.norm.bias": torch.ones(3), "aux.weight": torch.ones(1)}
    result = fit(state)
    assert not result.is_complete
    assert result.num_matching == len(tiny("x3d").state_dict()) - 2
    assert result.differences == (
        "1 missing: blocks.0.norm.weight; 2 unknown here: blocks.9.odd, aux.weight; "
        "1 of another shape: blocks.0.norm.bias is (3,), here (16,)"
    )


@pytest.mark.parametrize("family", list(FAMILIES))
def test_the_classifier_is_the_last_layer(family):
    model = tiny(family)
    (head,) = [name for name, module in model.named_modules() if isinstance(module, ResNetBasicHead)]
    state = dict(model.state_dict())
    for leaf in ("weight", "bias"):
        state[f"{head}.proj.{leaf}"] = torch.ones(12, *state[f"{head}.proj.{leaf}"].shape[1:])
    (part,) = parts_of(state, frozenset(state))
    result = fit_of(part, model)
    assert (result.classes, result.is_complete) == ((12, 7), True)
    assert state.keys() - result.state.keys() == {f"{head}.proj.weight", f"{head}.proj.bias"}


def test_types_that_no_weights_have_are_named():
    state = dict(tiny("x3d").state_dict())
    state["blocks.0.norm.bias"] = state["blocks.0.norm.bias"].to(torch.complex64)
    assert fit(state).differences == ("1 of another shape: blocks.0.norm.bias is (16,) of torch.complex64, here (16,)")
    state = tiny("x3d").state_dict()
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    assert fit(half).is_complete


def test_norms_of_shortcuts_that_do_not_belong_together_are_not_folded():
    state = dict(tiny("x3d").state_dict())
    name = "blocks.1.res_blocks.0.branch1_norm"
    state |= {f"{name}.{leaf}": torch.ones(3) for leaf in ("weight", "bias", "running_mean", "running_var")}
    assert len(fit(state).unknown) == 4


def test_equal_values_are_equal_weights():
    state = dict(tiny("x3d").state_dict())
    copies = {name: value.clone() for name, value in state.items()}
    assert fit(state).equals(fit(copies))
    copies["blocks.0.norm.bias"] += 1
    assert not fit(state).equals(fit(copies))


def test_families_and_lists_of_names():
    assert [family_of(tiny(family).state_dict()) for family in ("x3d", "slowfast", "c2d")] == [
        "an X3D",
        "a SlowFast",
        "a ResNet of one pathway",
    ]
    assert family_of({"layer1.0.conv1.weight": torch.ones(1)}) == "a network of another kind"
    assert listed(tuple("abcdefg")) == "a, b, c, d, e and 2 more"

"""Containers and prefixes that people save weights in, found by the names in them."""

from __future__ import annotations

import pytest
import torch

from mutualnet3d.models.weight_parts import parts_of

NAMES = frozenset(("blocks.0.conv.weight", "blocks.0.norm.running_var", "blocks.1.proj.weight"))


def state(prefix: str = "") -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": torch.zeros(1) for name in NAMES}


@pytest.mark.parametrize(
    ("content", "text", "is_average", "num_unusual"),
    [
        (state(), "the file's own tensors", False, 0),
        ({"net": state("module.")}, "net without 'module.'", False, 0),
        ({"model": state("_orig_mod.module.")}, "model without 'module.' and '_orig_mod.'", False, 0),
        ({"model": state("module._orig_mod.model.")}, "model without 'module.model.' and '_orig_mod.'", False, 0),
        ({"state_dict": state("lit.backbone.")}, "state_dict without 'lit.backbone.'", False, 2),
        ({"checkpoint": {"weights": state()}}, "checkpoint/weights", False, 1),
        ({"model_ema": state("module.")}, "model_ema without 'module.'", True, 0),
        ({"state_dict_ema": state()}, "state_dict_ema", True, 0),
        ({"ema": {"module": state()}}, "ema/module", True, 0),
        ({"state_dict": state("ema_model.module.")}, "state_dict without 'ema_model.module.'", True, 0),
        ({"swa_state_dict": state()}, "swa_state_dict", True, 0),
        ({"averaged": {"model_state": state()}}, "averaged/model_state", True, 0),
        ({"model": {"n_averaged": torch.ones(1), **state("module.")}}, "model without 'module.'", True, 0),
        ({"schema": state()}, "schema", False, 1),
    ],
)
def test_names_lead_to_the_part(content, text, is_average, num_unusual):
    (part,) = parts_of(content, NAMES)
    assert set(part.tensors) == NAMES
    assert (str(part), part.is_average, part.num_unusual, part.votes) == (text, is_average, num_unusual, 3)


def test_wrappers_inside_names_are_taken_out():
    inner = {
        name.replace("blocks.0.", "blocks.0._checkpoint_wrapped_module."): value for name, value in state().items()
    }
    (part,) = parts_of(inner, NAMES)
    assert (set(part.tensors), part.prefix, part.wrappers) == (NAMES, "", ("_checkpoint_wrapped_module",))


def test_names_that_would_fall_together_keep_their_wrappers():
    parts = parts_of({**state(), **state("_orig_mod.")}, NAMES)
    assert sorted(part.prefix for part in parts) == ["", "_orig_mod."]


def test_other_tensors_beside_and_small_parts_are_told_apart():
    content = {
        "state_dict": {**state("model."), "criterion.weight": torch.ones(2)},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(1)}}, "names": {"blocks.1.proj.weight": torch.zeros(1)}},
    }
    (part,) = parts_of(content, NAMES)
    assert (part.keys, part.prefix, part.others) == (("state_dict",), "model.", ("criterion.weight",))


def test_names_of_no_network_lose_usual_prefixes_alone():
    (part,) = parts_of({"module.model.a.b": torch.zeros(1), "module.model.c": torch.zeros(1)}, NAMES)
    assert (part.prefix, set(part.tensors), part.votes) == ("module.model.", {"a.b", "c"}, 0)


def test_pyslowfasts_names_are_found_after_a_prefix():
    (part,) = parts_of({"model_state": {"module.s1.pathway0_stem.conv.weight": torch.zeros(1)}}, NAMES)
    assert (part.prefix, set(part.tensors)) == ("module.", {"s1.pathway0_stem.conv.weight"})


def test_no_tensors_give_no_parts():
    assert parts_of({"epoch": 1, "model": {3: torch.zeros(1)}}, NAMES) == []


def test_a_container_that_is_reached_twice_is_one_part():
    shared = state()
    assert len(parts_of({"model": shared, "best": shared}, NAMES)) == 1

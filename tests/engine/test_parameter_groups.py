from __future__ import annotations

import pytest
import torch
from torch import nn

from mutualnet3d.engine.parameter_groups import factors_of_stages, lr_of, parameter_groups, set_lr
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


def test_each_stage_has_its_factor_and_its_two_groups():
    stem, stage, head = nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.Linear(4, 2)
    model = nn.ModuleList([stem, stage, head])
    stem.bias.requires_grad_(False)
    factors = factors_of_stages([stem, stage, head], layer_decay=0.5, head_factor=10.0)
    assert [factor for _, factor in factors] == [0.25, 0.5, 10.0]
    groups = parameter_groups(model, 1e-2, factors)
    assert [(group["lr_factor"], group["weight_decay"], len(group["params"])) for group in groups] == [
        (0.25, 1e-2, 1), (0.25, 0.0, 0), (0.5, 1e-2, 0), (0.5, 0.0, 2), (10.0, 1e-2, 1), (10.0, 0.0, 1),
    ]  # fmt: skip
    optimizer = torch.optim.SGD(groups, lr=1.0)
    set_lr(optimizer, 0.3)
    assert [group["lr"] for group in optimizer.param_groups[::2]] == pytest.approx([0.075, 0.15, 3.0])
    assert lr_of(optimizer) == pytest.approx(0.3)


def test_without_factors_groups_are_those_that_older_checkpoints_have():
    model = nn.ModuleList([nn.Conv3d(3, 4, 1), nn.Linear(4, 2)])
    groups = parameter_groups(model, 1e-2, factors_of_stages(list(model), 1.0, 1.0))
    assert [set(group) for group in groups] == [{"params", "weight_decay"}] * 2
    optimizer = torch.optim.SGD(groups, lr=1.0)
    set_lr(optimizer, 0.3)
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.3]
    assert lr_of(optimizer) == 0.3

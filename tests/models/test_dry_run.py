from __future__ import annotations

import pytest
import torch

from mutualnet3d.models.dry_run import BATCH, dry_run
from mutualnet3d.ops import SlimBatchNorm3d, SlimConv3d, SlimLinear
from mutualnet3d.shapes import SubnetConfig
from tests.models.families import clips, tiny

CONFIG = SubnetConfig(0.63, 48, 2)


@pytest.mark.parametrize("family", ["x3d", "slowfast"])
def test_shapes_are_those_of_a_real_run(family):
    model = tiny(family).train()
    shapes = {}

    def record(name):
        return lambda layer, args, y: shapes.setdefault(name, []).append((tuple(args[0].shape), tuple(y.shape)))

    hooks = [
        layer.register_forward_hook(record(name))
        for name, layer in model.named_modules()
        if isinstance(layer, SlimConv3d | SlimLinear | SlimBatchNorm3d)
    ]
    with torch.no_grad(), model.active(CONFIG):
        model(clips(model, CONFIG, BATCH))
    for hook in hooks:
        hook.remove()
    runs = dry_run(model, CONFIG)
    assert len(runs) > 50
    assert {run.name: [(run.input_shape, run.output_shape)] for run in runs} == shapes


def test_nothing_changes():
    model = tiny("x3d")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rng, training = torch.get_rng_state(), model.training
    dry_run(model, CONFIG)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(rng, torch.get_rng_state())
    assert model.training == training
    assert not any(module._forward_hooks for module in model.modules())

"""Changes that benchmarks/staged_variants.py makes to the code."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.engine import train_step
from mutualnet3d.models.slimmable_base import SlimmableBase
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.mutual.step import mutual_step
from mutualnet3d.ops.norm import SlimBatchNorm3d
from mutualnet3d.shapes import ClipShape

ROOT = Path(__file__).resolve().parents[2]
SPACE = m3.SubnetSpace(width_range=(0.5, 1.0), sizes=(48, 32), frames=(8, 6))


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import staged_variants

    # What changes replace comes back at the test's end.
    monkeypatch.setattr(train_step, "mutual_step", train_step.mutual_step)
    monkeypatch.setattr(m3.SubnetSpace, "at_step", m3.SubnetSpace.at_step)
    for owner, name in ((SlimBatchNorm3d, "from_norm"), (SlimBatchNorm3d, "sliced"), (SlimmableBase, "_switch")):
        monkeypatch.setattr(owner, name, owner.__dict__[name])
    monkeypatch.setattr(staged_variants.Progress, "done", 0.5)
    return staged_variants


def build(seed=0):
    torch.manual_seed(seed)
    model = build_x3d(
        full_clip=ClipShape(8, 48), num_classes=5, width_factor=1.0, depth_factor=0.3, dim_c5=32, dropout_rate=0.0
    )
    for layer in model.modules():  # the last ones of blocks are zero, and would hide what comes before
        if isinstance(layer, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
    return model.train()


def gradients(model, step, label_weight=0.5):
    """Return the losses of a step and the gradients by parameter."""
    torch.manual_seed(1)
    clips = {key: torch.randn(2, 3, key[0], key[1], key[1]) for key in ((8, 48), (8, 32), (6, 48), (6, 32))}
    full, *subnets = SPACE.at_step(0, 1)
    result = step(
        model,
        lambda config: [clips[config.frames, config.size]],
        torch.tensor([1, 3]),
        full,
        subnets,
        label_weight=label_weight,
        losses=m3.mutual.losses.ONE_LABEL,
        backward=torch.Tensor.backward,
    )
    return result.losses, {name: value.grad for name, value in model.named_parameters()}


def test_a_ramp_at_its_end_is_the_mutual_step(module):
    model = build()
    losses, expected = gradients(copy.deepcopy(model), mutual_step)
    module.ramp()
    ramped, grads = gradients(model, train_step.mutual_step)
    assert ramped == losses
    assert grads.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(grads[name], value, msg=lambda text, name=name: f"{name}: {text}")


def test_half_of_the_sub_networks_losses(module, monkeypatch):
    model = build()
    _, whole = gradients(copy.deepcopy(model), mutual_step)
    module.halve_losses()
    _, half = gradients(copy.deepcopy(model), train_step.mutual_step)
    monkeypatch.setattr(m3.SubnetSpace, "at_step", lambda space, seed, step: (space.full,))
    _, alone = gradients(model, mutual_step)
    for name, value in alone.items():
        torch.testing.assert_close(half[name], (whole[name] + value) / 2, msg=lambda text, name=name: f"{name}: {text}")
        assert not torch.equal(half[name], whole[name])


def test_teachers_are_the_wider_networks(module):
    model = build()
    module.teach_by_mean()
    mean, _ = gradients(copy.deepcopy(model), train_step.mutual_step, label_weight=0.0)
    module.teach_by_neighbours()
    chain, _ = gradients(copy.deepcopy(model), train_step.mutual_step, label_weight=0.0)
    plain, _ = gradients(copy.deepcopy(model), mutual_step, label_weight=0.0)
    widths = [m3.SubnetConfig.parse(key).width for key in chain]
    assert widths == sorted(widths, reverse=True)
    widest = list(chain)[1]  # the full network is the only wider one of the widest sub-network
    assert float(chain[widest]) == pytest.approx(float(mean[widest]), rel=1e-4)
    assert chain[widest] == plain[widest]
    assert set(chain) == set(plain)
    assert chain[list(chain)[-1]] != mean[list(chain)[-1]] != plain[list(chain)[-1]]


def test_one_random_width_of_each_half(module):
    module.stratify_widths()
    for step in range(20):
        full, narrowest, low, high = SPACE.at_step(0, step)
        assert (full, narrowest.width) == (SPACE.full, 0.5)
        assert 0.5 <= low.width <= 0.75 <= high.width <= 1.0


def test_one_random_sub_network(module):
    drawn = SPACE.at_step(0, 3)
    module.draw_one()
    assert SPACE.at_step(0, 3) == drawn[:3]


@pytest.mark.parametrize(("attribute", "values"), [("frames", (6,)), ("size", (32,))])
def test_own_norms_start_as_the_shared_ones_and_learn(module, attribute, values):
    plain = build()
    losses, _ = gradients(plain, mutual_step)
    module.own_norms(attribute, values)
    own = build()
    shared = {name: value for name, value in own.state_dict().items() if ".own_" not in name}
    assert shared.keys() == plain.state_dict().keys()
    own_losses, grads = gradients(own, mutual_step)
    assert own_losses == losses
    assert set(values) & {getattr(m3.SubnetConfig.parse(key), attribute) for key in losses}
    own_grads = [value for name, value in grads.items() if ".own_weight" in name and value is not None]
    assert own_grads
    assert all(value.abs().sum() > 0 for value in own_grads)


@pytest.mark.parametrize(("words", "made"), [([], 23), (["--clips-seed", "11"], 11), (["--one", "staged", "0"], None)])
def test_clips_are_made_once_with_their_seed(module, monkeypatch, words, made):
    calls = []
    monkeypatch.setattr(module, "make_shapes", lambda data, seed: calls.append((data, seed)))
    for name in ("run_jobs", "report", "run_one"):
        monkeypatch.setattr(module, name, lambda *_: None)
    monkeypatch.setattr("sys.argv", ["staged_variants.py", "--data", "clips", *words])
    module.main()
    assert calls == ([("clips", made)] if made else [])

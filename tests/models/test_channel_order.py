from __future__ import annotations

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.models.channel_order import ChannelOrder, important_first
from mutualnet3d.ops import round_channels
from mutualnet3d.shapes import SubnetConfig
from tests.models.families import FAMILIES, calibrated, clips, tiny


@pytest.mark.parametrize("family", list(FAMILIES))
def test_the_full_network_computes_the_same_when_sorted(family):
    model = tiny(family)
    x = clips(model, model.full)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    calibrated(model, SubnetConfig(0.6, 48, 2))
    with torch.no_grad():
        expected = model(x)
        groups = m3.sort_channels(model)
        logits = model(x)
    assert groups > 20
    assert ((logits - expected).abs().max() / expected.abs().max()).item() < 1e-5
    assert not model.statistics  # they were of the old order
    moved = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert len(moved) > 100
    # What never slims keeps its order: the classifier's outputs, X3D's 64, the Fast pathway.
    assert not [name for name in moved if ".multipathway_blocks.1." in name or "multipathway_fusion" in name]
    assert not any(name.endswith("proj.bias") for name in moved)
    # Sorting what is sorted changes nothing.
    again = {name: value.clone() for name, value in model.state_dict().items()}
    m3.sort_channels(model)
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("family", ["x3d", "slow", "slowfast"])
def test_a_narrow_slice_holds_the_important_channels(family):
    """Half of a block's inner channels and half of a stage's residual stream are switched off; sorted, they come last,
    and the slice without them is the whole network."""
    model = tiny(family)
    dead = []
    for name, layer in model.named_modules():
        fast = ".multipathway_blocks.1." in name or "multipathway_fusion" in name
        if isinstance(layer, torch.nn.BatchNorm3d) and not fast:
            width = round_channels(0.6, layer.num_features)
            # Every second channel, so that a prefix has dead ones; the same ones in all layers of a stream.
            order = torch.arange(layer.num_features).roll(layer.num_features // 3)
            off = order[width:]
            with torch.no_grad():
                layer.weight[off], layer.bias[off] = 0.0, 0.0
            dead.append(name)
    assert len(dead) > 10
    config = SubnetConfig(0.6, model.full_clip.size, model.full_clip.frames)
    x = clips(model, model.full)

    def of_slice() -> torch.Tensor:
        statistics = {
            name: (norm.running_mean[:width], norm.running_var[:width])
            for name, norm in model.norms()
            for width in [norm.num_features if "multipathway_blocks.1" in name or "fusion" in name else None]
            for width in [width or round_channels(0.6, norm.num_features)]
        }
        model.statistics.set(config, statistics)
        with model.active(config):
            return model(x)

    with torch.no_grad():
        expected = model(x)
        unsorted = of_slice()
        m3.sort_channels(model)
        in_order = of_slice()
    scale = expected.abs().max()
    assert (unsorted - expected).abs().max() / scale > 0.05
    assert (in_order - expected).abs().max() / scale < 1e-4


def test_an_order_by_hand():
    order = ChannelOrder(torch.tensor([2, 0, 1]), rows=("a.weight", "a.bias"), columns=(("b.weight", 1),))
    tensors = {"a.bias": torch.tensor([10.0, 11.0, 12.0]), "b.weight": torch.arange(5.0).repeat(2, 1)}
    order.apply(tensors)  # one of the three is missing
    assert tensors["a.bias"].tolist() == [12.0, 10.0, 11.0]
    assert tensors["b.weight"].tolist() == [[0.0, 3.0, 1.0, 2.0, 4.0]] * 2


def test_orders_are_permutations_of_every_slimming_channel():
    model = tiny("slowfast")
    orders = important_first(model)
    state = model.state_dict()
    for order in orders:
        assert sorted(order.order.tolist()) == list(range(len(order.order)))
        assert all(len(state[name]) == len(order.order) for name in order.rows)
        assert all(state[name].shape[1] >= start + len(order.order) for name, start in order.columns)
    with model.active(SubnetConfig(0.6, 64, 4)):
        slimmed = {f"{name}.weight" for name, layer in model.named_modules() if _is_slimmed(layer)}
    assert slimmed <= {name for order in orders for name in order.rows}


def _is_slimmed(layer: torch.nn.Module) -> bool:
    return getattr(layer, "slim_output", False) and layer.out_width < len(layer.weight)

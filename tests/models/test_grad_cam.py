"""Grad-CAM against the formula of class activation maps, and against gradients of the whole network."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F

from mutualnet3d.models.grad_cam import find_layer, grad_cam
from mutualnet3d.models.last_map import map_layer
from mutualnet3d.shapes import SubnetConfig
from tests.deploy.networks import FULL, SMALL, short
from tests.models.families import calibrated, clips, relative

NARROW = SubnetConfig(0.63, 64, 3)


@functools.cache
def model_of(family):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return calibrated(short(family), NARROW, SMALL)


SLOW_CASES = [("x3d", FULL), ("slow", FULL), ("slow", NARROW), ("slow", SMALL)]
SLOW_CASES += [("slowfast", config) for config in (FULL, NARROW, SMALL)]


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("x3d", NARROW),
        ("x3d", SMALL),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW_CASES),
    ],
    ids=str,
)
def test_maps_are_those_of_gradients_of_the_whole_network(family, config):
    model = model_of(family)
    batch = clips(model, config)
    layer = map_layer(model, config).name
    logits_BK, map_THW = grad_cam(model, config, batch, layer, lambda logits_BK: 4)

    network, features = model.extract(config), []
    network.get_submodule(layer).register_forward_hook(lambda *words: features.append(words[2]))
    expected_BK = network(batch)
    gradient = torch.autograd.grad(expected_BK[0, 4], features)[0][0]
    expected_THW = F.relu((gradient.mean(dim=(1, 2, 3))[:, None, None, None] * features[0][0]).sum(dim=0))
    assert map_THW.shape == expected_THW.shape
    assert relative(logits_BK, expected_BK.detach()) < 1e-4
    assert (map_THW - expected_THW).abs().max() <= 1e-4 * expected_THW.max() + 1e-9
    assert not map_THW.requires_grad
    assert not logits_BK.requires_grad


@pytest.mark.parametrize("config", [FULL, SMALL], ids=str)
def test_with_pooling_and_one_layer_it_is_the_class_activation_map(config):
    model, features = model_of("slow"), []
    batch = clips(model, config)
    hook = model.blocks[4].register_forward_hook(lambda *words: features.append(words[2].detach()))
    _, map_THW = grad_cam(model, config, batch, "blocks.4", lambda logits_BK: int(logits_BK[0].argmax()))
    with torch.no_grad(), model.active(config):
        label = int(model(batch)[0].argmax())
    hook.remove()
    weight_C = model.blocks[5].proj.weight.detach()[label, : features[0].shape[1]]
    activation_map = torch.einsum("c,cthw->thw", weight_C, features[0][0])
    torch.testing.assert_close(map_THW * map_THW.numel(), activation_map.relu(), rtol=1e-3, atol=1e-5)


def test_weights_and_the_callers_modes_stay():
    model = model_of("x3d")
    batch, layer = clips(model, SMALL), map_layer(model, SMALL).name
    expected = grad_cam(model, SMALL, batch, layer, lambda _: 1)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            got = grad_cam(model, SMALL, batch, layer, lambda _: 1)
            assert not torch.is_grad_enabled()
        assert all(torch.equal(*pair) for pair in zip(got, expected, strict=True))
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    try:
        got = grad_cam(model, SMALL, batch, layer, lambda _: 1)
    finally:
        for parameter in model.parameters():
            parameter.requires_grad_(True)
    torch.testing.assert_close(got[1], expected[1], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("blocks.5.pool.pre_akt", r"no layer 'blocks\.5\.pool\.pre_akt'; similar names: blocks\.5\.pool\.pre_act"),
        ("blocks.5.proj", r"layer blocks\.5\.proj: its output is a tensor \(2, 1, 1, 1, 7\)"),
        ("blocks.5.pool", r"layer blocks\.5\.pool: its output is a tensor \(2, 64, 1, 1, 1\) for w0\.5-s48-t2"),
        ("blocks", r"layer blocks does not run in w0\.5-s48-t2"),
    ],
)
def test_layers_without_maps_are_refused(layer, message):
    model = model_of("x3d")
    with pytest.raises(ValueError, match=message):
        grad_cam(model, SMALL, clips(model, SMALL), layer, lambda _: 0)
    assert torch.is_grad_enabled()
    assert not any(module._forward_hooks for module in model.modules())


def test_a_layer_is_found_by_its_name():
    assert find_layer(model_of("slow"), "blocks.4") is model_of("slow").blocks[4]

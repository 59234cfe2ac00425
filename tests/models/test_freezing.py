from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mutualnet3d.engine.averaged import AveragedWeights
from mutualnet3d.models.freezing import freeze_norms, freeze_stages, stages_of
from mutualnet3d.models.network import OwnNet
from mutualnet3d.mutual import SubnetConfig, mutual_step
from tests.models.families import calibrated, clips, tiny

SUBNET = SubnetConfig(0.6, 48, 3)


def step(model):
    """Add the gradients of a mutual step; return the clips of its networks."""
    model.train().zero_grad()
    chosen = {config: clips(model, config, batch=3) for config in (model.full, SUBNET)}
    mutual_step(model, chosen.__getitem__, torch.tensor([0, 1, 2]), model.full, [SUBNET], subnet_dropout=False)
    return chosen


def statistics_of(part):
    return {name: value.clone() for name, value in part.state_dict().items() if "running" in name or "num_b" in name}


@pytest.mark.parametrize(("family", "number"), [("x3d", 6), ("slow", 6), ("slowfast", 6)])
def test_stages_are_stem_four_stages_and_classifier(family, number):
    stages = stages_of(tiny(family))
    assert len(stages) == number  # ResNets' and SlowFast's pooling has no parameters
    assert any(name.startswith("proj") for name, _ in stages[-1].named_parameters())


def test_stages_of_a_network_of_any_structure_are_its_parts():
    parts = nn.Sequential(nn.Conv3d(3, 4, 1), nn.ReLU(), nn.BatchNorm3d(4), nn.Flatten(), nn.Linear(4, 2))
    assert stages_of(OwnNet(parts)) == [parts[0], parts[2], parts[4]]
    alone = OwnNet(nn.Linear(4, 2))
    assert stages_of(alone) == [alone]


def test_frozen_norms_keep_their_statistics_and_train_scales_and_shifts():
    model = tiny("x3d")
    freeze_norms(model)
    before = statistics_of(model)
    step(model)
    assert all(torch.equal(before[name], value) for name, value in statistics_of(model).items())
    assert all(norm.weight.grad is not None and norm.weight.grad.any() for _, norm in model.norms())
    x = clips(model, model.full)
    with torch.no_grad(), model.dropout.off():
        logits_BK = model(x)
        averaged = AveragedWeights(model, 0.9)
    with torch.no_grad():  # trained as it is tested, and so is the teacher
        torch.testing.assert_close(model.eval()(x), logits_BK, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(averaged.logits(x), logits_BK, rtol=1e-5, atol=1e-6)


def test_sub_networks_of_frozen_norms_train_by_their_batch_and_are_calibrated():
    model, free = tiny("x3d").train(), tiny("x3d").train()
    freeze_norms(model)
    x = clips(model, SUBNET)
    with torch.no_grad():
        with model.active(SUBNET), model.dropout.off():
            logits_BK = model(x)
        with free.active(SUBNET), free.dropout.off():
            assert torch.equal(free(x), logits_BK)
    tracked = statistics_of(model)
    calibrated(model, SUBNET, model.full)
    assert {SUBNET, model.full} == set(model.statistics)
    assert all(torch.equal(tracked[name], value) for name, value in statistics_of(model).items())


def test_frozen_stages_have_no_gradients_and_keep_their_statistics():
    model = tiny("x3d")
    freeze_stages(model, 3)
    stages = stages_of(model)
    before = [statistics_of(stage) for stage in stages]
    step(model)
    for number, (stage, statistics) in enumerate(zip(stages, before, strict=True)):
        is_frozen = number < 3
        assert all((parameter.grad is None) is is_frozen for parameter in stage.parameters())
        same = [torch.equal(statistics[name], value) for name, value in statistics_of(stage).items()]
        assert all(same) if is_frozen else not any(same)


def test_all_but_the_classifier_may_be_frozen():
    model = tiny("x3d")
    freeze_stages(model, 0)
    assert all(parameter.requires_grad for parameter in model.parameters())
    freeze_stages(model, 5)
    step(model)
    with pytest.raises(ValueError, match=r"6 frozen stages; the network has 6, the classifier .* at most 5 can be"):
        freeze_stages(model, 6)


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [freeze_norms, lambda model: freeze_stages(model, 3)])
def test_slowfasts_gradients_with_frozen_parts_are_those_of_separate_passes(freeze):
    """Fast's features are shared by the sub-networks; the full network's are by its own statistics."""
    model = tiny("slowfast").double()
    freeze(model)
    separate = copy.deepcopy(model)
    torch.manual_seed(5)
    chosen = {
        config: [clip.double() for clip in clips(model, config, batch=3)]
        for config in (model.full, SUBNET, SubnetConfig(0.8, 64, 2))
    }
    for config in chosen:  # one clip of Fast's for all
        chosen[config] = [chosen[config][0], chosen[model.full][1]]
    labels = torch.tensor([0, 1, 2])
    full, *subnets = chosen
    model.train()
    with model.dropout.off():
        mutual_step(model, chosen.__getitem__, labels, full, subnets)
    separate.train()
    with separate.dropout.off():
        logits_BK = separate(chosen[full])
    torch.nn.functional.cross_entropy(logits_BK, labels).backward()
    for config in subnets:
        with separate.active(config), separate.dropout.off():
            log_probabilities = separate(chosen[config]).log_softmax(1)
        torch.nn.functional.kl_div(log_probabilities, logits_BK.detach().softmax(1), reduction="batchmean").backward()
    for (name, parameter), other in zip(model.named_parameters(), separate.parameters(), strict=True):
        if other.grad is None:
            assert parameter.grad is None, name
        else:
            torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-6, atol=1e-9, msg=name)

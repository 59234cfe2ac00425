from __future__ import annotations

import pytest
import torch

from mutualnet3d.engine.averaged import AveragedWeights
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.shapes import ClipShape


def make_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3))


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_averages_by_hand():
    model = make_model()
    start = weights(model)
    averaged = AveragedWeights(model, decay=0.15)
    expected = start.clone()
    for count, decay in ((0, 1 / 10), (1, 0.15), (2, 0.15)):  # (1 + n) / (10 + n), at most the decay
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 1.0
            model[1].num_batches_tracked += 1
        averaged.update()
        expected = decay * expected + (1 - decay) * (start + count + 1)
    torch.testing.assert_close(weights(averaged.model), expected)
    assert averaged.model[1].num_batches_tracked == 3
    assert not any(parameter.requires_grad for parameter in averaged.model.parameters())


def test_a_resumed_average_goes_on():
    model = make_model()
    averaged = AveragedWeights(model, decay=0.15)
    averaged.update()
    resumed = AveragedWeights(make_model(), decay=0.15)
    resumed.load_state_dict(averaged.state_dict())
    assert resumed.num_steps == 1
    assert torch.equal(weights(resumed.model), weights(averaged.model))


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decays_that_cannot_be(decay):
    with pytest.raises(ValueError, match=rf"must be in \[0, 1\), got {decay}"):
        AveragedWeights(make_model(), decay)


def test_the_teachers_logits_are_without_dropout_and_track_nothing():
    model = build_x3d(
        full_clip=ClipShape(4, 32), num_classes=5, width_factor=1.0, depth_factor=0.3, dim_c5=32, dropout_rate=0.5
    )
    averaged = AveragedWeights(model, decay=0.9)
    before = {name: value.clone() for name, value in averaged.model.state_dict().items()}
    clips = [torch.randn(2, 3, 4, 32, 32)]
    logits_BK = averaged.logits(clips)
    assert logits_BK.shape == (2, 5)
    assert not logits_BK.requires_grad
    assert torch.equal(logits_BK, averaged.logits(clips))
    assert all(torch.equal(value, before[name]) for name, value in averaged.model.state_dict().items())
    averaged.model.eval()
    with torch.no_grad():
        assert not torch.allclose(averaged.model(clips), logits_BK, atol=1e-3)  # by tracked statistics

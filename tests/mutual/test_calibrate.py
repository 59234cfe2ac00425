from __future__ import annotations

import pytest
import torch
from torch import nn

from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.mutual import calibrate
from mutualnet3d.ops import round_channels
from mutualnet3d.shapes import ClipBatch, ClipShape, SubnetConfig

SUBNET = SubnetConfig(0.5, 32, 2)


@pytest.fixture
def model():
    return build_x3d(native=ClipShape(4, 32), num_classes=5, width_factor=1.0, depth_factor=0.3, dim_c5=32)


def batches_of(clip: torch.Tensor, sizes: list[int]) -> list[tuple[ClipBatch, torch.Tensor]]:
    return [
        ClipBatch({SUBNET.clip_shape: part}, torch.zeros(len(part)), torch.zeros(len(part)))
        for part in clip.split(sizes)
    ]


def prepare(batch: ClipBatch, config: SubnetConfig) -> list[torch.Tensor]:
    return [batch.clips[config.clip_shape]]


def test_statistics_are_those_of_the_batches_the_subnet_saw(model):
    """The first batch norms see what does not depend on the split: they equal one norm over all clips joined. All
    others equal the pooled statistics of what the same layers got, batch by batch."""
    clip = torch.randn(7, 3, 2, 32, 32)
    seen: dict[str, list[torch.Tensor]] = {}
    hooks = [
        norm.register_forward_pre_hook(lambda layer, args, name=name: seen.setdefault(name, []).append(args[0]))
        for name, norm in model.norms()
    ]
    used = calibrate(model, [SUBNET], batches_of(clip, [4, 3]), prepare)
    for hook in hooks:
        hook.remove()
    assert used == 7
    for name, norm in model.norms():
        joined = nn.BatchNorm3d(seen[name][0].shape[1], momentum=1.0)
        joined(torch.cat(seen[name]))
        mean, variance = model.statistics[SUBNET][name]
        assert len(mean) == round_channels(0.5, norm.num_features)
        torch.testing.assert_close(mean, joined.running_mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(variance, joined.running_var, rtol=1e-5, atol=1e-6)


def test_one_batch_makes_evaluation_equal_training(model):
    """Statistics of one batch normalise that batch as its own do, but for the variance's correction n / (n - 1)."""
    clip = torch.randn(6, 3, 2, 32, 32)
    (batch,) = batches_of(clip, [6])
    calibrate(model, [SUBNET], [batch], prepare)
    model.blocks[-1].dropout.p = 0.0
    with torch.no_grad(), model.active(SUBNET):
        in_training, in_evaluation = model.train()([clip]), model.eval()([clip])
    torch.testing.assert_close(in_evaluation, in_training, rtol=0.05, atol=0.05)


def test_the_order_of_configs_and_of_batches_does_not_matter(model):
    other = SubnetConfig(0.8, 32, 2)
    first, second = batches_of(torch.randn(8, 3, 2, 32, 32), [4, 4])
    calibrate(model, [SUBNET, other], [first, second], prepare)
    before = model.statistics[SUBNET]
    calibrate(model, [other, SUBNET], [second, first], prepare)
    for name, (mean, variance) in model.statistics[SUBNET].items():
        torch.testing.assert_close(mean, before[name][0])
        torch.testing.assert_close(variance, before[name][1])


def test_mode_and_weights_stay(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for training in (True, False):
        model.train(training)
        calibrate(model, [SUBNET], batches_of(torch.randn(4, 3, 2, 32, 32), [4]), prepare)
        assert model.training is training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_no_batch_is_refused(model):
    with pytest.raises(ValueError, match="calibration got no batch"):
        calibrate(model, [SUBNET], [], prepare)

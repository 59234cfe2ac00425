from __future__ import annotations

from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import nn

from mutualnet3d import distributed
from mutualnet3d.models.statistics import SubnetStatistics
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.mutual import calibrate
from mutualnet3d.ops import BatchStatistics, SlimBatchNorm3d, SlimConv3d, round_channels
from mutualnet3d.shapes import ClipBatch, ClipShape, SubnetConfig
from tests.gloo import in_processes

SUBNET = SubnetConfig(0.5, 32, 2)


@pytest.fixture
def model():
    return build_x3d(full_clip=ClipShape(4, 32), num_classes=5, width_factor=1.0, depth_factor=0.3, dim_c5=32)


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


class OneNorm(nn.Module):
    """A convolution and a batch norm after it, as the networks have them; the norm's input depends on no other norm."""

    def __init__(self, groups: int):
        super().__init__()
        self.conv = SlimConv3d.from_conv(nn.Conv3d(16, 16, 3, padding=1, groups=groups, bias=False))
        self.norm = SlimBatchNorm3d.from_norm(nn.BatchNorm3d(16))
        self.statistics = SubnetStatistics({"norm": self.norm})

    def norms(self):
        return iter([("norm", self.norm)])

    @contextmanager
    def active(self, config):
        self.conv.out_width = round_channels(config.width, 16)
        yield

    def shared_fast_features(self):
        return nullcontext()

    @contextmanager
    def collecting(self, batch_statistics):
        self.norm.batch_statistics = batch_statistics.setdefault("norm", BatchStatistics())
        yield
        self.norm.batch_statistics = None

    def forward(self, clips):
        return self.norm(self.conv(clips[0]))


def one_norm(groups: int) -> tuple[OneNorm, torch.Tensor]:
    """The layers, and ten clips of their sub-network's channels: some 100 around a mean of 30."""
    torch.manual_seed(0)
    channels = 8 if groups > 1 else 16  # what a narrow depthwise layer reads, it gives
    clip = 30 + 100 * torch.randn(10, channels, 2, 9, 9)
    return OneNorm(groups), clip.contiguous(memory_format=torch.channels_last_3d)


BATCHES = (4, 1, 3, 2)  # of unequal size: each counts by its clips


def shard_of_one_norm() -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """Statistics by the number of groups, of this process's shard of the batches."""
    statistics = {}
    for groups in (1, 16):
        model, clip = one_norm(groups)
        batches = batches_of(clip, list(BATCHES))[distributed.rank() :: distributed.world_size()]
        assert calibrate(model, [SUBNET], batches, prepare, distributed.sum_over_ranks) == 10
        statistics[groups] = model.statistics[SUBNET]["norm"]
    return statistics


def joined_batch_norm(groups: int) -> nn.BatchNorm3d:
    """torch's own batch norm, in float64, over all clips as one batch."""
    model, clip = one_norm(groups)
    with torch.no_grad(), model.active(SUBNET):
        values = model.conv(clip).double()
    joined = nn.BatchNorm3d(8, momentum=1.0, dtype=torch.float64)
    joined(values)
    return joined


@pytest.mark.parametrize("world_size", [1, 2])
def test_statistics_are_those_of_all_clips_joined(world_size):
    """Dense and depthwise, in one process and in two; relative to the spread, which is what a norm divides by."""
    results = (
        [shard_of_one_norm()] if world_size == 1 else in_processes("tests.mutual.test_calibrate", "shard_of_one_norm")
    )
    for statistics in results:
        for groups, (mean, variance) in statistics.items():
            joined = joined_batch_norm(groups)
            spread = joined.running_var.sqrt()
            torch.testing.assert_close(
                mean / spread, joined.running_mean / spread, rtol=1e-5, atol=1e-5, check_dtype=False
            )
            torch.testing.assert_close(variance, joined.running_var, rtol=1e-5, atol=0, check_dtype=False)


def test_large_means_do_not_spoil_the_variance():
    """torch's batch norm adds up channels_last values in float32, and gives a variance of some 8 here."""
    model, _ = one_norm(1)
    values = (1000 + torch.randn(4, 8, 16, 80, 80)).contiguous(memory_format=torch.channels_last_3d)
    batch_statistics: dict[str, BatchStatistics] = {}
    with torch.no_grad(), model.collecting(batch_statistics):
        model.norm(values)
    _, variance = batch_statistics["norm"].statistics()
    torch.testing.assert_close(variance, torch.ones(8), rtol=0.01, atol=0)

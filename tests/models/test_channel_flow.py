from __future__ import annotations

import pytest
from torch import nn

from mutualnet3d.models.channel_flow import ChannelConflict, ChannelFlow, Channels, is_depthwise, unite
from mutualnet3d.ops import WidthRule


def test_runs_that_are_the_same_have_one_rule():
    first, second, third = Channels(64), Channels(64), Channels(64)
    first.unite(second)
    second.unite(third)
    assert first.root() is third.root()
    second.fix()
    assert third.is_fixed
    assert third.rule() == WidthRule(64, slims=False)
    # Fixed before they meet, too.
    other = Channels(64, is_fixed=True)
    free = Channels(64)
    free.unite(other)
    assert free.is_fixed


def test_a_run_that_follows_another():
    leader = Channels(24)
    follower = Channels(48, leader=leader)
    leader.keep_multiple(6)  # groups of 6 channels
    assert [leader.rule().at(width) for width in (1.0, 0.99, 0.4)] == [24, 24, 24]
    wide = Channels(96)
    wide.keep_multiple(6)
    after = Channels(192, leader=Channels(48, leader=wide))
    assert [wide.rule().at(width) for width in (1.0, 0.7, 0.25)] == [96, 72, 24]
    assert [after.rule().at(width) for width in (1.0, 0.7, 0.25)] == [192, 144, 48]
    # What meets a follower follows the same run.
    plain = Channels(48)
    plain.unite(follower)
    assert plain.leader is leader
    assert plain.rule() == follower.rule()
    plain.fix()
    assert leader.is_fixed
    # A residual around a grouped convolution: the follower is its leader.
    block = Channels(64)
    grouped = Channels(64, leader=block)
    block.unite(grouped)
    assert grouped.root() is block
    assert grouped.leader is None
    # And around two of them.
    start = Channels(64)
    middle = Channels(128, leader=start)
    end = Channels(64, leader=middle)
    assert end.leader is start
    end.unite(start)
    assert end.root() is start
    assert middle.rule() == WidthRule(128, base=64)


def test_runs_that_cannot_be_the_same():
    with pytest.raises(ChannelConflict, match="8 and 16 channels meet"):
        Channels(8).unite(Channels(16))
    with pytest.raises(ChannelConflict, match=r"8\+8 and 16 channels meet"):
        unite([(Channels(8), Channels(8)), (Channels(16),)])
    with pytest.raises(ChannelConflict, match="groups of 3 channels, of 24 that follow 48"):
        Channels(24, leader=Channels(48)).keep_multiple(3)


def test_makers_of_a_run_are_the_layers_that_give_it():
    made, read = Channels(8), Channels(3, is_fixed=True)
    flow = ChannelFlow(
        reads={"conv": (read,), "norm": (made,), "fc": (made,)},
        gives={"conv": (made,), "fc": (Channels(2, is_fixed=True),)},
    )
    flow.gives["norm"] = flow.reads["norm"]  # a norm makes nothing
    flow.logits = flow.gives["fc"]
    assert flow.makers(made) == ["conv"]
    assert flow.classifiers() == ["fc"]
    assert flow.in_parts("conv") == (3,)
    assert flow.in_rules("fc") == (WidthRule(8),)


def test_depthwise_is_a_group_for_every_channel():
    assert is_depthwise(nn.Conv3d(8, 8, 3, groups=8))
    assert not is_depthwise(nn.Conv3d(8, 16, 3, groups=8))
    assert not is_depthwise(nn.Conv3d(8, 8, 3))
    assert not is_depthwise(nn.Conv3d(1, 1, 3))
    assert not is_depthwise(nn.BatchNorm3d(8))

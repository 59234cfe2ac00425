from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mutualnet3d.data.batch_sampler import TrainBatchSampler
from mutualnet3d.data.class_balance import BalancedOrder, class_weights
from mutualnet3d.shapes import ClipShape, Shard

LABELS = np.array([2, 0, 0, 5, 0, 2, 0, 0, 0, 0])  # 7 videos of class 0, 2 of class 2, 1 of class 5


def test_weights_are_balanced_and_have_the_mean_1():
    weights_K = class_weights(LABELS, num_classes=7)
    assert weights_K.tolist() == pytest.approx([10 / 21, 0, 10 / 6, 0, 0, 10 / 3, 0])
    assert weights_K[LABELS].mean() == pytest.approx(1.0)
    assert class_weights(np.array([0, 1, 1, 0]), 2).tolist() == [1.0, 1.0]


def test_classes_come_equally_often_and_their_videos_in_turn():
    order = BalancedOrder(LABELS, seed=3)
    stream = [order.at(position) for position in range(3 * 14)]
    assert order.num_videos == 10
    for start in range(0, len(stream), 3):
        assert sorted(LABELS[[video for _, video in stream[start : start + 3]]]) == [0, 2, 5]
    assert len(set(stream)) == len(stream)  # no clip comes twice with the same random choices
    counts = Counter(video for _, video in stream)
    assert {int(LABELS[video]): count for video, count in counts.items()} == {0: 2, 2: 7, 5: 14}
    assert all(counts[video] == 2 for video in np.flatnonzero(LABELS == 0))
    assert [order.at(position) for position in (40, 3, 17)] == [stream[40], stream[3], stream[17]]
    assert [BalancedOrder(LABELS, seed=4).at(position) for position in range(42)] != stream


def test_processes_share_the_stream_bad_videos_are_replaced_and_a_resumed_run_goes_on():
    order, shapes = BalancedOrder(LABELS, seed=3), (ClipShape(2, 8),)

    def sampler(rank=0, world_size=1, **settings):
        return TrainBatchSampler(
            order, 6 // world_size, lambda step: shapes, num_steps=9, shard=Shard(rank, world_size), **settings
        )

    def clips(sampler, num_steps):
        steps = iter(sampler)
        return [[(request.epoch, request.index) for request in next(steps)] for _ in range(num_steps)]

    whole = clips(sampler(), 4)
    halves = [clips(sampler(rank, 2), 4) for rank in range(2)]
    assert [first + second for first, second in zip(*halves, strict=True)] == whole
    assert clips(sampler(start_step=2, start_position=12), 2) == whole[2:]
    bad = int(np.flatnonzero(LABELS == 5)[0])  # the only one of its class
    without = clips(sampler(bad_since={bad: -1}), 4)
    assert all(index != bad for step in without for _, index in step)
    assert Counter(LABELS[index] for step in without for _, index in step) == {0: 12, 2: 12}

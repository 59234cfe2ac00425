from __future__ import annotations

import pytest

from mutualnet3d.data.clip_order import ClipOrder, OrderShard
from mutualnet3d.shapes import Shard


def test_the_stream_is_one_order_of_all_videos_after_the_other():
    order = ClipOrder(10, seed=0)
    stream = [order.at(position) for position in range(30)]
    assert [epoch for epoch, _ in stream] == [0] * 10 + [1] * 10 + [2] * 10
    orders = [[index for _, index in stream[start : start + 10]] for start in (0, 10, 20)]
    assert all(sorted(videos) == list(range(10)) for videos in orders)
    assert orders[0] != orders[1] != orders[2]
    assert [order.at(position) for position in (3, 25, 14)] == [stream[3], stream[25], stream[14]]
    assert [ClipOrder(10, seed=1).at(position) for position in range(10)] != stream[:10]


def test_shards_take_turns_by_batches():
    shards = [OrderShard(ClipOrder(12, 0), 2, Shard(rank, 2)) for rank in range(2)]
    assert [shards[0].position_in_order(position) for position in range(4)] == [0, 1, 4, 5]
    assert [shards[1].position_in_order(position) for position in range(4)] == [2, 3, 6, 7]
    assert [shards[1].at(position) for position in range(4)] == [ClipOrder(12, 0).at(place) for place in (2, 3, 6, 7)]
    assert shards[1].num_videos == 12


def test_a_shard_that_is_none():
    with pytest.raises(ValueError, match="rank must be in 0 to 1, got 2"):
        Shard(2, 2)

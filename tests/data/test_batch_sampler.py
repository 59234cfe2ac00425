from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutualnet3d.data.batch_sampler import (
    AllVideosBad,
    CalibrationBatchSampler,
    TestBatchSampler,
    TrainBatchSampler,
)
from mutualnet3d.data.clip_order import ClipOrder
from mutualnet3d.shapes import ClipShape, Shard

SHAPE = ClipShape(4, 32)


def shapes_at(step):
    return (SHAPE, ClipShape(2, 16 + step))


def train_sampler(num_steps, num_videos=10, batch_size=3, seed=0, **start):
    return TrainBatchSampler(ClipOrder(num_videos, seed), batch_size, shapes_at, num_steps=num_steps, **start)


def batches_of(sampler):
    """Return all lists up to the first empty one, if nothing is ever reported."""
    return list(itertools.takewhile(bool, sampler))


def test_steps_take_the_stream_as_it_comes_also_across_epochs():
    batches = batches_of(train_sampler(6))
    assert [[request.position for request in batch] for batch in batches] == [
        list(range(3 * step, 3 * step + 3)) for step in range(6)
    ]
    order = ClipOrder(10, 0)
    assert all((r.epoch, r.index) == order.at(r.position) for batch in batches for r in batch)


def test_requests_say_their_step_and_its_shapes():
    for step, batch in enumerate(batches_of(train_sampler(5))):
        assert {(request.step, request.shapes) for request in batch} == {(step, shapes_at(step))}


@pytest.mark.parametrize("start", [0, 1, 3, 4, 5, 8])
def test_a_resumed_run_gets_the_batches_that_would_have_come(start):
    resumed = train_sampler(9, start_step=start, start_position=3 * start)
    assert batches_of(resumed) == batches_of(train_sampler(9))[start:]


def test_seeds_differ():
    assert batches_of(train_sampler(3, seed=0)) != batches_of(train_sampler(3, seed=1))


def run(sampler, fails, in_flight):
    """Play the workers: `in_flight` lists are handed out before the first is answered. Return the steps' clips."""
    lists, waiting, loaded, steps = iter(sampler), [], {}, []
    total = sampler.num_steps - sampler.next_step
    while len(steps) < total:
        while len(waiting) < in_flight:
            waiting.append(next(lists))
        for request in waiting.pop(0):
            if fails(request.index, request.position):
                sampler.report_bad(request)
            else:
                loaded[request.step, request.position] = request
        while (current := sampler.current_step()) and all((current[0], place) in loaded for place in current[1]):
            steps.append([loaded[current[0], place] for place in current[1]])
            sampler.finish_step()
    return steps


def one_by_one(num_videos, batch_size, num_steps, fails, seed=0):
    """Positions of the steps if one worker makes one clip after the other and never tries a bad video again."""
    order, bad, position, steps = ClipOrder(num_videos, seed), set(), 0, []
    for _ in range(num_steps):
        step = []
        while len(step) < batch_size:
            _, index = order.at(position)
            if index not in bad:
                if fails(index, position):
                    bad.add(index)
                else:
                    step.append(position)
            position += 1
        steps.append(step)
    return steps


@given(
    bad=st.sets(st.integers(0, 9), max_size=8),
    later=st.dictionaries(st.integers(0, 9), st.integers(0, 40), max_size=3),
    batch_size=st.integers(1, 6),
    in_flight=st.integers(1, 9),
    seed=st.integers(0, 3),
)
def test_what_steps_get_does_not_depend_on_how_far_workers_run_ahead(bad, later, batch_size, in_flight, seed):
    """Some videos never decode, some not after a position of the stream."""

    def fails(index, position):
        return index in bad or (index in later and position >= later[index])

    if len(bad | later.keys()) == 10:
        return
    sampler = train_sampler(7, batch_size=batch_size, seed=seed)
    steps = run(sampler, fails, in_flight)
    assert [[request.position for request in step] for step in steps] == one_by_one(10, batch_size, 7, fails, seed)
    for number, step in enumerate(steps):
        assert all(request.shapes == shapes_at(number) for request in step)


def test_each_good_video_is_seen_once_in_an_order_with_bad_ones():
    bad = {0, 3, 7, 8}
    steps = run(train_sampler(8, num_videos=20, batch_size=4), lambda index, position: index in bad, in_flight=4)
    for epoch in (0, 1):
        seen = [request.index for step in steps for request in step if request.epoch == epoch]
        assert sorted(seen) == sorted(set(range(20)) - bad)
    assert all(len(step) == 4 for step in steps)


def test_a_bad_video_is_reported_once_and_not_asked_for_again():
    sampler = train_sampler(40)
    reports = []
    lists = iter(sampler)
    for _ in range(40):
        for request in next(lists):
            if request.index == 4:
                reports.append(sampler.report_bad(request))
    assert reports == [True]
    assert sampler.bad_since.keys() == {4}


def test_what_is_known_when_a_run_goes_on_is_left_out():
    sampler = train_sampler(4, bad_since={4: 0, 5: 17})
    positions = [request.position for batch in batches_of(sampler) for request in batch if request.index in (4, 5)]
    order = ClipOrder(10, 0)
    assert all(order.at(position)[1] == 5 and position < 17 for position in positions)
    assert positions


def test_nothing_to_do_is_an_empty_list():
    lists = iter(train_sampler(2))
    assert [len(next(lists)) for _ in range(4)] == [3, 3, 0, 0]


def test_no_video_left_is_an_error():
    sampler = train_sampler(5, num_videos=3, batch_size=2)
    first = next(iter(sampler)) + next(iter(sampler))
    of_video = {request.index: request for request in first}
    assert len(of_video) == 3
    sampler.report_bad(of_video[0])
    sampler.report_bad(of_video[1])
    with pytest.raises(AllVideosBad, match="none of 3 videos can be decoded"):
        sampler.report_bad(of_video[2])


def test_testing_takes_every_view_once():
    batches = list(TestBatchSampler(num_videos=3, num_views=5, batch_size=4, shapes=[SHAPE]))
    assert [len(batch) for batch in batches] == [4, 4, 4, 3]
    assert len(TestBatchSampler(3, 5, 4, [SHAPE])) == 4
    assert [(r.index, r.view) for batch in batches for r in batch] == [(v, k) for v in range(3) for k in range(5)]


@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_the_shards_of_a_step_are_the_step_of_one_process(world_size):
    """In rank order, row by row; and so from any step on."""
    whole = [[(r.epoch, r.index) for r in batch] for batch in batches_of(train_sampler(7, num_videos=10, batch_size=6))]
    for start in (0, 4):
        shards = [
            batches_of(
                train_sampler(
                    7,
                    num_videos=10,
                    batch_size=6 // world_size,
                    shard=Shard(rank, world_size),
                    start_step=start,
                    start_position=start * 6 // world_size,
                )
            )
            for rank in range(world_size)
        ]
        joined = [[(r.epoch, r.index) for part in parts for r in part] for parts in zip(*shards, strict=True)]
        assert joined == whole[start:]


def test_a_bad_video_moves_the_shard_that_met_it_alone():
    def batches(rank, bad=()):
        sampler = train_sampler(6, num_videos=12, batch_size=2, shard=Shard(rank, 2))
        lists, steps = iter(sampler), []
        for _ in range(6):
            step = next(lists)
            while any(request.index in bad for request in step):
                for request in [request for request in step if request.index in bad]:
                    sampler.report_bad(request)
                step = [request for request in step if request.index not in bad] + next(lists)
            steps.append([request.index for request in step])
            sampler.finish_step()
        return steps, sampler

    without_bad = [batches(rank)[0] for rank in range(2)]
    (bad,) = set(without_bad[0][0]) - set(without_bad[0][1]) - {without_bad[0][0][1]}
    moved, sampler = batches(0, {bad})
    assert moved[0] == [without_bad[0][0][1], without_bad[0][1][0]]
    assert sampler.bad_before(1) == {bad: 0}
    assert sampler.bad_before(0) == {}


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_testing_in_shards_takes_every_view_once(world_size):
    views = []
    for rank in range(world_size):
        sampler = TestBatchSampler(
            num_videos=4, num_views=3, batch_size=2, shapes=[SHAPE], shard=Shard(rank, world_size)
        )
        assert len(list(sampler)) == len(sampler)
        views += [(r.index, r.view) for batch in sampler for r in batch]
    assert sorted(views) == [(video, view) for video in range(4) for view in range(3)]


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_batches_of_calibration_are_the_same_for_any_number_of_processes(world_size):
    order = ClipOrder(10, seed=3)
    batches = {}
    for rank in range(world_size):
        sampler = CalibrationBatchSampler(
            order, batch_size=4, num_batches=5, shapes=[SHAPE], shard=Shard(rank, world_size)
        )
        dealt = [[(r.epoch, r.index) for r in batch] for batch in sampler]
        assert len(dealt) == len(sampler)
        batches |= {rank + world_size * place: batch for place, batch in enumerate(dealt)}
    assert [batches[number] for number in range(5)] == [
        [order.at(place) for place in range(4 * number, 4 * number + 4)] for number in range(5)
    ]

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from mutualnet3d.data.annotations import read_kinetics_list
from mutualnet3d.data.dataset import RandomClips, UniformClips, VideoDataset, collate
from mutualnet3d.data.requests import TestRequests, TrainRequests
from mutualnet3d.shapes import ClipShape

SHAPE = ClipShape(4, 32)


def shapes_at(step):
    return (SHAPE, ClipShape(2, 16 + step))


def requests(num_steps, start_step=0, num_videos=10, batch_size=3, seed=0):
    made = TrainRequests(num_videos, batch_size, shapes_at, seed)
    made.num_steps, made.start_step = num_steps, start_step
    return made


def test_an_epoch_has_every_video_at_most_once_in_a_new_order():
    batches = list(requests(6))
    assert requests(6).steps_per_epoch == 3
    assert len(batches) == len(requests(6)) == 6
    epochs = [[request.index for batch in batches[3 * epoch : 3 * epoch + 3] for request in batch] for epoch in (0, 1)]
    assert all(len(set(epoch)) == 9 for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert [request.epoch for batch in batches for request in batch] == [0] * 9 + [1] * 9


def test_requests_say_the_shapes_of_their_step():
    for step, batch in enumerate(requests(5)):
        assert {request.shapes for request in batch} == {shapes_at(step)}


@pytest.mark.parametrize("start", [0, 1, 3, 4, 5, 9])
def test_a_resumed_run_gets_the_batches_that_would_have_come(start):
    assert list(requests(9, start_step=start)) == list(requests(9))[start:]


def test_seeds_differ():
    assert list(requests(3, seed=0)) != list(requests(3, seed=1))


def test_a_list_shorter_than_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"TRAIN\.BATCH_SIZE is 16, but the training list has only 10 videos"):
        TrainRequests(10, 16, shapes_at, 0)


def test_testing_takes_every_view_once():
    batches = list(TestRequests(num_videos=3, num_views=5, batch_size=4, shapes=[SHAPE]))
    assert [len(batch) for batch in batches] == [4, 4, 4, 3]
    assert len(TestRequests(3, 5, 4, [SHAPE])) == 4
    assert [(r.index, r.view) for batch in batches for r in batch] == [(v, k) for v in range(3) for k in range(5)]


def clips_of(tiny_data, num_workers, sampler, batch_sampler):
    videos = read_kinetics_list(str(tiny_data / "train.csv"), 2)
    dataset = VideoDataset(videos, sampler, num_frames=4, sampling_rate=2, target_fps=24)
    return list(DataLoader(dataset, batch_sampler=batch_sampler, num_workers=num_workers, collate_fn=collate))


def test_workers_make_the_same_clips(tiny_data):
    sampler = RandomClips((32, 40), 32, flip=True)
    made = [clips_of(tiny_data, workers, sampler, requests(5, num_videos=16, batch_size=4)) for workers in (0, 2)]
    for alone, shared in zip(*made, strict=True):
        assert alone.video_B.tolist() == shared.video_B.tolist()
        assert all(torch.equal(clip, shared.clips[shape]) for shape, clip in alone.clips.items())


def test_views_differ_and_repeat(tiny_data):
    sampler = UniformClips(scale=40, crop_size=32, num_spans=2, num_crops=3)
    assert sampler.num_views == 6
    first, second = (clips_of(tiny_data, 0, sampler, TestRequests(2, 6, 6, [SHAPE])) for _ in range(2))
    assert torch.equal(first[0].clips[SHAPE], second[0].clips[SHAPE])
    views = first[0].clips[SHAPE]
    assert first[0].video_B.tolist() == [0] * 6
    assert all(not torch.equal(views[i], views[j]) for i in range(6) for j in range(i))

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from mutualnet3d.data import loader as loader_module
from mutualnet3d.data.augment import Augment
from mutualnet3d.data.batch_sampler import AllVideosBad, TestBatchSampler, TrainBatchSampler
from mutualnet3d.data.clip_order import ClipOrder
from mutualnet3d.data.clip_samplers import ClipSpan, RandomCrops, RandomSpans, UniformCrops, UniformSpans
from mutualnet3d.data.dataset import Loaded, VideoDataset
from mutualnet3d.data.lists import Video, read_kinetics_list
from mutualnet3d.data.loader import TestLoader, TrainLoader
from mutualnet3d.data.workers import Workers
from mutualnet3d.shapes import ClipShape

FULL = ClipShape(4, 32)
BAD = (1, 6, 9)


def shapes_at(step):
    return (FULL, ClipShape(2, (16, 24)[step % 2]))


@pytest.fixture(scope="module")
def mixed_videos(tiny_data, tmp_path_factory):
    """16 videos, of which 3 are broken in different ways."""
    videos = list(read_kinetics_list(str(tiny_data / "train.csv"), 2))
    folder = tmp_path_factory.mktemp("broken")
    contents = (b"", b"no video", Path(videos[0].path).read_bytes()[:200])
    for index, content in zip(BAD, contents, strict=True):
        path = folder / f"{index}.mp4"
        path.write_bytes(content)
        videos[index] = Video(str(path), videos[index].label, f"list:{index + 1}")
    return videos


def dataset_of(videos, seed=0):
    return VideoDataset(
        videos,
        RandomSpans(ClipSpan(4, 2, 24.0)),
        RandomCrops((32, 40), 32, flip=True),
        augment=Augment(erase_probability=0.5),
        seed=seed,
    )


def load(videos, num_steps, workers, reports=None, batch_size=4, **start):
    batch_sampler = TrainBatchSampler(ClipOrder(len(videos), 0), batch_size, shapes_at, num_steps=num_steps, **start)
    loader = TrainLoader(
        dataset_of(videos), batch_sampler, Workers(workers), (reports if reports is not None else []).append
    )
    return list(loader)


def same(batch, other):
    return (
        batch.next_position == other.next_position
        and batch.video_B.tolist() == other.video_B.tolist()
        and batch.label_B.tolist() == other.label_B.tolist()
        and batch.clips.keys() == other.clips.keys()
        and all(torch.equal(clip, other.clips[shape]) for shape, clip in batch.clips.items())
    )


def test_an_epoch_with_bad_videos_shows_each_good_one_once(mixed_videos):
    reports = []
    batches = load(mixed_videos, 7, 0, reports)
    assert [len(batch) for batch in batches] == [4] * 7
    seen = torch.cat([batch.video_B for batch in batches]).tolist()
    good = sorted(set(range(16)) - set(BAD))
    assert sorted(seen[:13]) == sorted(seen[13:26]) == good
    assert sorted(report.request.index for report in reports) == list(BAD)
    labels = torch.cat([batch.label_B for batch in batches]).tolist()
    assert labels == [mixed_videos[index].label for index in seen]


@pytest.mark.parametrize("workers", [2, 4])
def test_the_number_of_workers_changes_nothing(mixed_videos, workers):
    alone, shared = load(mixed_videos, 7, 0), load(mixed_videos, 7, workers)
    assert all(same(batch, other) for batch, other in zip(alone, shared, strict=True))


@pytest.mark.parametrize("start", [1, 3, 5])
def test_a_resumed_run_gets_the_same_batches(mixed_videos, start):
    whole = load(mixed_videos, 7, 0)
    order = ClipOrder(16, 0)
    position = whole[start - 1].next_position
    met = {order.at(place)[1]: place for place in range(position - 1, -1, -1) if order.at(place)[1] in BAD}
    for bad_since in ({}, met):
        rest = load(mixed_videos, 7, 0, start_step=start, start_position=position, bad_since=dict(bad_since))
        assert all(same(batch, other) for batch, other in zip(whole[start:], rest, strict=True))


@pytest.mark.parametrize("kind", [TrainLoader, TestLoader])
def test_damaged_clips_are_reported_by_their_videos(mixed_videos, kind):
    dataset = dataset_of(mixed_videos)
    batch_sampler = TrainBatchSampler(ClipOrder(16, 0), 4, shapes_at, num_steps=1)
    loaded = Loaded(None, [], [], damaged=[7, 2])

    class Loads(Workers):
        def load(self, dataset, batch_sampler):
            yield loaded
            raise StopAsyncIteration

    damaged = []
    loader = kind(dataset, batch_sampler, Loads(0), [].append, damaged.append)
    with pytest.raises(StopAsyncIteration):
        list(loader)
    assert damaged == [7, 2]


def test_joined_batches_have_the_layout_of_others(mixed_videos):
    batches = load(mixed_videos, 7, 0)
    assert {tuple(batch.clips[FULL].stride()) for batch in batches} == {(12288, 3072, 1, 96, 3)}


def test_a_loader_without_steps_is_empty(mixed_videos):
    assert load(mixed_videos, 3, 0, start_step=3) == []


def test_testing_leaves_bad_videos_out_and_lists_them(mixed_videos):
    frames, crops = UniformSpans(ClipSpan(4, 2, 24.0), 2), UniformCrops(40, 32, 1)
    reports = []
    loader = TestLoader(
        VideoDataset(mixed_videos, frames, crops), TestBatchSampler(16, 2, 2, [FULL]), Workers(0), reports.append
    )
    assert len(loader) == 16
    seen = torch.cat([batch.video_B for batch in loader]).tolist()
    assert seen == [index for index in range(16) if index not in BAD for _ in range(2)]
    assert loader.failed == set(BAD)
    assert len(reports) == 6  # every view; who is told keeps them apart


class Deadly(VideoDataset):
    def __getitem__(self, request):
        assert multiprocessing.parent_process() is not None
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_that_dies_is_an_error_that_says_what_to_do(mixed_videos):
    dataset = Deadly(mixed_videos, RandomSpans(ClipSpan(4, 2, 24.0)), RandomCrops((32, 40), 32, flip=True))
    batch_sampler = TrainBatchSampler(ClipOrder(16, 0), 4, shapes_at, num_steps=2)
    with pytest.raises(
        RuntimeError, match=r"(?s)DataLoader worker.*a video crashed the decoder; `mutualnet3d check-videos` finds"
    ):
        list(TrainLoader(dataset, batch_sampler, Workers(1), print))


@pytest.mark.parametrize("is_training", [True, False])
def test_a_start_of_bad_videos_alone_ends_the_loading(mixed_videos, monkeypatch, is_training):
    monkeypatch.setattr(loader_module, "_BAD_START", 3)
    videos = [mixed_videos[BAD[0]]] * 16
    reports = []
    if is_training:
        loads = lambda: load(videos, 2, 0, reports)  # noqa: E731
    else:
        dataset = VideoDataset(videos, UniformSpans(ClipSpan(4, 2, 24.0), 1), UniformCrops(40, 32, 1))
        loads = lambda: list(  # noqa: E731
            TestLoader(dataset, TestBatchSampler(16, 1, 2, [FULL]), Workers(0), reports.append)
        )
    with pytest.raises(AllVideosBad, match=r"none of the first 4 videos can be decoded; the last: .*"):
        loads()
    assert len(reports) == 4


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_test_that_goes_on_has_the_batches_that_are_left(mixed_videos, workers):
    """A batch for each of three videos; that of the second one, which is broken, is empty, and done all the same."""
    dataset = VideoDataset(mixed_videos[:3], UniformSpans(ClipSpan(4, 2, 24.0), 2), UniformCrops(40, 32, 1))
    for start, videos, done in ((0, [0, 2], [1, 3]), (1, [2], [3]), (2, [2], [3]), (3, [], [])):
        sampler = TestBatchSampler(3, 2, 2, [FULL], start_batch=start)
        loader = TestLoader(dataset, sampler, Workers(workers), lambda failure: None)
        assert len(loader) == 3 - start
        assert [(batch.video_B[0].item(), loader.num_done) for batch in loader] == list(zip(videos, done, strict=True))

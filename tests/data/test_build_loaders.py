from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.data.augment import Augment
from mutualnet3d.data.bad_videos import BadVideoFile
from mutualnet3d.data.build_loaders import (
    batch_size_of,
    build_calibration_loader,
    build_class_weights,
    build_mixup,
    build_preprocessing,
    build_test_loader,
    build_train_loader,
    build_val_loader,
)
from mutualnet3d.data.build_split import read_split
from mutualnet3d.data.clip_order import ClipOrder
from mutualnet3d.data.clip_samplers import RandomResizedCrops, RandomSegments, UniformSegments
from mutualnet3d.data.mixup import MixUpCutMix
from mutualnet3d.shapes import ClipShape, Shard
from tests.conftest import TINY, as_overrides

SHAPE = ClipShape(4, 32)


@pytest.fixture
def make_cfg(tiny_data):
    def make(**changes):
        named = {key.replace("__", "."): value for key, value in changes.items()}
        return m3.load_cfg(
            "X3D_tiny_mutual.yaml", as_overrides({**TINY, "DATA.PATH_TO_DATA_DIR": str(tiny_data), **named})
        )

    return make


@pytest.fixture
def splits(make_cfg, tmp_path):
    bad_videos = BadVideoFile(str(tmp_path / "bad_videos.csv"))
    return {name: read_split(make_cfg(), name, bad_videos) for name in ("train", "val", "test")}


def videos_of(loader):
    return torch.cat([batch.video_B for batch in loader]).tolist()


def test_a_step_is_divided_over_processes_and_parts(make_cfg):
    assert batch_size_of(make_cfg(TRAIN__BATCH_SIZE=12, TRAIN__ACCUMULATION_STEPS=3), Shard(0, 2)) == 6
    with pytest.raises(
        ValueError,
        match=r"TRAIN\.BATCH_SIZE is 12, .* a multiple of 8: 2 processes with TRAIN\.ACCUMULATION_STEPS 4 each",
    ):
        batch_size_of(make_cfg(TRAIN__BATCH_SIZE=12, TRAIN__ACCUMULATION_STEPS=4), Shard(0, 2))


def test_classes_are_balanced_by_losses_or_by_the_order_of_clips(make_cfg, splits):
    labels = splits["train"].videos.label_N
    rare = dataclasses.replace(splits["train"], videos=splits["train"].videos.take(np.r_[0, np.flatnonzero(labels)]))
    assert build_class_weights(make_cfg(), rare) is None
    weights_K = build_class_weights(make_cfg(TRAIN__CLASS_BALANCE="loss"), rare)
    assert weights_K.tolist() == pytest.approx([9 / 2, 9 / 16])
    cfg = make_cfg(TRAIN__CLASS_BALANCE="sampler")
    assert build_class_weights(cfg, rare) is None
    for loader in (
        build_train_loader(cfg, rare, lambda step: (SHAPE,), 2, Shard()),
        build_calibration_loader(cfg, rare, (SHAPE,), Shard()),
    ):
        labels_of_clips = torch.cat([batch.label_B for batch in loader]).tolist()
        assert labels_of_clips.count(0) == labels_of_clips.count(1) == 4


def test_training_loads_the_shard_from_a_step_on(make_cfg, splits):
    cfg = make_cfg(RNG_SEED=3)
    loader = build_train_loader(
        cfg, splits["train"], lambda step: (SHAPE, ClipShape(2, 16)), 4, Shard(1, 2), start_step=2, position=4
    )
    order = ClipOrder(16, seed=3)
    assert videos_of(loader) == [order.at(place)[1] for place in (10, 11, 14, 15)]
    assert len(loader) == 2


def test_bad_videos_of_training_are_written_with_their_position_in_the_whole_order(make_cfg, tiny_data, tmp_path):
    order = ClipOrder(16, seed=0)
    videos = [f"train_{index}.mp4" for index in range(16)]
    bad = videos[order.at(6)[1]]
    (tmp_path / bad).write_text("no video")
    lines = [f"{(tmp_path if name == bad else tiny_data) / name} 0\n" for name in videos]
    (tmp_path / "train.csv").write_text("".join(lines))
    cfg = make_cfg(DATA__PATH_TO_DATA_DIR=str(tmp_path), RNG_SEED=0)
    bad_videos = BadVideoFile(str(tmp_path / "bad_videos.csv"))
    split = read_split(cfg, "train", bad_videos)
    loader = build_train_loader(cfg, split, lambda step: (SHAPE,), 2, Shard(1, 2))
    # The second process has 2, 3, 6, 7, 10, 11 and so on: the position in its part would be 2.
    assert videos_of(loader) == [order.at(place)[1] for place in (2, 3, 7, 10)]
    assert [(entry.path, entry.position) for entry in bad_videos.entries("train")] == [(str(tmp_path / bad), "6")]


def test_calibration_has_whole_batches_of_at_most_an_epoch(make_cfg, splits):
    changes = {"BN__NUM_BATCHES_PRECISE": 100, "BN__BATCH_SIZE_PRECISE": 3, "TRAIN__BATCH_SIZE": 5}
    loader = build_calibration_loader(make_cfg(**changes), splits["train"], (SHAPE,), Shard())
    assert [len(batch) for batch in loader] == [3] * 5  # an epoch has 15 clips
    shards = [build_calibration_loader(make_cfg(), splits["train"], (SHAPE,), Shard(rank, 2)) for rank in range(2)]
    whole = build_calibration_loader(make_cfg(), splits["train"], (SHAPE,), Shard())
    assert [videos_of(shards[0]), videos_of(shards[1])] == [batch.video_B.tolist() for batch in whole]


def test_views_of_validation_and_testing(make_cfg, splits):
    cfg = make_cfg(TEST__NUM_ENSEMBLE_VIEWS=2, TEST__NUM_SPATIAL_CROPS=3, TEST__BATCH_SIZE=7)
    assert videos_of(build_val_loader(cfg, splits["val"], (SHAPE,), Shard())) == list(range(6))
    loader = build_test_loader(cfg, splits["test"], (SHAPE,), Shard(1, 2))
    assert videos_of(loader) == [video for video in (1, 3, 5) for _ in range(6)]
    assert [len(batch) for batch in loader] == [4, 4, 4, 4, 2]  # 7 clips a step of the whole job


def test_settings_reach_samplers_and_augmentation(make_cfg, splits):
    ssv2 = make_cfg(TRAIN__DATASET="ssv2", TEST__DATASET="ssv2", DATA__RANDOM_FLIP=False)
    train = build_train_loader(ssv2, splits["train"], lambda step: (SHAPE,), 1, Shard())
    assert train.dataset.frame_sampler == RandomSegments(4)
    assert build_val_loader(ssv2, splits["val"], (SHAPE,), Shard()).dataset.frame_sampler == UniformSegments(4, 1)
    assert build_preprocessing(ssv2).segments
    assert not build_preprocessing(make_cfg()).segments
    changed = make_cfg(
        DATA__TRAIN_JITTER_SCALES_RELATIVE=[0.2, 0.5],
        DATA__TRAIN_JITTER_ASPECT_RELATIVE=[0.75, 1.25],
        DATA__RANDOM_FLIP=True,
        DATA__COLOR_RND_GRAYSCALE=0.25,
        AUG__ENABLE=True,
        AUG__RE_COUNT=3,
    )
    dataset = build_train_loader(changed, splits["train"], lambda step: (SHAPE,), 1, Shard()).dataset
    assert dataset.crop_sampler == RandomResizedCrops(scale=(0.2, 0.5), aspect=(0.75, 1.25), flip=True)
    assert (dataset.augment.grayscale_probability, dataset.augment.erase_count) == (0.25, 3)
    plain = build_train_loader(make_cfg(), splits["train"], lambda step: (SHAPE,), 1, Shard()).dataset
    assert plain.augment == Augment()


def test_mixup(make_cfg):
    assert build_mixup(make_cfg()) is None
    assert build_mixup(make_cfg(MIXUP__ENABLE=True, MIXUP__PROB=0.5)) == MixUpCutMix(
        alpha=0.8, cutmix_alpha=1.0, probability=0.5, switch_probability=0.5, label_smoothing=0.1, num_classes=2
    )

"""From a config to lists, loaders and mixtures. One of the places that read `cfg`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from fvcore.common.config import CfgNode
from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.augment import Augment
from mutualnet3d.data.bad_videos import BadVideoFile, BadVideos
from mutualnet3d.data.batch_sampler import CalibrationBatchSampler, ClipOrder, TestBatchSampler, TrainBatchSampler
from mutualnet3d.data.clip_samplers import (
    ClipSpan,
    CropSampler,
    FrameSampler,
    RandomCrops,
    RandomResizedCrops,
    RandomSegments,
    RandomSpans,
    UniformCrops,
    UniformSegments,
    UniformSpans,
)
from mutualnet3d.data.dataset import VideoDataset
from mutualnet3d.data.find_videos import find_videos
from mutualnet3d.data.label_names import read_label_names
from mutualnet3d.data.lists import Video, read_kinetics_list
from mutualnet3d.data.loader import TestLoader, TrainLoader, Workers
from mutualnet3d.data.mixup import MixUpCutMix
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.data.ssv2 import label_file_of, read_ssv2
from mutualnet3d.log import logger
from mutualnet3d.shapes import ClipShape, Shard

ShapesAtStep = Callable[[int], tuple[ClipShape, ...]]


@dataclass(frozen=True)
class Split:
    """The videos of a list that are there, and the account of those that are not or cannot be used.

    Args:
        num_in_list: how many the list has; `TEST.NUM_VIDEOS` may take some of them, of which `bad` speaks.
    """

    name: str
    videos: list[Video]
    bad: BadVideos
    num_in_list: int

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that stand for these videos in this order, wherever their folders are: data may be
        copied to a faster disk in the middle of a training."""
        names = "\n".join(f"{os.path.basename(video.path)} {video.label}" for video in self.videos)
        return hashlib.sha256(names.encode("utf-8", errors="backslashreplace")).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.name}: found {len(self.videos)} of {self.bad.num_listed} videos"


def read_split(
    cfg: CfgNode, name: str, bad_videos: BadVideoFile, look: Callable[[Callable[[], bytes]], bytes] | None = None
) -> Split:
    """The videos of the split `name` (train, val or test) that are there; says how many, and writes the others down.

    Args:
        look: as of `find_videos`.

    Raises:
        FileNotFoundError, ValueError: as `read_kinetics_list` and `read_ssv2`.
        TooManyBadVideos: none is there; of the training list, too few.
    """
    if _dataset_of(cfg, name) == "ssv2":
        videos = read_ssv2(cfg.DATA.PATH_TO_DATA_DIR, name, cfg.MODEL.NUM_CLASSES, cfg.DATA.PATH_PREFIX)
    else:
        videos = read_kinetics_list(
            os.path.join(cfg.DATA.PATH_TO_DATA_DIR, f"{name}.csv"),
            num_classes=cfg.MODEL.NUM_CLASSES,
            path_prefix=cfg.DATA.PATH_PREFIX,
            separator=cfg.DATA.PATH_LABEL_SEPARATOR,
            label_file=cfg.DATA.LABEL_FILE,
            skip_rows=cfg.DATA.SKIP_ROWS,
        )
    num_in_list = len(videos)
    if name == "test" and 0 < cfg.TEST.NUM_VIDEOS < num_in_list:
        chosen = np.random.default_rng(cfg.RNG_SEED).permutation(num_in_list)[: cfg.TEST.NUM_VIDEOS]
        videos = [videos[index] for index in sorted(chosen.tolist())]
        logger.info("test: %d of the list's %d videos (TEST.NUM_VIDEOS)", len(videos), num_in_list)
    found = find_videos(videos, look)
    logger.info("%s: %s", name, found)
    max_fraction = cfg.DATA.MAX_BAD_FRACTION if name == "train" else None
    bad = BadVideos(name, found.found, found.missing, bad_videos, max_fraction)
    return Split(name, found.found, bad, num_in_list)


def steps_per_epoch(cfg: CfgNode, split: Split) -> int:
    """Steps that the schedule counts as an epoch: the whole batches of the list.

    Raises:
        ValueError: it does not fill one.
    """
    steps = len(split.videos) // cfg.TRAIN.BATCH_SIZE
    if steps < 1:
        raise ValueError(
            f"TRAIN.BATCH_SIZE is {cfg.TRAIN.BATCH_SIZE}, but the training list has only {len(split.videos)} videos"
        )
    return steps


def batch_size_of(cfg: CfgNode, shard: Shard) -> int:
    """Clips of a training step that each process has, in `TRAIN.ACCUMULATION_STEPS` equal parts.

    Raises:
        ValueError: the job's batch does not divide.
    """
    whole, number = cfg.TRAIN.BATCH_SIZE, shard.world_size * cfg.TRAIN.ACCUMULATION_STEPS
    if whole % number:
        raise ValueError(
            f"TRAIN.BATCH_SIZE is {whole}, the whole job's; it must be a multiple of {number}: "
            f"{shard.world_size} processes with TRAIN.ACCUMULATION_STEPS {cfg.TRAIN.ACCUMULATION_STEPS} each"
        )
    return whole // shard.world_size


def build_train_loader(
    cfg: CfgNode,
    split: Split,
    shapes_at_step: ShapesAtStep,
    num_steps: int,
    shard: Shard,
    start_step: int = 0,
    position: int = 0,
    bad_since: dict[int, int] | None = None,
) -> TrainLoader:
    """Random clips for the steps `start_step` up to `num_steps`: this process's shard of them, from `position` of its
    part of the stream of training clips on."""
    requests = TrainBatchSampler(
        ClipOrder(len(split.videos), cfg.RNG_SEED),
        batch_size_of(cfg, shard),
        shapes_at_step,
        num_steps=num_steps,
        start_step=start_step,
        start_position=position,
        bad_since=bad_since,
        shard=shard,
    )
    dataset = _train_dataset(cfg, split)
    return TrainLoader(
        dataset,
        requests,
        _workers(cfg),
        lambda failure: split.bad.report(failure, requests.order.place(failure.request.position)),
    )


def build_calibration_loader(
    cfg: CfgNode, split: Split, shapes: tuple[ClipShape, ...], shard: Shard, crop_scale: float = 1.0
) -> TestLoader:
    """The first `BN.NUM_BATCHES_PRECISE` batches of training clips, at most an epoch of them, in `shapes`: this
    process's shard. Which clips make a batch does not depend on the number of processes.

    Args:
        crop_scale: sides of the crops over training's: larger where testing shows more of the picture.
    """
    batch_size = min(cfg.BN.BATCH_SIZE_PRECISE, cfg.TRAIN.BATCH_SIZE)
    num_batches = min(cfg.BN.NUM_BATCHES_PRECISE, steps_per_epoch(cfg, split) * cfg.TRAIN.BATCH_SIZE // batch_size)
    order = ClipOrder(len(split.videos), cfg.RNG_SEED)
    requests = CalibrationBatchSampler(order, batch_size, num_batches, shapes, shard)
    return TestLoader(_train_dataset(cfg, split, crop_scale), requests, _workers(cfg), split.bad.report)


def build_val_loader(cfg: CfgNode, split: Split, shapes: tuple[ClipShape, ...], shard: Shard) -> TestLoader:
    """One clip of each video, from its middle, the centre crop of the training's size."""
    crops = UniformCrops(scale=cfg.DATA.TRAIN_JITTER_SCALES[0], crop_size=cfg.DATA.TRAIN_CROP_SIZE)
    dataset = _dataset(cfg, split, _uniform_frames(cfg, split, num_spans=1), crops)
    requests = TestBatchSampler(len(split.videos), 1, _test_batch_size(cfg, shard), shapes, shard)
    return TestLoader(dataset, requests, _workers(cfg), split.bad.report)


def build_test_loader(cfg: CfgNode, split: Split, shapes: tuple[ClipShape, ...], shard: Shard) -> TestLoader:
    """Every view of each video: `TEST.NUM_ENSEMBLE_VIEWS` spans x `TEST.NUM_SPATIAL_CROPS` crops."""
    num_spans, num_crops = cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS
    how = build_preprocessing(cfg)
    dataset = _dataset(cfg, split, how.frame_sampler(num_spans), how.crop_sampler(num_crops), num_crops=num_crops)
    requests = TestBatchSampler(len(split.videos), num_spans * num_crops, _test_batch_size(cfg, shard), shapes, shard)
    return TestLoader(dataset, requests, _workers(cfg), split.bad.report)


def build_preprocessing(cfg: CfgNode) -> Preprocessing:
    """How testing makes clips of videos; an exported network takes it along."""
    return Preprocessing(
        num_frames=cfg.DATA.NUM_FRAMES,
        sampling_rate=cfg.DATA.SAMPLING_RATE,
        target_fps=cfg.DATA.TARGET_FPS,
        scale=cfg.DATA.TRAIN_JITTER_SCALES[0],
        crop_size=cfg.DATA.TEST_CROP_SIZE,
        mean=tuple(cfg.DATA.MEAN),
        std=tuple(cfg.DATA.STD),
        among_full=_among_full(cfg),
        segments=_dataset_of(cfg, "test") == "ssv2",
        reverse_channels=cfg.DATA.REVERSE_INPUT_CHANNEL,
        ensemble=cfg.DATA.ENSEMBLE_METHOD,
        timeout=cfg.DATA.DECODE_TIMEOUT or None,
    )


def _test_batch_size(cfg: CfgNode, shard: Shard) -> int:
    return -(-cfg.TEST.BATCH_SIZE // shard.world_size)


def build_mix(cfg: CfgNode) -> MixUpCutMix | None:
    """How a training step mixes its clips; None if it does not."""
    if not cfg.MIXUP.ENABLE:
        return None
    return MixUpCutMix(
        alpha=cfg.MIXUP.ALPHA,
        cutmix_alpha=cfg.MIXUP.CUTMIX_ALPHA,
        probability=cfg.MIXUP.PROB,
        switch_probability=cfg.MIXUP.SWITCH_PROB,
        label_smoothing=cfg.MIXUP.LABEL_SMOOTH_VALUE,
        num_classes=cfg.MODEL.NUM_CLASSES,
    )


def read_class_names(cfg: CfgNode) -> list[str]:
    """Names of the classes, for people to read: of `DATA.LABEL_FILE`, of Something-Something's file, of classes.json
    or labels.json beside the lists, or else their numbers.

    Raises:
        FileNotFoundError, ValueError: as `read_label_names`.
    """
    path = cfg.DATA.LABEL_FILE
    if not path and _dataset_of(cfg, "test") == "ssv2":
        path = label_file_of(cfg.DATA.PATH_TO_DATA_DIR)
    for name in ("classes.json", "labels.json"):  # what make_demo_data.py and make_annotations.py write
        beside = os.path.join(cfg.DATA.PATH_TO_DATA_DIR, name)
        if not path and g_pathmgr.isfile(beside):
            path = beside
    ids = read_label_names(path) if path else {}
    names = {number: name for name, number in ids.items()}
    return [names.get(number, str(number)) for number in range(cfg.MODEL.NUM_CLASSES)]


def _dataset_of(cfg: CfgNode, split: str) -> str:
    return cfg.TEST.DATASET if split == "test" else cfg.TRAIN.DATASET


def _pace(cfg: CfgNode) -> ClipSpan:
    return ClipSpan(cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, cfg.DATA.TARGET_FPS, _among_full(cfg))


def _among_full(cfg: CfgNode) -> bool:
    """Slow's frames are some of Fast's, as in PySlowFast."""
    return bool(cfg.MODEL.ARCH == "slowfast")


def _uniform_frames(cfg: CfgNode, split: Split, num_spans: int) -> FrameSampler:
    if _dataset_of(cfg, split.name) == "ssv2":
        return UniformSegments(cfg.DATA.NUM_FRAMES, num_spans)
    return UniformSpans(_pace(cfg), num_spans)


def _train_dataset(cfg: CfgNode, split: Split, crop_scale: float = 1.0) -> VideoDataset:
    is_ssv2 = _dataset_of(cfg, split.name) == "ssv2"
    frames: FrameSampler = RandomSegments(cfg.DATA.NUM_FRAMES) if is_ssv2 else RandomSpans(_pace(cfg))
    crops: CropSampler
    if cfg.DATA.TRAIN_JITTER_SCALES_RELATIVE:
        crops = RandomResizedCrops(
            scale=tuple(cfg.DATA.TRAIN_JITTER_SCALES_RELATIVE),
            aspect=tuple(cfg.DATA.TRAIN_JITTER_ASPECT_RELATIVE),
            flip=cfg.DATA.RANDOM_FLIP,
        )
    else:
        crops = RandomCrops(
            jitter_scales=tuple(cfg.DATA.TRAIN_JITTER_SCALES),
            crop_size=round(cfg.DATA.TRAIN_CROP_SIZE * crop_scale),
            flip=cfg.DATA.RANDOM_FLIP,
            inverse_uniform=cfg.DATA.INV_UNIFORM_SAMPLE,
        )
    return _dataset(cfg, split, frames, crops, augment=_augment(cfg))


def _augment(cfg: CfgNode) -> Augment:
    if not cfg.AUG.ENABLE:
        return Augment(grayscale_probability=cfg.DATA.COLOR_RND_GRAYSCALE)
    return Augment(
        color_jitter=cfg.AUG.COLOR_JITTER,
        rand_augment=cfg.AUG.AA_TYPE,
        grayscale_probability=cfg.DATA.COLOR_RND_GRAYSCALE,
        erase_probability=cfg.AUG.RE_PROB,
        erase_mode=cfg.AUG.RE_MODE,
        erase_count=cfg.AUG.RE_COUNT,
        interpolation=cfg.AUG.INTERPOLATION,
        mean=tuple(cfg.DATA.MEAN),
        std=tuple(cfg.DATA.STD),
    )


def _dataset(
    cfg: CfgNode,
    split: Split,
    frames: FrameSampler,
    crops: CropSampler,
    num_crops: int = 1,
    augment: Augment | None = None,
) -> VideoDataset:
    return VideoDataset(
        split.videos,
        frames,
        crops,
        num_crops=num_crops,
        augment=augment,
        seed=cfg.RNG_SEED,
        timeout=cfg.DATA.DECODE_TIMEOUT or None,
    )


def _workers(cfg: CfgNode) -> Workers:
    return Workers(cfg.DATA_LOADER.NUM_WORKERS, cfg.DATA_LOADER.PIN_MEMORY and torch.cuda.is_available())

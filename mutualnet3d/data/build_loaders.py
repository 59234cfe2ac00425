"""Loaders, mixtures and preprocessing by a config. One of the places that read `cfg`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from fvcore.common.config import CfgNode

from mutualnet3d.data.augment import Augment, RandAugmentPolicy
from mutualnet3d.data.batch_sampler import CalibrationBatchSampler, TestBatchSampler, TrainBatchSampler
from mutualnet3d.data.build_split import Split, is_multi_label, is_ssv2, steps_per_epoch
from mutualnet3d.data.class_balance import BalancedOrder, class_weights
from mutualnet3d.data.clip_order import ClipOrder, VideoOrder
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
from mutualnet3d.data.loader import TestLoader, TrainLoader
from mutualnet3d.data.mixup import MixUpCutMix
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.data.video_list import VideoList
from mutualnet3d.data.workers import Workers
from mutualnet3d.shapes import ClipShape, Shard

ShapesAtStep = Callable[[int], tuple[ClipShape, ...]]


def batch_size_of(cfg: CfgNode, shard: Shard) -> int:
    """Return the clips of a training step per process, in `TRAIN.ACCUMULATION_STEPS` equal parts.

    Args:
        cfg: config of the training.
        shard: place of the process in its job.

    Raises:
        ValueError: the job's batch does not divide.
    """
    batch_size, num_parts = cfg.TRAIN.BATCH_SIZE, shard.world_size * cfg.TRAIN.ACCUMULATION_STEPS
    if batch_size % num_parts:
        raise ValueError(
            f"TRAIN.BATCH_SIZE is {batch_size}, the whole job's; it must be a multiple of {num_parts}: "
            f"{shard.world_size} processes with TRAIN.ACCUMULATION_STEPS {cfg.TRAIN.ACCUMULATION_STEPS} each"
        )
    return batch_size // shard.world_size


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
    """Build the loader of random clips for the steps `start_step` up to `num_steps`: this process's shard.

    Args:
        cfg: config of the run.
        split: the training list.
        shapes_at_step: function of the step that returns the shapes that it trains with.
        num_steps: steps of the whole training.
        shard: rank of this process, number of processes.
        start_step: first step.
        position: position in this process's part of the stream of training clips.
        bad_since: videos known to be bad, with the position at which each was met.
    """
    batch_sampler = TrainBatchSampler(
        _train_order(cfg, split),
        batch_size_of(cfg, shard),
        shapes_at_step,
        num_steps=num_steps,
        start_step=start_step,
        start_position=position,
        bad_since=bad_since,
        shard=shard,
    )
    order = batch_sampler.order
    return TrainLoader(
        _train_dataset(cfg, split),
        batch_sampler,
        _workers(cfg),
        lambda failure: split.bad.report(failure, order.position_in_order(failure.request.position)),
        split.bad.report_damaged,
    )


def build_calibration_loader(
    cfg: CfgNode, split: Split, shapes: tuple[ClipShape, ...], shard: Shard, crop_scale: float = 1.0
) -> TestLoader:
    """Build the loader of calibration: the first `BN.NUM_BATCHES_PRECISE` batches of training clips, at most an epoch.

    The batches do not depend on the number of processes, which share them.

    Args:
        cfg: config of the run.
        split: the training list.
        shapes: shapes of every clip.
        shard: rank of this process, number of processes.
        crop_scale: sides of the crops over training's: larger where testing shows more of the picture.
    """
    batch_size = min(cfg.BN.BATCH_SIZE_PRECISE, cfg.TRAIN.BATCH_SIZE)
    num_batches = min(cfg.BN.NUM_BATCHES_PRECISE, steps_per_epoch(cfg, split) * cfg.TRAIN.BATCH_SIZE // batch_size)
    order = _train_order(cfg, split)  # classes come as often as they do in training
    batch_sampler = CalibrationBatchSampler(order, batch_size, num_batches, shapes, shard)
    return TestLoader(
        _train_dataset(cfg, split, crop_scale), batch_sampler, _workers(cfg), split.bad.report, split.bad.report_damaged
    )


def build_val_loader(cfg: CfgNode, split: Split, shapes: tuple[ClipShape, ...], shard: Shard) -> TestLoader:
    """Build the loader of validation: one clip of each video, from its middle, the centre crop of training's size."""
    crop_sampler = UniformCrops(scale=cfg.DATA.TRAIN_JITTER_SCALES[0], crop_size=cfg.DATA.TRAIN_CROP_SIZE)
    is_segmented = is_ssv2(cfg, split.name)
    frame_sampler = UniformSegments(cfg.DATA.NUM_FRAMES, 1) if is_segmented else UniformSpans(_clip_span(cfg), 1)
    dataset = _dataset(cfg, split, frame_sampler, crop_sampler)
    batch_sampler = TestBatchSampler(len(split.videos), 1, _test_batch_size(cfg, shard), shapes, shard)
    return TestLoader(dataset, batch_sampler, _workers(cfg), split.bad.report, split.bad.report_damaged)


def build_test_loader(
    cfg: CfgNode, split: Split, shapes: tuple[ClipShape, ...], shard: Shard, start_batch: int = 0
) -> TestLoader:
    """Build the loader of testing: `TEST.NUM_ENSEMBLE_VIEWS` spans x `TEST.NUM_SPATIAL_CROPS` crops of each video.

    Args:
        cfg: config of the run.
        split: the test list.
        shapes: shapes of every clip.
        shard: rank of this process, number of processes.
        start_batch: number of batches that are done.
    """
    num_spans, num_crops = cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS
    num_views, preprocessing = num_spans * num_crops, build_preprocessing(cfg)
    frame_sampler, crop_sampler = preprocessing.frame_sampler(num_spans), preprocessing.crop_sampler(num_crops)
    dataset = _dataset(cfg, split, frame_sampler, crop_sampler, num_crops=num_crops)
    batch_size = _test_batch_size(cfg, shard)
    batch_sampler = TestBatchSampler(len(split.videos), num_views, batch_size, shapes, shard, start_batch)
    return TestLoader(dataset, batch_sampler, _workers(cfg), split.bad.report, split.bad.report_damaged)


def build_preprocessing(cfg: CfgNode) -> Preprocessing:
    """Build the preprocessing of testing, from videos to clips; an exported network takes it along."""
    return Preprocessing(
        num_frames=cfg.DATA.NUM_FRAMES,
        sampling_rate=cfg.DATA.SAMPLING_RATE,
        target_fps=cfg.DATA.TARGET_FPS,
        scale=cfg.DATA.TRAIN_JITTER_SCALES[0],
        crop_size=cfg.DATA.TEST_CROP_SIZE,
        mean=tuple(cfg.DATA.MEAN),
        std=tuple(cfg.DATA.STD),
        among_full=_among_full(cfg),
        segments=is_ssv2(cfg, "test"),
        reverse_channels=cfg.DATA.REVERSE_INPUT_CHANNEL,
        ensemble=ensemble_of(cfg),
        timeout=cfg.DATA.DECODE_TIMEOUT or None,
    )


def ensemble_of(cfg: CfgNode) -> str:
    """Return the way in which views are put together: `DATA.ENSEMBLE_METHOD`; of several labels a video by sigmoids."""
    return f"{'sigmoid_' if is_multi_label(cfg) else ''}{cfg.DATA.ENSEMBLE_METHOD}"


def label_sets_of(split: Split) -> torch.Tensor | None:
    """Return the sets of labels that a split's labels are the numbers of, bool (S, K); None where these are classes."""
    return None if split.label_sets is None else torch.from_numpy(split.label_sets.matrix())


def build_mixup(cfg: CfgNode) -> MixUpCutMix | None:
    """Build the MixUp and CutMix of training steps; None without `MIXUP.ENABLE`."""
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


def build_class_weights(cfg: CfgNode, split: Split) -> torch.Tensor | None:
    """Build the weights of the classes in the losses with labels, float32 (K,), by the training list's videos.

    They are None without `TRAIN.CLASS_BALANCE` loss.
    """
    if cfg.TRAIN.CLASS_BALANCE != "loss":
        return None
    return torch.from_numpy(class_weights(VideoList.of(split.videos).label_N, cfg.MODEL.NUM_CLASSES))


def _train_order(cfg: CfgNode, split: Split) -> VideoOrder:
    if cfg.TRAIN.CLASS_BALANCE == "sampler":
        return BalancedOrder(VideoList.of(split.videos).label_N, cfg.RNG_SEED)
    return ClipOrder(len(split.videos), cfg.RNG_SEED)


def _test_batch_size(cfg: CfgNode, shard: Shard) -> int:
    return -(-cfg.TEST.BATCH_SIZE // shard.world_size)


def _clip_span(cfg: CfgNode) -> ClipSpan:
    return ClipSpan(cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, cfg.DATA.TARGET_FPS, _among_full(cfg))


def _among_full(cfg: CfgNode) -> bool:
    """Return True if Slow's frames are some of Fast's, as in PySlowFast."""
    return bool(cfg.MODEL.ARCH == "slowfast")


def _train_dataset(cfg: CfgNode, split: Split, crop_scale: float = 1.0) -> VideoDataset:
    frame_sampler: FrameSampler = RandomSpans(_clip_span(cfg))
    if is_ssv2(cfg, split.name):
        frame_sampler = RandomSegments(cfg.DATA.NUM_FRAMES)
    crop_sampler: CropSampler
    if cfg.DATA.TRAIN_JITTER_SCALES_RELATIVE:
        crop_sampler = RandomResizedCrops(
            scale=tuple(cfg.DATA.TRAIN_JITTER_SCALES_RELATIVE),
            aspect=tuple(cfg.DATA.TRAIN_JITTER_ASPECT_RELATIVE),
            flip=cfg.DATA.RANDOM_FLIP,
        )
    else:
        crop_sampler = RandomCrops(
            jitter_scales=tuple(cfg.DATA.TRAIN_JITTER_SCALES),
            crop_size=round(cfg.DATA.TRAIN_CROP_SIZE * crop_scale),
            flip=cfg.DATA.RANDOM_FLIP,
            inverse_uniform=cfg.DATA.INV_UNIFORM_SAMPLE,
        )
    return _dataset(cfg, split, frame_sampler, crop_sampler, augment=_augment(cfg))


def _augment(cfg: CfgNode) -> Augment:
    if not cfg.AUG.ENABLE:
        return Augment(grayscale_probability=cfg.DATA.COLOR_RND_GRAYSCALE)
    try:
        RandAugmentPolicy.parse(cfg.AUG.AA_TYPE or "rand")
    except ValueError as error:
        raise ValueError(f"AUG.AA_TYPE: {error}") from error
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
    frame_sampler: FrameSampler,
    crop_sampler: CropSampler,
    num_crops: int = 1,
    augment: Augment | None = None,
) -> VideoDataset:
    return VideoDataset(
        split.videos,
        frame_sampler,
        crop_sampler,
        num_crops=num_crops,
        augment=augment,
        seed=cfg.RNG_SEED,
        timeout=cfg.DATA.DECODE_TIMEOUT or None,
        disk_timeout=cfg.DATA.DISK_TIMEOUT,
    )


def _workers(cfg: CfgNode) -> Workers:
    # A clip takes at most the two times that the worker itself keeps; the rest is for what it does not count.
    patience = 2 * cfg.DATA.DECODE_TIMEOUT + cfg.DATA.DISK_TIMEOUT if cfg.DATA.DECODE_TIMEOUT else None
    pin_memory = cfg.DATA_LOADER.PIN_MEMORY and torch.cuda.is_available()
    return Workers(cfg.DATA_LOADER.NUM_WORKERS, pin_memory, patience)

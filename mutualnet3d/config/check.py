"""Checks of a config's values beyond their types. A check never changes a value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from fvcore.common.config import CfgNode

_DATASETS = ("kinetics", "ptvkinetics", "ssv2")


def check_cfg(cfg: CfgNode) -> None:
    """Check the values of a config.

    Raises:
        ValueError: no run can have a value; it names the key, the value and what is allowed.
    """
    _check_numbers(cfg)
    for key, allowed in (
        ("SOLVER.OPTIMIZING_METHOD", ("sgd",)),
        ("SOLVER.LR_POLICY", ("cosine", "steps_with_relative_lrs")),
        ("RESNET.DEPTH", (50, 101, 152)),
        ("TEST.NUM_SPATIAL_CROPS", (1, 3)),
        ("TEST.STATISTICS", ("calibrate", "interpolate")),
        ("DATA.ENSEMBLE_METHOD", ("sum", "logits", "max")),
        ("TRAIN.DATASET", _DATASETS),
        ("TRAIN.MIXED_PRECISION_TYPE", ("fp16", "bf16")),
        ("MUTUAL.TEACHER", ("full", "ema")),
        ("BN.NORM_TYPE", ("batchnorm", "sync_batchnorm")),
        ("TEST.DATASET", _DATASETS),
    ):
        _require(cfg, key, _get(cfg, key) in allowed, " or ".join(map(repr, allowed)))
    _require(cfg, "MODEL.DROPOUT_RATE", 0 <= cfg.MODEL.DROPOUT_RATE < 1, "in [0, 1)")
    _require(cfg, "DATA.MEAN", len(cfg.DATA.MEAN) == 3, "3 values, one per channel")
    _require(cfg, "DATA.STD", len(cfg.DATA.STD) == 3 and min(cfg.DATA.STD) > 0, "3 values above 0, one per channel")
    _require(
        cfg,
        "SOLVER.WARMUP_EPOCHS",
        cfg.SOLVER.WARMUP_EPOCHS < cfg.SOLVER.MAX_EPOCH,
        f"less than SOLVER.MAX_EPOCH, which is {cfg.SOLVER.MAX_EPOCH}",
    )
    scales = cfg.DATA.TRAIN_JITTER_SCALES
    _require(
        cfg,
        "DATA.TRAIN_JITTER_SCALES",
        len(scales) == 2 and cfg.DATA.TRAIN_CROP_SIZE <= scales[0] <= scales[1],
        f"two short sides, ascending, at least DATA.TRAIN_CROP_SIZE, which is {cfg.DATA.TRAIN_CROP_SIZE}",
    )
    _require(
        cfg,
        "DATA.TEST_CROP_SIZE",
        cfg.TEST.NUM_SPATIAL_CROPS == 3 or scales[0] >= cfg.DATA.TEST_CROP_SIZE,
        f"with TEST.NUM_SPATIAL_CROPS 1, at most DATA.TRAIN_JITTER_SCALES[0], which is {scales[0]}",
    )
    _require(
        cfg,
        "TRAIN.SUBNET",
        not (cfg.TRAIN.SUBNET and cfg.MUTUAL.ENABLE),
        "'' with MUTUAL.ENABLE, which trains all sub-networks together",
    )
    _require(
        cfg,
        "TEST.SAVE_RESULTS_PATH",
        not cfg.TEST.SAVE_RESULTS_PATH or cfg.TEST.SAVE_RESULTS_PATH.endswith(".npz"),
        "'' or the name of a NumPy file (.npz)",
    )
    _check_averages(cfg)
    _check_steps(cfg)
    _check_space(cfg)
    _check_clips(cfg)
    if cfg.MUTUAL.SORT_CHANNELS:
        _require(
            cfg,
            "TRAIN.CHECKPOINT_FILE_PATH",
            bool(cfg.TRAIN.CHECKPOINT_FILE_PATH),
            "set, with MUTUAL.SORT_CHANNELS: fresh weights have no important channels",
        )


def check_type(key: str, value: Any, default: Any) -> None:
    """Refuse a value that is not of its default's type, or a number that is not finite or beyond 64 bits.

    Raises:
        ValueError: it names the key, the value and what is allowed.
    """
    if value is None:
        if key not in _MAY_BE_NONE:
            raise ValueError(f"{key} is None; it must be a value of the type of its default, {default!r}")
        return
    if isinstance(value, str) and "\0" in value:
        raise ValueError(f"{key} is {value!r:.60}; it must be a text without NUL bytes")
    numbers = [value] if not isinstance(value, list | tuple) else list(_leaves(value))
    for number in numbers:
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"{key} is {value!r:.60}; its numbers must be finite")
        if isinstance(number, int) and abs(number) >= 2**63:
            raise ValueError(f"{key} has a number of more than 63 bits; it must be less")
        if isinstance(value, list) and key != "TEST.SUBNETS":
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise ValueError(f"{key} is {value!r:.60}; it must be a list of numbers")
            if isinstance(number, float) and key in _WHOLE:
                raise ValueError(f"{key} is {value!r:.60}; it must be a list of whole numbers")
    if key == "TEST.SUBNETS" and not all(isinstance(text, str) for text in numbers):
        raise ValueError(f"{key} is {value!r:.60}; it must be a list of texts")
    if isinstance(value, list) and key != "RESNET.NUM_BLOCK_TEMP_KERNEL" and len(numbers) != len(value):
        raise ValueError(f"{key} is {value!r:.60}; it must be a list without lists in it")


_MAY_BE_NONE = ("SOLVER.CLIP_GRAD_L2NORM", "SOLVER.CLIP_GRAD_VAL")
_WHOLE = ("MUTUAL.SIZES", "MUTUAL.FRAMES", "TEST.SIZES", "DATA.TRAIN_JITTER_SCALES", "RESNET.NUM_BLOCK_TEMP_KERNEL")


def _leaves(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _leaves(value)
        else:
            yield value


def _check_numbers(cfg: CfgNode) -> None:
    """Check counts, and numbers that must not be negative."""
    for key in (
        "MODEL.NUM_CLASSES",
        "DATA.NUM_FRAMES",
        "DATA.SAMPLING_RATE",
        "DATA.TRAIN_CROP_SIZE",
        "DATA.TEST_CROP_SIZE",
        "TRAIN.BATCH_SIZE",
        "TRAIN.ACCUMULATION_STEPS",
        "TRAIN.CHECKPOINT_PERIOD",
        "TRAIN.CHECKPOINTS_KEPT",
        "SOLVER.MAX_EPOCH",
        "BN.NUM_BATCHES_PRECISE",
        "BN.BATCH_SIZE_PRECISE",
        "TEST.BATCH_SIZE",
        "TEST.NUM_ENSEMBLE_VIEWS",
        "TEST.LATENCY_RUNS",
        "LOG_PERIOD",
        "RESNET.WIDTH_PER_GROUP",
        "SLOWFAST.ALPHA",
        "SLOWFAST.BETA_INV",
        "SLOWFAST.FUSION_CONV_CHANNEL_RATIO",
        "SLOWFAST.FUSION_KERNEL_SZ",
    ):
        _require(cfg, key, _get(cfg, key) >= 1, "at least 1")
    for key in (
        "DATA.SKIP_ROWS",
        "DATA.DECODE_TIMEOUT",
        "DATA.DISK_TIMEOUT",
        "DATA_LOADER.NUM_WORKERS",
        "TEST.NUM_VIDEOS",
        "TEST.MAX_INTERPOLATION_LOSS",
        "TRAIN.EVAL_PERIOD",
        "TRAIN.CHECKPOINT_STEPS",
        "TRAIN.CHECKPOINT_SECONDS",
        "SOLVER.LR_BATCH_SIZE",
        "BN.NUM_SYNC_DEVICES",
        "PROFILE_STEPS",
        "SOLVER.WARMUP_EPOCHS",
        "SOLVER.WEIGHT_DECAY",
        "RNG_SEED",
    ):
        _require(cfg, key, _get(cfg, key) >= 0, "at least 0")
    for key in ("SOLVER.CLIP_GRAD_L2NORM", "SOLVER.CLIP_GRAD_VAL"):
        _require(cfg, key, (_get(cfg, key) or 0) >= 0, "at least 0, or PySlowFast's None, which means 0")
    for key in ("DATA.TARGET_FPS", "SOLVER.BASE_LR"):
        _require(cfg, key, _get(cfg, key) > 0, "above 0")


def _check_averages(cfg: CfgNode) -> None:
    """Check the averaged weights, and the settings that need them."""
    decay = cfg.SOLVER.EMA_DECAY
    _require(cfg, "SOLVER.EMA_DECAY", 0 <= decay < 1, "in [0, 1)")
    _require(
        cfg, "MUTUAL.TEACHER", cfg.MUTUAL.TEACHER == "full" or decay > 0, "'full' unless SOLVER.EMA_DECAY is above 0"
    )
    _require(
        cfg,
        "TEST.USE_EMA",
        not (cfg.TEST.USE_EMA and cfg.TRAIN.ENABLE and not decay),
        "False unless SOLVER.EMA_DECAY is above 0",
    )


def _check_clips(cfg: CfgNode) -> None:
    """Check the part of a video that clips show; AUG and MIXUP are checked by the classes that they configure."""
    _require(cfg, "DATA.MAX_BAD_FRACTION", 0 <= cfg.DATA.MAX_BAD_FRACTION <= 1, "in [0, 1]")
    if cfg.TRAIN.DATASET == "ssv2":
        _require(
            cfg,
            "DATA.RANDOM_FLIP",
            not cfg.DATA.RANDOM_FLIP,
            "False for Something-Something, whose classes tell left from right",
        )
    scales, aspects = cfg.DATA.TRAIN_JITTER_SCALES_RELATIVE, cfg.DATA.TRAIN_JITTER_ASPECT_RELATIVE
    _require(
        cfg,
        "DATA.TRAIN_JITTER_SCALES_RELATIVE",
        not (scales or aspects) or (len(scales) == 2 and 0 < scales[0] <= scales[1] <= 1),
        "two fractions of the picture, ascending, above 0 and at most 1, or [] as TRAIN_JITTER_ASPECT_RELATIVE then is",
    )
    _require(
        cfg,
        "DATA.TRAIN_JITTER_ASPECT_RELATIVE",
        not (scales or aspects) or (len(aspects) == 2 and 0 < aspects[0] <= aspects[1]),
        "two ratios of width to height, ascending, or [] as TRAIN_JITTER_SCALES_RELATIVE then is",
    )


def _check_steps(cfg: CfgNode) -> None:
    if cfg.SOLVER.LR_POLICY != "steps_with_relative_lrs":
        return
    steps = cfg.SOLVER.STEPS
    _require(
        cfg,
        "SOLVER.STEPS",
        bool(steps) and steps[0] == 0 and all(a < b for a, b in itertools.pairwise(steps)),
        "ascending epochs, the first of them 0",
    )
    _require(cfg, "SOLVER.LRS", len(cfg.SOLVER.LRS) >= len(steps), f"a value for each of SOLVER.STEPS, {steps}")


def _check_space(cfg: CfgNode) -> None:
    """Check the sub-networks: the ranges of MUTUAL, and the pathways."""
    full_frames, frames_key = cfg.DATA.NUM_FRAMES, "DATA.NUM_FRAMES"
    if cfg.MODEL.ARCH == "slowfast":
        alpha = cfg.SLOWFAST.ALPHA
        _require(
            cfg,
            "DATA.NUM_FRAMES",
            full_frames % alpha == 0,
            f"a multiple of SLOWFAST.ALPHA, which is {alpha}: the Slow pathway has that part of Fast's frames",
        )
        full_frames, frames_key = full_frames // alpha, "DATA.NUM_FRAMES / SLOWFAST.ALPHA"
    for key, full_key, full in (
        ("MUTUAL.SIZES", "DATA.TRAIN_CROP_SIZE", cfg.DATA.TRAIN_CROP_SIZE),
        ("MUTUAL.FRAMES", frames_key, full_frames),
    ):
        values = _get(cfg, key)
        _require(cfg, key, not values or max(values) == full, f"with {full_key}, which is {full}, as the largest")
    trained = cfg.MUTUAL.SIZES or [cfg.DATA.TRAIN_CROP_SIZE]
    _require(
        cfg,
        "TEST.SIZES",
        not cfg.TEST.SIZES
        or (len(set(cfg.TEST.SIZES)) == len(trained) and all(isinstance(size, int) for size in cfg.TEST.SIZES)),
        f"a size in pixels for each of MUTUAL.SIZES, {trained}, or [] for those in proportion",
    )
    widths = cfg.MUTUAL.WIDTH_RANGE
    _require(
        cfg,
        "MUTUAL.WIDTH_RANGE",
        len(widths) == 2 and 0 < widths[0] <= widths[1] == 1,
        "the narrowest width, above 0, and 1: no layer may be left without channels",
    )
    _require(
        cfg,
        "MUTUAL.TEST_WIDTHS",
        all(widths[0] <= width <= 1 for width in cfg.MUTUAL.TEST_WIDTHS),
        f"widths of MUTUAL.WIDTH_RANGE, {widths}",
    )
    per_stage = cfg.RESNET.NUM_BLOCK_TEMP_KERNEL
    _require(
        cfg,
        "RESNET.NUM_BLOCK_TEMP_KERNEL",
        len(per_stage) == 4 and all(isinstance(blocks, list | tuple) and len(blocks) in (1, 2) for blocks in per_stage),
        "a list of one number of blocks (SlowFast: or two) for each of 4 stages",
    )


def _get(cfg: CfgNode, key: str) -> Any:
    node: Any = cfg
    for part in key.split("."):
        node = node[part]
    return node


def _require(cfg: CfgNode, key: str, holds: bool, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{key} is {_get(cfg, key)!r}; it must be {allowed}")

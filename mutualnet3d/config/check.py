"""Checks of a config's values beyond their types. A check never changes a value."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from fvcore.common.config import CfgNode

from mutualnet3d.config.check_training import check_training
from mutualnet3d.config.defaults import default_cfg
from mutualnet3d.config.key_rules import RULES
from mutualnet3d.config.requirement import require as _require
from mutualnet3d.config.requirement import value_at as _get

_DEFAULTS = default_cfg()

MAX_CLIP_BYTES = 1 << 30  # that of shapes.py, which comes with torch


def check_cfg(cfg: CfgNode) -> None:
    """Check the keys and values of a config, whichever way they were set.

    Args:
        cfg: config with all keys.

    Raises:
        ValueError: no run can have a value, or a key is missing or unknown; it names the key, the value and what is
            allowed.
    """
    _check_keys(cfg)
    for key, rule in RULES.items():
        check_type(key, _get(cfg, key), _get(_DEFAULTS, key))
        problem = rule.range_problem(_get(cfg, key))
        if problem:
            raise ValueError(f"{key} is {_get(cfg, key)!r:.200}; {problem}")
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
    _check_subnet(cfg)
    _require(
        cfg,
        "TEST.SAVE_RESULTS_PATH",
        not cfg.TEST.SAVE_RESULTS_PATH or cfg.TEST.SAVE_RESULTS_PATH.endswith(".npz"),
        "'' or the name of a NumPy file (.npz)",
    )
    _check_tested_checkpoint(cfg)
    check_training(cfg)
    _check_space(cfg)
    _check_clips(cfg)


def check_type(key: str, value: Any, default: Any) -> None:
    """Refuse a value, or an element of one, of another type than the key's, and a number that is not finite.

    An integer has at most 64 bits.

    Args:
        key: key with its sections, "SECTION.KEY".
        value: value to check.
        default: default of the key, which has its type.

    Raises:
        ValueError: it names the key, the value and what is allowed.
    """
    problem = RULES[key].type_problem(value, default)
    if problem:
        raise ValueError(f"{key} is {_shortened(value)}; {problem}")


def _shortened(value: Any) -> str:
    try:
        return f"{value!r:.60}"
    except ValueError:  # Python does not write integers of more than 4,300 digits
        return "an endless number"


def _check_keys(cfg: CfgNode) -> None:
    """Refuse a config that Python has given other keys than the defaults'."""
    keys = set(_keys(cfg))
    for key in sorted(keys ^ RULES.keys()):
        if key in keys:
            raise ValueError(f"unknown key {key}; the keys are those of mutualnet3d/config/*defaults.py")
        raise ValueError(f"the config has no key {key}; make it by load_cfg, which gives every key its default")


def _keys(node: CfgNode, prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _check_subnet(cfg: CfgNode) -> None:
    if cfg.TRAIN.SUBNET:
        from mutualnet3d.shapes import SubnetConfig  # torch comes with it: most configs are read without

        try:
            SubnetConfig.parse(cfg.TRAIN.SUBNET)
        except ValueError as error:
            raise ValueError(f"TRAIN.SUBNET: {error}") from error


def _check_tested_checkpoint(cfg: CfgNode) -> None:
    if cfg.TEST.CHECKPOINT == "last":
        return
    _require(
        cfg,
        "TEST.CHECKPOINT",
        not cfg.TEST.CHECKPOINT_FILE_PATH,
        "'last' with TEST.CHECKPOINT_FILE_PATH, which is a file",
    )
    _require(
        cfg,
        "TEST.CHECKPOINT",
        not (cfg.TRAIN.ENABLE and cfg.TEST.ENABLE) or 0 < cfg.TRAIN.EVAL_PERIOD <= cfg.SOLVER.MAX_EPOCH,
        "'last' unless the training validates: TRAIN.EVAL_PERIOD, which is "
        f"{cfg.TRAIN.EVAL_PERIOD}, must be from 1 to SOLVER.MAX_EPOCH",
    )


def _check_clips(cfg: CfgNode) -> None:
    """Check the part of a video that clips show, and the augmentation; `data.augment` checks AUG.AA_TYPE."""
    _require(
        cfg,
        "DATA.MEAN",
        not cfg.AUG.ENABLE or all(0 <= value <= 1 for value in cfg.DATA.MEAN),
        "3 fractions of full brightness with AUG.ENABLE, which fills boxes and corners with them",
    )
    _require(
        cfg,
        "MIXUP.ALPHA",
        not cfg.MIXUP.ENABLE or max(cfg.MIXUP.ALPHA, cfg.MIXUP.CUTMIX_ALPHA) > 0,
        "above 0 with MIXUP.ENABLE and MIXUP.CUTMIX_ALPHA 0: one of them mixes",
    )
    if cfg.TRAIN.DATASET.lower() == "ssv2":
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
        channels = cfg.RESNET.WIDTH_PER_GROUP
        _require(
            cfg,
            "SLOWFAST.BETA_INV",
            channels % cfg.SLOWFAST.BETA_INV == 0,
            f"a divisor of RESNET.WIDTH_PER_GROUP, which is {channels}: the Fast pathway has that part of its channels",
        )
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
        not cfg.TEST.SIZES or len(set(cfg.TEST.SIZES)) == len(cfg.TEST.SIZES) == len(trained),
        f"a size in pixels for each of MUTUAL.SIZES, {trained}, or [] for those in proportion",
    )
    _check_tested_sizes(cfg, trained)
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


def _check_tested_sizes(cfg: CfgNode, trained: Sequence[int]) -> None:
    """Check that the sizes of testing differ and are not 0, and that no clip is larger than memory is made for."""
    key = "TEST.SIZES" if cfg.TEST.SIZES else "DATA.TEST_CROP_SIZE"
    scale = cfg.DATA.TEST_CROP_SIZE / cfg.DATA.TRAIN_CROP_SIZE
    tested = cfg.TEST.SIZES or [round(size * scale) for size in trained]
    _require(
        cfg,
        key,
        min(tested) > 0 and len(set(tested)) == len(tested),
        f"large enough that the sizes of testing differ; those of MUTUAL.SIZES, {trained}, become {tested}",
    )
    most = math.isqrt(MAX_CLIP_BYTES // (3 * cfg.DATA.NUM_FRAMES))
    for name, size in (("DATA.TRAIN_CROP_SIZE", cfg.DATA.TRAIN_CROP_SIZE), (key, max(tested))):
        _require(
            cfg,
            name,
            size <= most,
            f"{most} at most with DATA.NUM_FRAMES {cfg.DATA.NUM_FRAMES}: a clip has 1 GB at most",
        )

"""Checks of a training's values that depend on each other: optimizer, averages, frozen parts, kernels, labels."""

from __future__ import annotations

import itertools

from fvcore.common.config import CfgNode

from mutualnet3d.config.requirement import require, value_at


def check_training(cfg: CfgNode) -> None:
    """Check optimizer, schedule, averages, frozen parts, kernels, the order of channels, and labels.

    Args:
        cfg: config with all keys.

    Raises:
        ValueError: no training can have a value; it names the key, the value and what is allowed.
    """
    _check_optimizer(cfg)
    _check_averages(cfg)
    _check_steps(cfg)
    _check_frozen(cfg)
    require(
        cfg,
        "MODEL.TRITON",
        cfg.MODEL.TRITON is not True or cfg.MODEL.CHANNELS_LAST is True,
        f"auto or False with MODEL.CHANNELS_LAST {cfg.MODEL.CHANNELS_LAST}: its kernels are for channels_last_3d",
    )
    _check_sorting(cfg)
    _check_labels(cfg)


def _check_optimizer(cfg: CfgNode) -> None:
    method = cfg.SOLVER.OPTIMIZING_METHOD
    require(
        cfg,
        "SOLVER.NESTEROV",
        method != "sgd" or not cfg.SOLVER.NESTEROV or (cfg.SOLVER.MOMENTUM > 0 and cfg.SOLVER.DAMPENING == 0),
        "False unless SOLVER.MOMENTUM is above 0 and SOLVER.DAMPENING is 0; they are "
        f"{cfg.SOLVER.MOMENTUM:g} and {cfg.SOLVER.DAMPENING:g}",
    )
    require(
        cfg,
        "SOLVER.WARMUP_START_LR",
        method == "sgd" or not cfg.SOLVER.WARMUP_EPOCHS or cfg.SOLVER.WARMUP_START_LR <= cfg.SOLVER.BASE_LR,
        f"at most SOLVER.BASE_LR, which is {cfg.SOLVER.BASE_LR:g}, with SOLVER.OPTIMIZING_METHOD {method}",
    )


def _check_frozen(cfg: CfgNode) -> None:
    """Check the keys that frozen batch norms and stages need."""
    keys = [key for key in ("FROZEN_BN", "FROZEN_STAGES") if cfg.MODEL[key]]
    if not keys:
        return
    key, off = f"MODEL.{keys[0]}", "False" if cfg.MODEL.FROZEN_BN else "0"
    require(
        cfg,
        key,
        bool(cfg.TRAIN.CHECKPOINT_FILE_PATH) or not cfg.TRAIN.ENABLE,
        f"{off} unless TRAIN.CHECKPOINT_FILE_PATH is set: fresh weights have nothing to keep",
    )
    require(
        cfg,
        "BN.USE_PRECISE_STATS",
        not cfg.BN.USE_PRECISE_STATS,
        f"False with {key}: the full network is tested with the statistics that it is trained with",
    )
    require(
        cfg,
        "MODEL.FROZEN_BN",
        not (cfg.MODEL.FROZEN_BN and cfg.TRAIN.SUBNET),
        "False with TRAIN.SUBNET: a sub-network has no statistics before it is calibrated",
    )


def _check_averages(cfg: CfgNode) -> None:
    """Check the averaged weights, and the settings that need them."""
    decay = cfg.SOLVER.EMA_DECAY
    require(
        cfg, "MUTUAL.TEACHER", cfg.MUTUAL.TEACHER == "full" or decay > 0, "'full' unless SOLVER.EMA_DECAY is above 0"
    )
    require(
        cfg,
        "TEST.USE_EMA",
        not (cfg.TEST.USE_EMA and cfg.TRAIN.ENABLE and not decay),
        "False unless SOLVER.EMA_DECAY is above 0",
    )


def _check_steps(cfg: CfgNode) -> None:
    if cfg.SOLVER.LR_POLICY != "steps_with_relative_lrs":
        return
    steps = cfg.SOLVER.STEPS
    require(
        cfg,
        "SOLVER.STEPS",
        bool(steps) and steps[0] == 0 and all(a < b for a, b in itertools.pairwise(steps)),
        "ascending epochs, the first of them 0",
    )
    require(cfg, "SOLVER.LRS", len(cfg.SOLVER.LRS) >= len(steps), f"a value for each of SOLVER.STEPS, {steps}")


def _check_sorting(cfg: CfgNode) -> None:
    if cfg.MUTUAL.SORT_CHANNELS:
        require(
            cfg,
            "TRAIN.CHECKPOINT_FILE_PATH",
            bool(cfg.TRAIN.CHECKPOINT_FILE_PATH) or cfg.MUTUAL.START > 0,
            "set, with MUTUAL.SORT_CHANNELS and MUTUAL.START 0: fresh weights have no important channels",
        )


def _check_labels(cfg: CfgNode) -> None:
    """Check the keys that do not go together with several labels a video."""
    if cfg.MODEL.LOSS_FUNC == "cross_entropy":
        return
    of_several = f"with MODEL.LOSS_FUNC {cfg.MODEL.LOSS_FUNC}, several labels a video"
    require(cfg, "MIXUP.ENABLE", not cfg.MIXUP.ENABLE, f"False {of_several}")
    require(cfg, "TRAIN.CLASS_BALANCE", cfg.TRAIN.CLASS_BALANCE == "none", f"'none' {of_several}")
    for key in ("TRAIN.DATASET", "TEST.DATASET"):
        require(cfg, key, value_at(cfg, key).lower() != "ssv2", f"'kinetics' {of_several}")

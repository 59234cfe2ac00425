"""What a config must hold beyond types. A check never changes a value."""

from __future__ import annotations

from typing import Any

from fvcore.common.config import CfgNode


def check_cfg(cfg: CfgNode) -> None:
    """Refuse values that no run can have.

    Raises:
        ValueError: it names the key, the value and what is allowed.
    """
    for key in (
        "MODEL.NUM_CLASSES",
        "DATA.NUM_FRAMES",
        "DATA.SAMPLING_RATE",
        "DATA.TRAIN_CROP_SIZE",
        "DATA.TEST_CROP_SIZE",
        "TRAIN.BATCH_SIZE",
        "TRAIN.CHECKPOINT_PERIOD",
        "SOLVER.MAX_EPOCH",
        "BN.NUM_BATCHES_PRECISE",
        "TEST.BATCH_SIZE",
        "TEST.NUM_ENSEMBLE_VIEWS",
        "TEST.LATENCY_RUNS",
        "LOG_PERIOD",
    ):
        _require(cfg, key, _get(cfg, key) >= 1, "at least 1")
    for key in (
        "DATA_LOADER.NUM_WORKERS",
        "TRAIN.EVAL_PERIOD",
        "TRAIN.CHECKPOINT_SECONDS",
        "SOLVER.WARMUP_EPOCHS",
        "SOLVER.WEIGHT_DECAY",
        "RNG_SEED",
    ):
        _require(cfg, key, _get(cfg, key) >= 0, "at least 0")
    for key in ("DATA.TARGET_FPS", "SOLVER.BASE_LR"):
        _require(cfg, key, _get(cfg, key) > 0, "above 0")
    for key, allowed in (
        ("SOLVER.OPTIMIZING_METHOD", ("sgd",)),
        ("SOLVER.LR_POLICY", ("cosine",)),
        ("TEST.NUM_SPATIAL_CROPS", (1, 3)),
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
    for key, full_key in (("MUTUAL.SIZES", "DATA.TRAIN_CROP_SIZE"), ("MUTUAL.FRAMES", "DATA.NUM_FRAMES")):
        values, full = _get(cfg, key), _get(cfg, full_key)
        _require(cfg, key, not values or max(values) == full, f"with {full_key}, which is {full}, as the largest")


def _get(cfg: CfgNode, key: str) -> Any:
    node: Any = cfg
    for part in key.split("."):
        node = node[part]
    return node


def _require(cfg: CfgNode, key: str, holds: bool, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{key} is {_get(cfg, key)!r}; it must be {allowed}")

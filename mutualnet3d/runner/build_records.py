"""Translation of a config to the programs that draw a training: TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from fvcore.common.config import CfgNode

from mutualnet3d.engine.mlflow_records import MlflowRecords
from mutualnet3d.engine.tensorboard import TensorBoardRecords
from mutualnet3d.engine.wandb_records import WandbRecords
from mutualnet3d.log import Records


def build_records(cfg: CfgNode, start_step: int) -> list[Records]:
    """Return the writers that a config asks for.

    Args:
        cfg: config of the run.
        start_step: first step of this run.

    Returns:
        Writers of records.

    Raises:
        ModuleNotFoundError: the library of a writer is not installed.
    """
    folder, writers = cfg.OUTPUT_DIR, list[Records]()
    if cfg.TENSORBOARD.ENABLE:
        writers.append(TensorBoardRecords(cfg.TENSORBOARD.LOG_DIR or os.path.join(folder, "tensorboard"), start_step))
    if cfg.WANDB.ENABLE:
        writers.append(WandbRecords(os.path.join(folder, "wandb"), cfg.WANDB.PROJECT, dict(_settings(cfg))))
    if cfg.MLFLOW.ENABLE:
        place = os.path.join(folder, "mlflow")
        uri = cfg.MLFLOW.TRACKING_URI or f"file://{os.path.abspath(place)}"
        writers.append(MlflowRecords(place, uri, cfg.MLFLOW.EXPERIMENT, dict(_settings(cfg))))
    return writers


def _settings(cfg: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys of a config and their values."""
    for name, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value

"""From a checkpoint to networks that can be deployed. One of the places that read `cfg`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from fvcore.common.config import CfgNode
from iopath.common.file_io import g_pathmgr

from mutualnet3d.config import parse_cfg
from mutualnet3d.data.build_loaders import build_preprocessing
from mutualnet3d.deploy.networks import CheckpointNetworks
from mutualnet3d.engine.checkpoint import file_hash, load_checkpoint
from mutualnet3d.log import logger
from mutualnet3d.models import build_model, load_weights
from mutualnet3d.results.query_table import QueryTable

CHECKPOINT_HINT = "give the calibrated.pyth that a test run wrote beside its query table"


def read_checkpoint(path: str, table: str | None = None, find_table: bool = True) -> CheckpointNetworks:
    """The sub-networks of a checkpoint that a test run wrote.

    Args:
        path: calibrated.pyth.
        table: its query table; None: query_table.json beside it, if there is one and `find_table` says so.

    Raises:
        FileNotFoundError: one of the two files is not there.
        ValueError: the checkpoint cannot be read or holds no config that this release can read; the table is none, or
            of another checkpoint.
    """
    content = load_checkpoint(path)
    cfg = config_of(content, path)
    beside = os.path.join(os.path.dirname(path), "query_table.json")
    if table is None and find_table and g_pathmgr.isfile(beside):
        table = beside
    rows = None
    if table is not None:
        rows = QueryTable.load(table)
        check_same(rows, path)
    model = build_model(cfg)
    load_weights(model, path, new_classifier=False)
    return CheckpointNetworks(path, model, build_preprocessing(cfg), _class_names(content, cfg, path), rows)


def check_same(table: QueryTable, checkpoint: str) -> None:
    """Refuse a table of other weights.

    Raises:
        ValueError: the table says another hash than the file has, or none.
    """
    wanted, found = table.context.get("checkpoint"), file_hash(checkpoint)
    if wanted is None:
        raise ValueError("the table does not say which checkpoint it is of: its context has no 'checkpoint'")
    if wanted != found:
        raise ValueError(f"{checkpoint} is checkpoint {found}, the table is of checkpoint {wanted}; {CHECKPOINT_HINT}")


def config_of(content: Mapping[str, Any], checkpoint: str, overrides: Sequence[Any] = ()) -> CfgNode:
    """The config in a checkpoint, with `overrides` (as of `load_cfg`) in it.

    Raises:
        ValueError: it holds none, or one that is not of this release.
    """
    text = content.get("cfg")
    if not isinstance(text, str):
        raise ValueError(f"{checkpoint}: no config in it; {CHECKPOINT_HINT}")
    return parse_cfg(text, f"{checkpoint}: its config", overrides)


def _class_names(content: Mapping[str, Any], cfg: CfgNode, path: str) -> tuple[str, ...]:
    """As the test run knew them."""
    names = content.get("class_names")
    if names is None:
        logger.warning("%s: has no names of classes (it is of an older release); their numbers are given", path)
        names = [str(number) for number in range(cfg.MODEL.NUM_CLASSES)]
    return tuple(names)

"""Tiny networks to deploy, as the tests of deployment use them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytorchvideo.models.resnet
import pytorchvideo.models.slowfast

from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy.networks import CheckpointNetworks
from mutualnet3d.models import SlimmableNet, costs, resnet
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.results.query_table import QueryTable, Row
from mutualnet3d.shapes import SubnetConfig
from tests.models.families import FAMILIES, FULL_CLIP, NUM_CLASSES, calibrated, randomise

FULL, SMALL = SubnetConfig(1.0, 64, 4), SubnetConfig(0.5, 48, 2)
CLASS_NAMES = tuple(f"class {number}" for number in range(NUM_CLASSES))
# Channels that differ, so that a mistake in their order shows.
HOW = Preprocessing(
    num_frames=4, sampling_rate=2, target_fps=24.0, scale=64, crop_size=64, mean=(0.3, 0.45, 0.6), std=(0.2, 0.25, 0.3)
)


def table_of(model: SlimmableNet, *configs: SubnetConfig, **context: object) -> QueryTable:
    """The more expensive the more accurate."""
    rows = []
    for number, config in enumerate(configs):
        operations, params = costs(model, config)
        rows.append(Row(config, operations / 1e9, params, 10.0 / (number + 1), 90.0 - number, 99.0))
    return QueryTable(tuple(rows), {"views": "1 x 1", **context})


def short(family: str) -> SlimmableNet:
    """Return a tiny network of one block a stage: the time of an export grows with the number of layers."""
    if family == "x3d":
        model = build_x3d(full_clip=FULL_CLIP, num_classes=NUM_CLASSES, width_factor=1.0, depth_factor=0.2, dim_c5=64)
    else:
        modules = (pytorchvideo.models.resnet, pytorchvideo.models.slowfast)
        depths = [resnet.STAGE_DEPTHS, *(module._MODEL_STAGE_DEPTH for module in modules)]
        with ExitStack() as stack:
            for stage_depths in depths:
                stack.enter_context(mock.patch.dict(stage_depths, {50: (1, 1, 1, 1)}))
            model = FAMILIES[family]()
    randomise(model)
    return model.eval()


def source_of(family: str, folder: Path, **preprocessing: object) -> CheckpointNetworks:
    """A tiny network of `family`, calibrated for `FULL` and `SMALL`; of its checkpoint there is the file alone."""
    path = folder / "calibrated.pyth"
    path.write_bytes(b"stands for the checkpoint")
    model = calibrated(short(family), FULL, SMALL)
    how = Preprocessing(**{**HOW.to_json(), **preprocessing})
    return CheckpointNetworks(str(path), model, how, CLASS_NAMES, table_of(model, FULL, SMALL))

"""Model file of complete weights, which predict without a training or a test."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from fvcore.common.config import CfgNode

from mutualnet3d.data.build_loaders import build_preprocessing
from mutualnet3d.data.build_split import read_class_names
from mutualnet3d.models import ModelFile, build_model, load_weights, write_model_file
from mutualnet3d.models.build import space_of
from mutualnet3d.runner.build_space import build_test_space
from mutualnet3d.runner.session import configured_memory_format

logger = logging.getLogger("mutualnet3d")


def write_model_of(cfg: CfgNode, weights: str, path: str) -> Sequence[str]:
    """Write the model file of some weights; return the names of the classes.

    Its one sub-network is the full one, with the statistics that the weights bring.

    Args:
        cfg: config of the weights: network, clips, classes.
        weights: path, address, or name of a network with published weights, see `load_weights`.
        path: path of the model file.

    Raises:
        FileNotFoundError, DownloadError, ValueError: see `load_weights`; the classifier has another number of classes
            than `MODEL.NUM_CLASSES`.
    """
    model = build_model(cfg)
    loaded = load_weights(model, weights, new_classifier=False)
    if not model.statistics:
        model.statistics.set(build_test_space(cfg).full, model.tracked_statistics())
    class_names = read_class_names(cfg, loaded.class_names)
    model_file = ModelFile.of(
        model,
        class_names=tuple(class_names),
        preprocessing=build_preprocessing(cfg).to_json(),
        space=space_of(cfg),
        channels_last=configured_memory_format(cfg) == torch.channels_last_3d,
        step=loaded.step,
        config=cfg.dump(),
    )
    write_model_file(path, model_file)
    logger.info("wrote %s: the full network, %d classes, %s", path, len(class_names), loaded)
    return class_names

"""Upgrade of trained models of the first releases, checkpoints that only the config of their run describes.

It is the only module of deployment that reads a config. A file of the present format describes itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mutualnet3d.config import parse_stored_cfg
from mutualnet3d.data.build_loaders import build_preprocessing
from mutualnet3d.log import logger
from mutualnet3d.models.build import recipe_of, space_of
from mutualnet3d.models.model_file import ModelFile, to_builtins, trained_network

MODEL_FILE_HINT = "give the calibrated.pyth that a test run wrote beside its query table"


def upgrade_model_file(content: Mapping[str, Any], path: str) -> ModelFile:
    """Return a model file from the content of a checkpoint that a test run of a first release wrote.

    Args:
        content: content of the checkpoint.
        path: path of the checkpoint, for messages.

    Raises:
        ValueError: there is no config, it is not YAML or has values out of range, or weights or names of classes are
            invalid.
    """
    text = content.get("cfg")
    if not isinstance(text, str):
        raise ValueError(f"{path}: no config in it; {MODEL_FILE_HINT}")
    cfg = parse_stored_cfg(text, f"{path}: its config")
    builder, arguments = recipe_of(cfg)
    class_names: Any = content.get("class_names")  # a `ModelFile` looks at its type
    if class_names is None:
        logger.warning("%s: has no names of classes (it is of an older release); their numbers are given", path)
        class_names = [str(number) for number in range(cfg.MODEL.NUM_CLASSES)]
    try:
        return ModelFile(
            network=trained_network(content),
            builder=builder,
            arguments=to_builtins(arguments),
            class_names=class_names,
            preprocessing=build_preprocessing(cfg).to_json(),
            space=to_builtins(space_of(cfg)),
            channels_last=bool(cfg.MODEL.CHANNELS_LAST),
            config=text,
            versions={},
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error

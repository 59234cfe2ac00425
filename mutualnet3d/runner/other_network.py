"""Explanation of weights of another network by the config keys that differ.

The names of parameters say little.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import yaml
from fvcore.common.config import CfgNode

from mutualnet3d.config.changes import NOT_THERE, changed_values
from mutualnet3d.files.torch_file import OtherNetwork
from mutualnet3d.models.weights import read_weights_file

# Sections of the config that describe the weights of a family, by MODEL.ARCH; of all others RESNET alone.
_SECTIONS = {"x3d": ("X3D.",), "slowfast": ("RESNET.", "SLOWFAST.")}
_WITHOUT_WEIGHTS = ("RESNET.ZERO_INIT_FINAL_BN",)


@contextmanager
def changes_named(cfg: CfgNode) -> Iterator[None]:
    """Add the config keys that differ to an error about the weights of another network, in the context.

    Args:
        cfg: config of the run.

    Raises:
        OtherNetwork: error of the block, with the keys first if the file holds a config.
    """
    try:
        yield
    except OtherNetwork as error:
        changes = network_changes(_stored_cfg(error.path), cfg)
        if not changes:
            raise
        raise OtherNetwork(error.path, f": {'; '.join(changes)} ({error.differences})") from error


def network_changes(stored: str, cfg: CfgNode) -> list[str]:
    """Return the values of a config that make another network than a stored config, as text.

    Args:
        stored: YAML of the stored config; "" for none.
        cfg: config of the run.
    """
    try:
        changed = changed_values(stored, cfg.dump()) if stored else {}
    except (yaml.YAMLError, AttributeError):  # no YAML, or no mapping: there is nothing to compare
        return []
    keys = ["MODEL.ARCH", "MODEL.NUM_CLASSES"]
    if "MODEL.ARCH" not in changed:
        sections = _SECTIONS.get(cfg.MODEL.ARCH, ("RESNET.",))
        keys += [key for key in changed if key.startswith(sections) and key not in _WITHOUT_WEIGHTS]
    return [
        f"{key} {changed[key][0]} in the checkpoint, {changed[key][1]} in the config"
        for key in keys
        if key in changed and NOT_THERE not in changed[key]
    ]


def _stored_cfg(path: str) -> str:
    """Return the config in a file of weights, YAML; "" for none."""
    content = read_weights_file(path)
    return next((text for text in (content.get("cfg"), content.get("config")) if isinstance(text, str)), "")

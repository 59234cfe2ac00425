"""Model files as the first release wrote them: a checkpoint that the config of its run describes."""

from __future__ import annotations

import yaml

from mutualnet3d.files.torch_file import CHECKPOINT, write_torch_file
from mutualnet3d.models import read_model_file


def write_as_first_release(path: str, text: str | None = None, class_names: object = None, **keys: object) -> str:
    """Write the model file at `path` anew as the first release did; return the config in it.

    Args:
        path: a model file of this release.
        text: config in the place of its own; "": none.
        class_names: names of the classes; None: none.
        keys: further keys of the config, "SECTION.KEY".
    """
    model_file = read_model_file(path)
    config = yaml.safe_load(model_file.config)
    for key, value in keys.items():
        section, _, name = key.partition(".")
        config.setdefault(section, {})[name] = value
    text = yaml.safe_dump(config) if text is None else text
    content = {
        "step": model_file.network.step,
        "model_state": model_file.network.weights,
        **model_file.network.statistics,
        "class_names": class_names,
        "cfg": text,
    }
    write_torch_file(path, CHECKPOINT, {name: value for name, value in content.items() if value not in (None, "")})
    return text

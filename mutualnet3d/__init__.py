"""mutualnet3d: one SlowFast, Slow or X3D that runs at many costs (MutualNet, Yang et al., TPAMI 2022)."""

import importlib
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mutualnet3d.config import load_cfg
    from mutualnet3d.deploy import Predictor
    from mutualnet3d.models import (
        create_model,
        list_models,
        load_weights,
        make_slimmable,
        multiply_adds,
        register_network,
        sort_channels,
    )
    from mutualnet3d.mutual import SubnetConfig, SubnetSpace
    from mutualnet3d.results.query_table import QueryTable
    from mutualnet3d.shapes import ClipShape

# pytorchvideo and fvcore script functions as they are imported; nothing here does, and no user can change it.
warnings.filterwarnings("ignore", message="`torch.jit.script.*` is deprecated", category=FutureWarning)

__version__ = "0.1.0"

__all__ = [
    "ClipShape",
    "Predictor",
    "QueryTable",
    "SubnetConfig",
    "SubnetSpace",
    "create_model",
    "list_models",
    "load_cfg",
    "load_weights",
    "make_slimmable",
    "multiply_adds",
    "register_network",
    "sort_channels",
]

# Torch and torchvision take seconds to load. The help of the command, the data commands, and every process that those
# start need neither. So names are fetched from their homes when they are first asked for (PEP 562).
_HOMES = {
    "ClipShape": "shapes",
    "Predictor": "deploy",
    "QueryTable": "results.query_table",
    "SubnetConfig": "mutual",
    "SubnetSpace": "mutual",
    "create_model": "models",
    "list_models": "models",
    "load_cfg": "config",
    "load_weights": "models",
    "make_slimmable": "models",
    "multiply_adds": "models",
    "register_network": "models",
    "sort_channels": "models",
}
_PARTS = (
    "cli",
    "config",
    "data",
    "demo",
    "deploy",
    "distributed",
    "engine",
    "files",
    "models",
    "mutual",
    "ops",
    "plots",
    "results",
    "runner",
    "serving",
    "sharing",
    "video",
)


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PARTS})

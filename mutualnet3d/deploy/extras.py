"""Libraries that only some users need."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any


def installed(module: str) -> bool:
    """Whether `module` could be imported; it is not imported."""
    return importlib.util.find_spec(module) is not None


def hint(module: str, extra: str) -> str:
    """What to do where `module` is missing."""
    return f"{module} is not installed: pip install 'mutualnet3d[{extra}]'"


def require(module: str, extra: str = "deploy") -> Any:
    """The module `module`, of the extra `extra`.

    Raises:
        ModuleNotFoundError: it is not installed; one line that says what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(hint(module.partition(".")[0], extra)) from error

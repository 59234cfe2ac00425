"""Libraries that only some users need."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

# OpenVINO (by being imported) and NNCF send usage statistics with this package, and make files in the home folder for
# it. Both work without it; NNCF_CI, the switch of its documentation, comes too late for the files.
_TELEMETRY = "openvino_telemetry"


def installed(module: str) -> bool:
    """Return True if `module` could be imported; it is not imported."""
    return importlib.util.find_spec(module) is not None


def versions_of(*packages: str) -> dict[str, str]:
    """Return the versions of those of `packages` that are installed; none of them is imported."""
    versions: dict[str, str] = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # or a checkout on the path
            continue
    return versions


def hint(module: str, extra: str) -> str:
    """Return a line for a user who lacks `module`, of the extra `extra`."""
    return f"{module} is not installed: pip install 'mutualnet3d[{extra}]'"


def require(module: str, extra: str = "deploy") -> Any:
    """Import `module`, of the extra `extra`, so that it sends nobody usage statistics; return it.

    Args:
        module: full name of the module.
        extra: name of the extra, as in `pip install mutualnet3d[deploy]`.

    Raises:
        ModuleNotFoundError: it is not installed; the message is `hint`.
    """
    try:
        with _without_telemetry():
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(hint(module.partition(".")[0], extra)) from error


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Make imports of `_TELEMETRY` fail inside the block, so that a library does without it."""
    was_loaded, telemetry = _TELEMETRY in sys.modules, sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]
        if was_loaded:
            sys.modules[_TELEMETRY] = telemetry  # type: ignore[assignment]

"""Requirement of a check: the error that names key, value and what is allowed."""

from __future__ import annotations

from typing import Any

from fvcore.common.config import CfgNode


def value_at(cfg: CfgNode, key: str) -> Any:
    """Return the value of a key with its sections, "SECTION.KEY"."""
    node: Any = cfg
    for part in key.split("."):
        node = node[part]
    return node


def require(cfg: CfgNode, key: str, holds: bool, allowed: str) -> None:
    """Refuse the value of a key.

    Args:
        cfg: config that is checked.
        key: key with its sections.
        holds: True if the value is allowed.
        allowed: noun phrase for the error.

    Raises:
        ValueError: the value is not allowed.
    """
    if not holds:
        raise ValueError(f"{key} is {value_at(cfg, key)!r}; it must be {allowed}")

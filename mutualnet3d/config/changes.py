"""Differences of configs: a hash and the changed keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

# Value of a key that a config does not have.
NOT_THERE = "not there"


def hash_of(dump: str) -> str:
    """Return 8 hexadecimal digits that stand for the values of a config, which `dump` has as YAML."""
    return hashlib.sha256(dump.encode("utf-8")).hexdigest()[:8]


def hash_without(dump: str, ignored: Sequence[str]) -> str:
    """Return 8 hexadecimal digits that stand for the values of a config.

    Args:
        dump: the config as YAML.
        ignored: beginnings of the keys that are left out.
    """
    values = [f"{key}: {value!r}" for key, value in sorted(_flat(yaml.safe_load(dump)))]
    return hash_of("\n".join(value for value in values if not value.startswith(tuple(ignored))))


def changed_values(then: str, now: str) -> dict[str, tuple[Any, Any]]:
    """Return the old and the new value of every key that differs between two configs.

    A config that lacks the key has "not there" for its value.

    Args:
        then: the first config as YAML.
        now: the second config as YAML.
    """
    before, after = dict(_flat(yaml.safe_load(then))), dict(_flat(yaml.safe_load(now)))
    values = {key: (before.get(key, NOT_THERE), after.get(key, NOT_THERE)) for key in sorted({*before, *after})}
    return {key: (old, new) for key, (old, new) in values.items() if old != new}


def changed_keys(then: str, now: str, ignored: Sequence[str] = ()) -> list[str]:
    """Return the differences between two configs, as `KEY: old -> new`.

    Args:
        then: the first config as YAML.
        now: the second config as YAML.
        ignored: beginnings of the keys that are left out.
    """
    return [
        f"{key}: {old!r} -> {new!r}"
        for key, (old, new) in changed_values(then, now).items()
        if not key.startswith(tuple(ignored))
    ]


def _flat(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

"""Differences of configs: a hash and the changed keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import yaml


def hash_of(dump: str) -> str:
    """Return 8 hexadecimal digits that stand for a config, given as YAML."""
    return hashlib.sha256(dump.encode("utf-8")).hexdigest()[:8]


def changed_keys(then: str, now: str, ignored: Sequence[str] = ()) -> list[str]:
    """Return the differences between two configs, given as YAML, as `KEY: old -> new`; without keys that begin like one
    of `ignored`."""
    before, after = dict(_flat(yaml.safe_load(then))), dict(_flat(yaml.safe_load(now)))
    return [
        f"{key}: {before.get(key, 'not there')!r} -> {after.get(key, 'not there')!r}"
        for key in sorted({*before, *after})
        if before.get(key, "not there") != after.get(key, "not there") and not key.startswith(tuple(ignored))
    ]


def _flat(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

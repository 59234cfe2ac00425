"""Reading of a YAML file and overrides to a frozen config."""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
from collections.abc import Sequence
from typing import Any

from fvcore.common.config import BASE_KEY, CfgNode
from iopath.common.file_io import g_pathmgr

from mutualnet3d.config import pyslowfast
from mutualnet3d.config.check import check_cfg, check_type
from mutualnet3d.config.defaults import default_cfg
from mutualnet3d.config.key_rules import RULES
from mutualnet3d.config.yaml_file import parse_yaml, read_yaml_with_base
from mutualnet3d.files.regular import check_regular

logger = logging.getLogger("mutualnet3d")

# configs/ is part of the package; a checkout has a link to it at its top.
CONFIG_ROOT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "configs")


def load_cfg(path: str, overrides: Sequence[Any] = ()) -> CfgNode:
    """Return the config of a YAML file, a delta over its `_BASE_` and over the defaults.

    PySlowFast's files load too: its keys that change nothing here are listed in one warning.

    Args:
        path: path of the file; or its name, or the end of its path, searched for under `configs/`.
        overrides: `KEY VALUE KEY VALUE ...`, applied last.

    Returns:
        Checked config, frozen.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a key that neither this project nor PySlowFast has, a key of PySlowFast's whose value asks for
            something that this project does not do, a value of another type than the default's or out of range,
            overrides that do not pair up.
    """
    file = find_cfg(path)
    values = read_yaml_with_base(file)
    cfg = default_cfg()
    return _finished(cfg, _merge(cfg, values, file), file, overrides)


def parse_stored_cfg(text: str, source: str, overrides: Sequence[Any] = ()) -> CfgNode:
    """Return the config that a file of this project stores, of whichever release: a YAML text without `_BASE_`.

    Keys that this release does not know are ignored, with one warning that lists them; keys that it misses have their
    defaults.

    Args:
        text: the YAML text.
        source: origin of the text, for messages.
        overrides: keys and values in turn, as `load_cfg` takes them; every key must exist.

    Raises:
        ValueError: an error of `load_cfg`; unknown keys of the text are none.
    """
    values = parse_yaml(text, source)
    cfg = default_cfg()
    unknown: list[str] = []
    without_effect = _merge(cfg, values, source, unknown=unknown)
    if unknown:
        logger.warning("%s: keys that this release does not know are ignored: %s", source, ", ".join(unknown))
    return _finished(cfg, without_effect, source, overrides)


def _finished(cfg: CfgNode, without_effect: list[str], source: str, overrides: Sequence[Any]) -> CfgNode:
    """Return `cfg` with `overrides` in it, checked and frozen; warn of PySlowFast's keys without effect."""
    check_pairs(overrides)
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        if not _has_key(cfg, str(key)) and pyslowfast.accept(str(key), value, "override"):
            without_effect.append(str(key))
        else:
            _check_key(cfg, str(key), "override")
            _set(cfg, str(key), value, "override")
    if without_effect:
        keys = ", ".join(dict.fromkeys(without_effect))
        logger.warning("%s: PySlowFast's keys without effect here: %s", source, keys)
    check_cfg(cfg)
    cfg.freeze()
    return cfg


def check_pairs(overrides: Sequence[Any]) -> None:
    """Refuse overrides that do not pair up.

    Args:
        overrides: keys and values in turn, as after a command's options.

    Raises:
        ValueError: their number is odd.
    """
    if len(overrides) % 2:
        raise ValueError(f"overrides are pairs KEY VALUE, got {len(overrides)} words: {' '.join(map(str, overrides))}")


def find_cfg(path: str) -> str:
    """Return the file that `path` means: itself, or the one of that name under `configs/`.

    Args:
        path: path of a YAML file, or its name under `configs/`.

    Raises:
        FileNotFoundError: neither exists.
        ValueError: several files under `configs/` have that name.
    """
    check_regular(path, "a config")
    if g_pathmgr.isfile(path):
        return path
    files = [os.path.join(folder, name) for folder, _, names in os.walk(CONFIG_ROOT) for name in names]
    matches = [file for file in files if file.endswith(f"{os.sep}{path}")]
    if len(matches) > 1:
        raise ValueError(f"--cfg {path}: several configs have that name: {', '.join(sorted(matches))}; give its path")
    if not matches:
        close = difflib.get_close_matches(os.path.basename(path), map(os.path.basename, files), n=3)
        question = f"; did you mean {' or '.join(close)}?" if close else ", whose names `mutualnet3d info` lists"
        raise FileNotFoundError(f"no config at {path}, and none of that name under {CONFIG_ROOT}{question}")
    return matches[0]


def _merge(
    cfg: CfgNode, values: dict[str, Any], source: str, prefix: str = "", unknown: list[str] | None = None
) -> list[str]:
    """Put `values` into `cfg`; return PySlowFast's keys without effect.

    Args:
        cfg: config to change.
        values: mapping from keys to values; sections are mappings.
        source: origin of the values, for errors.
        prefix: section of the values, with a dot at its end.
        unknown: list that unknown keys are added to; None: they are refused.
    """
    without_effect = []
    for key, value in values.items():
        full_key = f"{prefix}{key}"
        if full_key == BASE_KEY:
            continue
        if value == {} and _has_key(cfg, full_key) and not isinstance(_value_of(cfg, full_key), CfgNode):
            raise ValueError(f"{source}: {full_key} is {{}}; it must be a value, not a section")
        if isinstance(value, dict) and (_has_key(cfg, full_key) or pyslowfast.is_section(full_key)):
            without_effect += _merge(cfg, value, source, f"{full_key}.", unknown)
        elif not _has_key(cfg, full_key) and pyslowfast.accept(full_key, value, source):
            without_effect.append(full_key)
        elif unknown is not None and not _has_key(cfg, full_key):
            unknown.append(full_key)
        else:
            _check_key(cfg, full_key, source)
            _set(cfg, full_key, value, source)
    return without_effect


def _has_key(cfg: CfgNode, key: str) -> bool:
    node: Any = cfg
    for part in key.split("."):
        if not isinstance(node, CfgNode) or part not in node:
            return False
        node = node[part]
    return True


def _check_key(cfg: CfgNode, key: str, source: str) -> None:
    node: Any = cfg
    for part in key.split("."):
        if not isinstance(node, CfgNode) or part not in node:
            allowed = ", ".join(node) if isinstance(node, CfgNode) else "no keys below it"
            raise ValueError(f"{source}: unknown key {key}: {part!r} is none of: {allowed}")
        node = node[part]


def _set(cfg: CfgNode, key: str, value: Any, source: str) -> None:
    *path, leaf = key.split(".")
    node: Any = cfg
    for part in path:
        node = node[part]
    default: Any = node[leaf]
    if isinstance(default, CfgNode):
        raise ValueError(f"{source}: {key} is a section, not a key; it has: {', '.join(default)}")
    words = RULES[key].words
    if isinstance(value, str) and value.lower() in words:
        node[leaf] = value.lower()
        return
    if words and isinstance(default, str):
        # A word is no type to compare a value with.
        default = _value_of(default_cfg(), key)
        node[leaf] = default = RULES[key].kind() if isinstance(default, str) else default
    if isinstance(default, str) and isinstance(value, str):
        value = repr(value)  # a folder named 1 stays a string
    elif isinstance(default, float) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            value = float(value)  # YAML reads 5e-5 as a string and 8 as an integer
    try:
        # merge_from_list decodes strings ("[1, 2]", "True") and checks the type against the default's.
        cfg.merge_from_list([key, value])
    except (ValueError, AssertionError, TypeError, RecursionError, MemoryError, OverflowError) as error:
        # The last ones are Python's parser's, of a text of many brackets for instance.
        raise ValueError(f"{source}: {key}: {str(error) or type(error).__name__:.500}") from error
    try:
        check_type(key, _value_of(cfg, key), default)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _value_of(cfg: CfgNode, key: str) -> Any:
    value: Any = cfg
    for part in key.split("."):
        value = value[part]
    return value

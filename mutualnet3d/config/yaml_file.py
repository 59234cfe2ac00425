"""YAML of a config, with its chain of `_BASE_`; what is no config is refused with file and line."""

from __future__ import annotations

import os
from typing import Any

import yaml
from fvcore.common.config import BASE_KEY
from iopath.common.file_io import g_pathmgr

from mutualnet3d.files.regular import check_regular

_MOST_BYTES = 2**20
_MOST_NODES = 100_000  # after aliases are expanded


def read_yaml_with_base(path: str, chain: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the values of a file over those of its `_BASE_`, a path beside it or a list of paths.

    Args:
        path: the file.
        chain: files that have this one as their base.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no file, no mapping in YAML, or its own base; the message names the file.
    """
    place = path if "://" in path else os.path.realpath(path)
    if place in chain:
        raise ValueError(f"{chain[-1]}: {BASE_KEY} goes in a circle: {' -> '.join([*chain, place])}")
    check_regular(path, "a config")
    with g_pathmgr.open(path, "rb") as file:
        raw: bytes = file.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        raise ValueError(f"{path}: more than {_MOST_BYTES} bytes; a config must be smaller")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: not a YAML file: the text must be UTF-8 ({error.reason})") from error
    values = parse_yaml(text, path)
    base = values.pop(BASE_KEY, None)
    merged: dict[str, Any] = {}
    for name in [] if base is None else base if isinstance(base, list) else [base]:
        if not isinstance(name, str) or not name or "\0" in name:
            raise ValueError(f"{path}: {BASE_KEY} is {name!r:.60}; it must be the path of a file")
        name = os.path.expanduser(name)
        full = name if "://" in name else os.path.join(os.path.dirname(path), name)
        if "://" not in full and not os.path.lexists(full):
            raise FileNotFoundError(f"{path}: no file at {full}, which {BASE_KEY} names")
        _merge(read_yaml_with_base(full, (*chain, place)), merged, path)
    _merge(values, merged, path)
    return merged


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds.

    Args:
        text: text of the file.
        source: name of the file, for the error.

    Raises:
        ValueError: the text is not YAML, has tags of other types, a key twice, or too many values, or is no mapping;
            the message names the source and, where there is one, the line.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _check_node(node, source, {}, ())
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ValueError(f"{source}{line}: not a YAML file: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{source}: not a YAML file: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ValueError(f"{source}: not a YAML file: its values are nested too deep") from error
    except (ValueError, OverflowError) as error:
        if str(error).startswith(f"{source}:"):
            raise
        raise ValueError(f"{source}: a value cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{source}: expected keys and values, got {text[:50]!r}")
    return values


def _check_node(node: yaml.Node, source: str, sizes: dict[int, int], above: tuple[int, ...]) -> int:
    """Return the number of values below a node, with aliases expanded; refuse circles, too many, and a key twice."""
    line = node.start_mark.line + 1
    if id(node) in above:
        raise ValueError(f"{source}:{line}: not a YAML file: an alias inside of what it names")
    if id(node) in sizes:
        return sizes[id(node)]
    size, above = 1, (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in keys and key.value != "<<":
                raise ValueError(f"{source}:{key.start_mark.line + 1}: the key {key.value!r:.60} is there twice")
            keys.add(key.value if isinstance(key, yaml.ScalarNode) else "")
            size += _check_node(key, source, sizes, above) + _check_node(value, source, sizes, above)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_check_node(value, source, sizes, above) for value in node.value)
    if size > _MOST_NODES:
        raise ValueError(f"{source}:{line}: not a config: more than {_MOST_NODES} values")
    sizes[id(node)] = size
    return size


def _merge(values: dict[str, Any], into: dict[str, Any], path: str) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and key in into:
            if not isinstance(into[key], dict):
                raise ValueError(f"{path}: {key} is a section here and a value in {BASE_KEY}; it must be the same")
            _merge(value, into[key], path)
        else:
            into[key] = value

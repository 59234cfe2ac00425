"""Values that torch.load gave, looked at before anything walks through or prints them.

Few bytes of a pickle may be a list that has the same list twice, which has the same list twice, and so on, or a tensor
that shows one number billions of times.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch

# Values in a file, those in shared containers counted as often as they are reached. A checkpoint has some thousands,
# and a few for every bad video.
MAX_VALUES = 4_000_000

# Containers in each other. Files of this project have six.
MAX_DEPTH = 50


def check_values(content: Any, num_bytes: int) -> None:
    """Refuse values that unfold into more than their file could hold.

    Args:
        content: the values.
        num_bytes: size of the file.

    Raises:
        ValueError: there are too many values, or too deep ones; a tensor that shows more bytes than the file has, or is
            none of numbers in memory.
    """
    _measure(content, num_bytes, {}, depth=1)


def _measure(value: Any, num_bytes: int, measured: dict[int, int | None], depth: int) -> int:
    """Return the number of values that a value unfolds into; see `check_values`.

    Args:
        value: the value.
        num_bytes: size of the file.
        measured: result for each container by its id; None: it is being measured.
        depth: containers around the value.
    """
    if isinstance(value, torch.Tensor):
        _check_tensor(value, num_bytes)
        return 1
    if not isinstance(value, Mapping | list | tuple | set | frozenset):
        return 1
    if depth > MAX_DEPTH:
        raise ValueError(f"it has more than {MAX_DEPTH} containers in each other")
    if id(value) in measured:
        num_values = measured[id(value)]
        if num_values is None:
            raise ValueError("it has a container that is in itself")
        return num_values
    measured[id(value)] = None
    num_values = 1
    parts = itertools.chain(value.keys(), value.values()) if isinstance(value, Mapping) else value
    for part in parts:
        num_values += 1 if type(part) in _PLAIN else _measure(part, num_bytes, measured, depth + 1)
    if num_values > MAX_VALUES:
        raise ValueError(f"it unfolds into more than {MAX_VALUES} values")
    measured[id(value)] = num_values
    return num_values


_PLAIN = frozenset((int, float, str, bool, type(None)))


def _check_tensor(tensor: torch.Tensor, num_bytes: int) -> None:
    if tensor.is_meta or tensor.layout != torch.strided:
        raise ValueError(f"it has a tensor of {tuple(tensor.shape)} without its numbers in memory")
    if tensor.numel() * tensor.element_size() > num_bytes:
        raise ValueError(f"it has a tensor of {tuple(tensor.shape)}, which is more than the file has bytes for")

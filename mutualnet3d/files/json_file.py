"""JSON files from other people, read strictly: what is not JSON by its standard is an error with the file's name."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mutualnet3d.files.regular import read_bounded

# Tables and descriptions have a megabyte at most; Python's values take some twenty times the text.
MAX_BYTES = 16 << 20


def read_json(path: str, kind: str) -> Any:
    """Return the content of a JSON file.

    Args:
        path: the file.
        kind: name for errors, "a query table" for instance.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no file, larger than `MAX_BYTES`, not JSON in UTF-8, or has lists in lists without end, NaN,
            numbers that no float holds, a key twice, or half of a character.
    """
    content = read_bounded(path, kind, MAX_BYTES)
    try:
        text = content.decode("utf-8")
        values = json.loads(text, object_pairs_hook=_object, parse_float=_finite, parse_constant=_no_constant)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(values, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:  # UnicodeError too
        raise ValueError(f"{path}: not a JSON file: {error}") from error
    return values


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = Counter(keys).most_common(1)[0][0]
        raise ValueError(f"an object has the key {twice!r:.60} twice")
    return values


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.40} is beyond what a float holds")
    return number


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")

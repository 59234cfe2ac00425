"""Text files: reading with errors that name the line, paths in them, quotes, names that look alike."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterable
from typing import Any

from iopath.common.file_io import g_pathmgr

QUOTED = r'"(?:[^"]|"")*"'  # a text in double quotes, a quote inside it doubled


def read_text(path: str) -> str:
    """Return the text of a file, without the mark that some editors put first.

    Raises:
        ValueError: it is not UTF-8; the message names the line.
    """
    with g_pathmgr.open(path, "rb") as file:
        raw: bytes = file.read()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}:{line}: the text must be UTF-8, got the byte 0x{raw[error.start]:02x} ({error.reason})"
        ) from error


def parse_json(path: str, text: str, object_pairs_hook: Callable[[list[Any]], Any] | None = None) -> Any:
    """Return `text`, the content of `path`, read as JSON.

    Raises:
        ValueError: it is not JSON; the message names file and line.
    """
    try:
        return json.loads(text, object_pairs_hook=object_pairs_hook)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: the file must be JSON: {error.msg}") from error


def full_path(base: str, path: str) -> str:
    """Return `path`, in the folder `base` if it is relative; a path with a scheme (s3://...) is not."""
    return path if "://" in path and re.match(r"[A-Za-z][\w+.-]*://", path) else os.path.join(base, path)


def unquoted(text: str) -> str:
    """Return `text` without space around it and without double quotes, if it has them."""
    text = text.strip()
    return text[1:-1].replace('""', '"') if text[:1] == '"' and re.fullmatch(QUOTED, text) else text


def close_names(names: Iterable[str], *texts: str) -> str:
    """Return the end of a message: at most 3 of `names` that look like one of `texts`; "" if none does."""
    choices = list(names)
    guesses = [(text, difflib.get_close_matches(text, choices, n=3)) for text in texts]
    likeness = [difflib.SequenceMatcher(None, text, close[0]).ratio() if close else 0.0 for text, close in guesses]
    best = guesses[likeness.index(max(likeness))][1]
    return f"; close to it: {', '.join(map(repr, best))}" if best else ""

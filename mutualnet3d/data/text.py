"""Text files: reading with errors that name the line, paths in them, quotes, names that look alike."""

from __future__ import annotations

import codecs
import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from iopath.common.file_io import g_pathmgr

from mutualnet3d.files.regular import check_regular

QUOTED = r'"(?:[^"]|"")*"'  # a text in double quotes, a quote inside it doubled
_PART = 1 << 20  # bytes that are decoded at once
_LONGEST_LINE = 1 << 13  # characters; a path has at most 4,096, and the ways to read a line grow with its square


def shortened(text: str, most: int = 120) -> str:
    """Return a text of a file for a message: the `repr` of at most its first `most` characters."""
    return repr(text) if len(text) <= most else f"{text[:most]!r}... ({len(text)} characters)"


def read_text(path: str) -> str:
    """Return the text of a file, without the mark that some editors put first.

    Args:
        path: path of the file.

    Raises:
        ValueError: it is no file, or not UTF-8, or has a NUL byte; the message names the line.
    """
    return "\n".join(read_lines(path))


def read_lines(path: str) -> Iterator[str]:
    """Yield the lines of a file, split at line feeds alone, without the mark that some editors put first.

    str.splitlines also splits at characters that names of files may have.

    Args:
        path: path of the file.

    Raises:
        ValueError: see `read_text`; before the first line, wherever the fault is.
    """
    check_regular(path, "a text")
    with g_pathmgr.open(path, "rb") as file:
        raw: bytes = file.read()
    raw = raw.removeprefix(codecs.BOM_UTF8)
    parts = list(_parts(raw))
    for start, stop in parts:
        try:
            raw[start:stop].decode()
        except UnicodeDecodeError as error:
            place = start + error.start
            utf_16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            raise ValueError(
                f"{path}:{_line_at(raw, place)}: the text must be UTF-8, got the byte 0x{raw[place]:02x} "
                f"({error.reason})" + ("; it looks like UTF-16" if utf_16 else "")
            ) from error
    nul = raw.find(b"\0")
    if nul >= 0:
        raise ValueError(
            f"{path}:{_line_at(raw, nul)}: the text must be UTF-8 without NUL bytes; UTF-16 has many of them"
        )
    return (line for start, stop in parts for line in raw[start:stop].decode().split("\n"))


def _line_at(raw: bytes, place: int) -> int:
    return raw.count(b"\n", 0, place) + 1


def _parts(raw: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of parts of whole lines, without the line feeds between them.

    All decoded at once, a text would take up to 4 bytes for each of its own.
    """
    start = 0
    while (stop := raw.find(b"\n", start + _PART)) >= 0:
        yield start, stop
        start = stop + 1
    yield start, len(raw)


def check_line(path: str, number: int, line: str) -> None:
    """Refuse a line that is longer than any path and name together can be.

    Args:
        path: path of the file, for the error.
        number: number of the line, from 1, for the error.
        line: text of the line.

    Raises:
        ValueError: it is; the message names file and line.
    """
    if len(line) > _LONGEST_LINE:
        raise ValueError(
            f"{path}:{number}: a line may have {_LONGEST_LINE} characters, this one has {len(line)}; it begins with "
            f"{line[:40]!r}"
        )


def bounded_int(digits: str) -> int:
    """Return the number that decimal digits stand for; 10**18 for any larger: Python refuses to read the longest."""
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= 18 else 10**18


def parse_json(path: str, text: str, object_pairs_hook: Callable[[list[Any]], Any] | None = None) -> Any:
    """Return `text`, the content of `path`, read as JSON.

    Args:
        path: path of the file, for the error.
        text: content of the file.
        object_pairs_hook: see `json.loads`.

    Raises:
        ValueError: it is not JSON; the message names file and line.
    """
    try:
        return json.loads(text, object_pairs_hook=object_pairs_hook, parse_int=_json_int)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: the file must be JSON: {error.msg}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: the file must be JSON of few levels; it is nested too deep to be read") from error


def _json_int(digits: str) -> int:
    return -bounded_int(digits[1:]) if digits.startswith("-") else bounded_int(digits)


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

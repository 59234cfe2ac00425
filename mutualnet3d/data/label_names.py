"""Names of classes: files that map them to ids."""

from __future__ import annotations

import os
import re
from typing import Any

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.text import bounded_int, check_line, parse_json, read_text, unquoted
from mutualnet3d.files.regular import check_regular


def read_label_names(label_file: str) -> dict[str, int]:
    """Return the names of classes and their ids.

    JSON: an object {name: id} or {id: name}, or a list of names in the order of their ids. Text, in UTF-8: one name a
    line in the order of their ids, or `id,name`, `id name`, `name,id` or `name id` on every line, with a header or not.
    Quotes around names are dropped; pytorchvideo's JSON files have them.

    Args:
        label_file: path of the file, JSON or text.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no names, a name twice, or ids other than 0, 1, 2 and so on; the message names file and value.
    """
    check_regular(label_file, "a file of label names")
    if not g_pathmgr.isfile(label_file):
        raise FileNotFoundError(f"no file of label names at {label_file}; expected JSON or text with one name a line")
    text = read_text(label_file)
    if label_file.lower().endswith(".json") or text.lstrip().startswith(("{", "[")):
        pairs = _names_of_json(label_file, parse_json(label_file, text, object_pairs_hook=tuple))
    else:
        lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)]
        for number, line in lines:
            check_line(label_file, number, line)
        pairs = _names_of_text([line for _, line in lines if line])
    if not pairs:
        raise ValueError(f"{label_file}: no label names; expected JSON or text with one name a line")
    names: dict[str, int] = {}
    owners: dict[int, str] = {}
    for raw, number in pairs:
        name = unquoted(raw)
        if not name.isprintable() and any(0xD800 <= ord(character) <= 0xDFFF for character in name):
            raise ValueError(f"{label_file}: names must be text, got {name!r} for the id {number}, half a character")
        if not name or name in names:
            raise ValueError(f"{label_file}: names must differ and not be empty, got {name!r} for the id {number}")
        if number in owners or not 0 <= number < len(pairs):
            owner = f", which {owners[number]!r} has" if number in owners else ""
            if sorted(number for _, number in pairs) == list(range(1, len(pairs) + 1)):
                owner = "; these count from 1, as UCF-101's classInd.txt does: `mutualnet3d make-lists ucf101` reads it"
            raise ValueError(
                f"{label_file}: ids of {len(pairs)} names must be 0 to {len(pairs) - 1}, each once; "
                f"got {number} for {name!r}{owner}"
            )
        names[name], owners[number] = number, name
    return names


def label_file_beside(list_path: str) -> str:
    """Return the file of class names in a list's folder, classes.json or labels.json; "" if there is none.

    The commands that write demo data and lists give it these names.
    """
    paths = [os.path.join(os.path.dirname(list_path), name) for name in ("classes.json", "labels.json")]
    return next(filter(g_pathmgr.isfile, paths), "")


def _names_of_json(label_file: str, data: Any) -> list[tuple[str, int]]:
    """Return pairs of name and id; `data` has a tuple of pairs for an object, which keeps a name that occurs twice."""
    if isinstance(data, list):
        for name in data:
            if not isinstance(name, str):
                raise ValueError(f"{label_file}: a list must hold names, got {name!r}")
        return [(name, number) for number, name in enumerate(data)]
    if not isinstance(data, tuple):
        raise ValueError(f"{label_file}: expected an object of names and ids or a list of names, got {data!r}")
    if data and all(
        _as_id(key) is not None and isinstance(value, str) and _as_id(value) is None for key, value in data
    ):
        return [(value, number) for key, value in data if (number := _as_id(key)) is not None]
    pairs = []
    for name, value in data:
        number = _as_id(value)
        if number is None:
            raise ValueError(f"{label_file}: the id of {name!r} must be an integer, got {value!r}")
        pairs.append((name, number))
    return pairs


def _as_id(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"-?\d+", value.strip()):
        digits = value.strip()
        return -bounded_int(digits[1:]) if digits.startswith("-") else bounded_int(digits)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _names_of_text(lines: list[str]) -> list[tuple[str, int]]:
    """Return pairs of name and id; ids are written on a side where all lines, or all but a header, have a number."""
    id_first, id_last = r'"?(?P<id>\d+)"?\s*[,;\s]\s*(?P<name>.+)', r'(?P<name>.+?)\s*[,;\s]\s*"?(?P<id>\d+)"?'
    numbered = []
    for body in (lines, lines[1:]):
        for form in (id_first, id_last):
            matches = [re.fullmatch(form, line) for line in body]
            pairs = [(match["name"], bounded_int(match["id"])) for match in matches if match]
            if pairs and len(pairs) == len(body):
                if sorted(number for _, number in pairs) == list(range(len(pairs))):
                    return pairs
                if body is lines:
                    numbered.append(pairs)
    return numbered[0] if numbered else [(name, number) for number, name in enumerate(lines)]

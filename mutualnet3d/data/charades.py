"""Lists made from Charades' official CSV files, whose videos have several actions each."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.list_labels import LabelSets
from mutualnet3d.data.make_lists import SplitCount
from mutualnet3d.data.official_splits import Entry, write_entries
from mutualnet3d.data.text import read_text

NUM_CLASSES = 157
_COLUMNS = ("id", "actions")


def lists_of_charades(csv_paths: Mapping[str, str], videos: str, output: str, classes: str = "") -> list[SplitCount]:
    """Write lists of Charades, lines `path 3,17,22` with all actions of a video, `path -` for one without any.

    Args:
        csv_paths: split (train, val, test) -> its CSV file, Charades_v1_train.csv or Charades_v1_test.csv; "" for none.
        videos: folder of the videos, ID.mp4.
        output: folder of the lists.
        classes: Charades_v1_classes.txt; "": classes are named by their numbers.

    Returns:
        The counts of the splits.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a malformed line, or no video found; the message names file and line.
    """
    names = _class_names(classes) if classes else {str(number): number for number in range(NUM_CLASSES)}
    entries = [entry for split, path in csv_paths.items() if path for entry in _entries(split, path)]
    return write_entries(entries, names, videos, output)


def _entries(split: str, path: str) -> Iterator[Entry]:
    if not g_pathmgr.isfile(path):
        raise FileNotFoundError(f"no file at {path}; expected Charades_v1_train.csv or Charades_v1_test.csv")
    rows = csv.DictReader(read_text(path).splitlines())
    if not set(_COLUMNS) <= set(rows.fieldnames or ()):
        raise ValueError(f"{path}:1: expected the columns of Charades, {', '.join(_COLUMNS)} among them")
    for row in rows:
        place = f"{path}:{rows.line_num}"
        if not row["id"]:
            raise ValueError(f"{place}: a video without an id")
        label_sets = LabelSets(NUM_CLASSES)
        label_sets.number_of(_class_of(action, place) for action in (row["actions"] or "").split(";") if action.strip())
        yield Entry(split, f"{row['id']}.mp4", label_sets.texts()[0], place)


def _class_of(action: str, place: str) -> int:
    """Return the class of an action, `c092 11.90 21.20`: class, start and end in seconds."""
    match = re.fullmatch(r"c(\d{3})( \S+ \S+)?", action.strip())
    if match is None or int(match[1]) >= NUM_CLASSES:
        raise ValueError(
            f"{place}: expected actions such as `c092 11.90 21.20`, of the classes c000 to c{NUM_CLASSES - 1}, got "
            f"{action[:80]!r}"
        )
    return int(match[1])


def _class_names(path: str) -> dict[str, int]:
    """Return the names of Charades_v1_classes.txt, whose lines are `c000 Holding some clothes`."""
    if not g_pathmgr.isfile(path):
        raise FileNotFoundError(f"no file at {path}; expected Charades_v1_classes.txt")
    names: dict[str, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"c(\d{3}) (.+)", line.strip())
        if match is None or int(match[1]) != len(names) or match[2] in names:
            raise ValueError(f"{path}:{number}: expected `c{len(names):03d} NAME`, got {line[:80]!r}")
        names[match[2]] = len(names)
    return names

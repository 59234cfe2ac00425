"""Files that people take for lists, told by their names and first lines, and the command that reads each.

No file is opened here: readers of lists ask with the lines that they have, before they take the file for a list whose
paths and labels are then wrong, or name a value that says nothing about the cause.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence

from mutualnet3d.data.kinetics_csv import KINETICS_COLUMNS

# Headers of the CSV files that commands and runs of this project write beside lists.
MISSING_CSV, FAILED_CSV = "missing.csv", "failed.csv"
_REPORTS = {
    ("listed_at", "path"): "make-lists' list of missing videos",
    ("path", "reason"): "prepare-videos' list of what failed",
    ("path", "status", "reason"): "a report of check-videos",
    ("path", "status", "reason", "note", "listed_at"): "a report of check-videos",
    ("split", "path", "reason", "listed_at", "position"): "a run's list of bad videos",
    ("path", "size", "mtime_ns", "short_side", "keyframe_every", "crf", "preset"): "prepare-videos' record",
    ("path", "size", "mtime_ns", "short_side", "keyframe_every", "crf", "preset", "damages"): "prepare-videos' record",
}
NUM_LINES = 4  # lines with text at the start of a file, by which it is told
_KINETICS = "`mutualnet3d make-lists kinetics {} --videos FOLDER --output FOLDER` makes lists of it"


def report_kind(name: str, first_line: str) -> str:
    """Return words for a file that this project wrote beside lists and that is none; "" for any other file.

    Args:
        name: path or name of the file.
        first_line: its first line.
    """
    header = tuple(_fields(first_line, ","))
    if os.path.basename(name) == MISSING_CSV and set(KINETICS_COLUMNS) <= set(header):
        return "make-lists' list of missing videos"
    return _REPORTS.get(header, "")


def other_kind(name: str, lines: Sequence[str]) -> str:
    """Return words for a file that people take for a list, and the command that reads it; "" if it may be a list.

    Args:
        name: path of the file.
        lines: its first lines with text, `NUM_LINES` or all, without the space around them.
    """
    if not lines:
        return ""
    report = report_kind(name, lines[0])
    if report:
        return f"this is {report}, not a list of videos"
    header = _fields(lines[0], ",")
    if {"youtube_id", "time_start"} <= set(header):
        return f"this is an official CSV file of Kinetics, not a list of videos; {_KINETICS.format(name)}"
    if re.fullmatch(r".*_test_split\d\.txt", os.path.basename(name)):
        return "this is a split file of HMDB-51; `mutualnet3d make-lists hmdb51` makes lists of all of them"
    return _pandas(lines)


def no_label_hint(line: str) -> str:
    """Return the end of a message about a line without a label: the kind that the file may be of; "" for no guess."""
    if re.fullmatch(r"\S+/v_\w+_g\d+_c\d+\.avi", line):
        return "; a list of UCF-101's official test split has no labels: `mutualnet3d make-lists ucf101` reads it"
    return ""


def large_label_hint(line: str, label: int, num_classes: int) -> str:
    """Return the end of a message about a label that is no class: its probable cause; "" for no guess."""
    if label != num_classes:
        return ""
    if re.match(r"\S+/v_\w+_g\d+_c\d+\.avi\s", line):
        return "; UCF-101's official lists count classes from 1: `mutualnet3d make-lists ucf101` reads them"
    return "; a list that counts its classes from 1 must be written anew from 0"


def raw_frames_path(line: str, separator: str) -> str:
    """Return the path of a line `path frames label`, as MMAction2's lists of raw frames have them; "" if it is none."""
    match = re.fullmatch(r"(\S+) \d+ \d+", line) if separator == " " else None
    return match[1] if match else ""


def _pandas(lines: Sequence[str]) -> str:
    """Return the error of a table that has its rows' numbers as its first column; "" if it has not."""
    for separator in ",;\t":
        rows = [_fields(line, separator) for line in lines]
        first = [row[0] for row in rows]
        if len(rows[0]) > 2 and re.fullmatch(r"|index|Unnamed: ?0", first[0]) and first[1:] == _numbers(len(rows) - 1):
            break
        if len(rows) > 1 and all(len(row) == 3 for row in rows) and first == _numbers(len(rows)):
            break
    else:
        return ""
    return (
        "the first column has the numbers of the lines, as pandas writes them; a list has lines `path label`: write it "
        "with to_csv(..., index=False, header=False)"
    )


def _numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def _fields(line: str, separator: str) -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:
        return [line]

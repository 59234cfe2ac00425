"""Kinetics-style lists: a line `path label` for each video, read and written."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.label_names import read_label_names
from mutualnet3d.data.list_kinds import (
    NUM_LINES,
    large_label_hint,
    no_label_hint,
    other_kind,
    raw_frames_path,
    report_kind,
)
from mutualnet3d.data.list_labels import LabelSets, ListLabels
from mutualnet3d.data.text import (
    QUOTED,
    check_line,
    close_names,
    full_path,
    read_lines,
    shortened,
    unquoted,
)
from mutualnet3d.data.video_list import Video as Video
from mutualnet3d.data.video_list import VideoList, VideoPacker
from mutualnet3d.files.atomic import write_text
from mutualnet3d.files.regular import check_regular
from mutualnet3d.log import logger
from mutualnet3d.video.paths import is_folder, video_exists

SEPARATORS = (",", " ", "\t", ";")
_CHUNK = 4096  # videos that are packed at once
_HEADER_WORDS = {"label", "labels", "class", "class_id", "label_id", "category"}


def read_kinetics_list(
    list_path: str,
    num_classes: int,
    path_prefix: str = "",
    separator: str = " ",
    label_file: str = "",
    skip_rows: int = 0,
    label_sets: LabelSets | None = None,
) -> VideoList:
    """Read a Kinetics-style list: a line `path label` for each video; empty lines and a header are skipped.

    The label is the text after the last separator, so that paths may have spaces. A path or a label may stand in
    "double quotes", a quote inside them doubled, as in CSV files. Where the first line cannot be read with `separator`,
    comma, space, tab and semicolon are tried, and the one that fits the first line is the separator of all.

    Args:
        list_path: the list, in UTF-8; any path that iopath can open.
        num_classes: number of classes; labels are 0 to num_classes - 1.
        path_prefix: folder of relative paths; default: the list's own. Paths such as s3://... are kept.
        separator: text between path and label, a character or more.
        label_file: names of the classes, a file for `read_label_names`: labels may then be names, with spaces or not;
            default: labels are numbers.
        skip_rows: number of lines to leave out at the start, 0 or more.
        label_sets: sets for lines with several labels, `path 3,17,22`, or none, `path -`; they are added to it, and a
            video's label is the number of its set. None: each line has one label.

    Raises:
        FileNotFoundError: there is no such list or label file.
        ValueError: a line without a label, a label that is no class, or no line at all; the message names file, line
            and value.
    """
    if not separator or skip_rows < 0:
        raise ValueError(
            f"{list_path}: separator must be a character or more, skip_rows 0 or more; got {separator!r}, {skip_rows}"
        )
    check_regular(list_path, "a list of videos")
    if not g_pathmgr.isfile(list_path):
        raise FileNotFoundError(
            f"no list of videos at {list_path}; expected a text file with a line `{_form(separator)}` for each video"
        )
    labels = ListLabels(label_file, read_label_names(label_file) if label_file else {}, label_sets)
    lines = _lines_with_text(list_path, skip_rows)
    start = list(islice(lines, NUM_LINES))
    _refuse_other_kinds(list_path, start)
    lines = chain(start, lines)
    first_number, first_line = next(lines, (0, ""))
    if first_line and _is_header(first_line, separator, labels):
        first_number, first_line = next(lines, (0, ""))
    if not first_line:
        raise ValueError(f"{list_path}: the list is empty; expected a line `{_form(separator)}` for each video")
    separator = _fitting_separator(first_line, separator, labels)
    parser = _LineParser(list_path, separator, labels, num_classes, first_number)
    folder = os.path.join(path_prefix or os.path.dirname(list_path), "")
    _refuse_raw_frames(f"{list_path}:{first_number}", first_line, separator, folder)
    # Where paths are absolute, they begin elsewhere.
    is_relative = full_path(folder, first_line).startswith(folder)
    packer, hashes = VideoPacker(folder if is_relative else "", f"{list_path}:"), array("q")
    lines = chain([(first_number, first_line)], lines)
    while chunk := list(islice(lines, _CHUNK)):
        paths, classes, places = parser.parse(chunk, folder)
        packer.add(paths, classes, places, [""] * len(paths))
        hashes.extend(map(hash, paths))
    _warn_of_duplicates(list_path, np.frombuffer(hashes, np.int64))
    return packer.finish()


def _lines_with_text(list_path: str, skip_rows: int) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that are not empty, without the space around them."""
    for number, line in enumerate(islice(read_lines(list_path), skip_rows, None), start=skip_rows + 1):
        if line := line.strip():
            check_line(list_path, number, line)
            yield number, line


def without_reports(paths: Sequence[str]) -> list[str]:
    """Return the lists among `paths`, without the files that this project writes beside them.

    A pattern such as `data/*.csv` names those too. The log has what was passed over.

    Args:
        paths: paths of lists and of files beside them.

    Raises:
        ValueError: no list is left; a file is no text.
    """
    lists = []
    for path in paths:
        first = next(read_lines(path), "") if g_pathmgr.isfile(path) else ""
        kind = report_kind(path, first.strip())
        if kind:
            logger.info("%s is passed over: %s", path, kind)
        else:
            lists.append(path)
    if paths and not lists:
        raise ValueError(f"none of {', '.join(paths)} is a list of videos")
    return lists


def _refuse_other_kinds(list_path: str, start: list[tuple[int, str]]) -> None:
    kind = other_kind(list_path, [line for _, line in start])
    if kind:
        raise ValueError(f"{list_path}:{start[0][0]}: {kind}, got {start[0][1][:80]!r}")


def _refuse_raw_frames(listed_at: str, line: str, separator: str, folder: str) -> None:
    """Refuse MMAction2's `path frames label`: read as `path label`, with a space in its path, it would be missing."""
    path = raw_frames_path(line, separator)
    if path and is_folder(full_path(folder, path)) and not video_exists(full_path(folder, line.rpartition(" ")[0])):
        raise ValueError(
            f"{listed_at}: this is a line `path frames label` of MMAction2's lists of raw frames; "
            f"`mutualnet3d make-lists mmaction2` makes lists of them, got {line!r}"
        )


def write_list(path: str, entries: Iterable[tuple[str, int | str]]) -> None:
    """Write lines `path label`, or `path 3,17`; a path that a reader could take apart in another way stands in quotes.

    Args:
        path: path of the list.
        entries: path of each video, and its class or its classes, "3,17".

    Raises:
        ValueError: a path has a line break or is not UTF-8; no list can hold it.
    """
    write_text(path, "".join(_line(video, label) for video, label in entries))


def path_in_list(path: str, folder: str) -> str:
    """Return a video's path for a list in `folder`: relative if it lies below, so that both can move; else absolute."""
    if "://" in path:
        return path
    path, below = os.path.abspath(path), os.path.join(os.path.abspath(folder), "")
    return path[len(below) :] if path.startswith(below) else path


def _line(path: str, label: int | str) -> str:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{path!r}: a list is UTF-8, and this name is not; rename the file") from None
    if "\n" in path:
        raise ValueError(f"{path!r}: no list can hold a name with a line break; rename the file")
    if any(character.isspace() or character in ',;"' for character in path):
        path = '"' + path.replace('"', '""') + '"'
    return f"{path} {label}\n"


def _readings(line: str, separator: str) -> Iterator[tuple[str, str]]:
    """Yield each way to read a line as path and label, the one with the shortest label first."""
    if line.startswith('"'):
        quoted = re.match(QUOTED, line)
        if quoted:
            before, separated, label = line[quoted.end() :].partition(separator)
            path = unquoted(quoted[0])
            if separated and path and label.strip() and not before.strip():
                yield path, unquoted(label)
        return
    start = line.rfind(separator)
    if line.endswith('"'):
        quoted = re.search(rf"{re.escape(separator)}\s*{QUOTED}$", line)
        start = quoted.start() if quoted else -1
    while start > 0:
        path, label = line[:start].rstrip(), line[start + len(separator) :].strip()
        # `one.mp4, 1` is not the path `one.mp4,`: its separator is the comma.
        if path and label and path[-1] not in ",;":
            yield path, unquoted(label)
        start = line.rfind(separator, 0, start)


def _parse_line(line: str, separator: str, labels: ListLabels) -> tuple[str, int] | None:
    """Return path and class of a line, None if it has none.

    Of several names that its end could be, the longest is meant: 'air drumming', not 'drumming'.
    """
    pair = None
    for path, label in _readings(line, separator):
        number = labels.id_of(label)
        if number is not None:
            pair = path, number
        if not labels.names:
            break
    return pair


@dataclass
class _LineParser:
    """Parser of a list's lines, all with one separator.

    Args:
        list_path: the list, for errors.
        separator: text between path and label.
        labels: labels of the list.
        num_classes: number of classes.
        first_number: number of the line that chose the separator, for errors.
    """

    list_path: str
    separator: str
    labels: ListLabels
    num_classes: int
    first_number: int

    def __post_init__(self) -> None:
        # Classes by the texts of plain labels that have been met.
        self._class_of: dict[str, int] = {}

    def parse(self, lines: Iterable[tuple[int, str]], folder: str) -> tuple[list[str], list[int], list[str]]:
        """Return the paths, classes and places of videos.

        Args:
            lines: number and text of each.
            folder: folder of relative paths, with the separator at its end; "": they stay.

        Raises:
            ValueError: a line that has no path or class.
        """
        paths, classes, places = [], [], []
        class_of, separator, prefix = self._class_of, self.separator, f"{self.list_path}:"
        for number, line in lines:
            path, _, label = line.rpartition(separator)
            # Lines without quotes, whose label is as one before, are nearly all: `_parse` would return the same.
            class_id = class_of.get(label, -1)
            if class_id < 0 or not path or path[-1] in ",;" or path[-1].isspace() or '"' in line:
                path, class_id = self._parse(number, line)
                if not self.labels.names and label.isdecimal() and len(class_of) < _CHUNK and '"' not in line:
                    class_of[label] = class_id
            paths.append(folder + path if path[0] != "/" and "://" not in path else full_path(folder, path))
            classes.append(class_id)
            places.append(f"{prefix}{number}")
        return paths, classes, places

    def _parse(self, number: int, line: str) -> tuple[str, int]:
        pair = _parse_line(line, self.separator, self.labels)
        if pair is None or (self.labels.sets is None and pair[1] >= self.num_classes):
            as_the_first = f" as in line {self.first_number}" if number != self.first_number else ""
            message = _describe_error(line, self.separator, self.labels, self.num_classes, as_the_first)
            raise ValueError(f"{self.list_path}:{number}: {message}")
        return pair


def _fitting_separator(line: str, separator: str, labels: ListLabels) -> str:
    """Return the separator that this line can be read with; else the one that leaves the shortest label to name."""
    choices = (separator, *(other for other in SEPARATORS if other != separator))
    pairs = [(choice, _parse_line(line, choice, labels)) for choice in choices]
    # Of `one.mp4,air drumming` a space would leave the name 'drumming': the shortest path is meant.
    fitting = [(len(pair[0]), choice) for choice, pair in pairs if pair]
    if not fitting:
        readings = [(next(_readings(line, choice), None), choice) for choice in choices]
        fitting = [(len(reading[1]) if reading else len(line), choice) for reading, choice in readings]
    return min(fitting, key=lambda pair: pair[0])[1]


def _is_header(line: str, separator: str, labels: ListLabels) -> bool:
    words = [part for part in re.split(rf"{re.escape(separator)}|[,;\s]", line) if part]
    ends_like_a_header = len(words) > 1 and words[-1].strip('"').lower() in _HEADER_WORDS
    # A class may be named "yoga class".
    return ends_like_a_header and not _parse_line(line, _fitting_separator(line, separator, labels), labels)


def _describe_error(line: str, separator: str, labels: ListLabels, num_classes: int, as_the_first: str) -> str:
    readings = list(_readings(line, separator))
    allowed = f"label must be a class from 0 to {num_classes - 1}"
    pair = _parse_line(line, separator, labels)
    if not readings:
        return f"expected `{_form(separator)}`{as_the_first}, got {shortened(line)}{no_label_hint(line)}"
    if pair:
        number = f"{pair[1]}" if pair[1] < 10**18 else "a number of more than 18 digits"
        hint = large_label_hint(line, pair[1], num_classes)
        return f"{allowed}, got {number}" + (f" ({shortened(line)})" if labels.names else "") + hint
    texts = [label for _, label in readings]
    if labels.names:
        return f"label {shortened(texts[0])} is no name in {labels.file}{close_names(labels.names, *texts)}"
    hint = no_label_hint(line)
    if not hint and not re.match(r"[-+.\d]", texts[0]):
        hint = "; names of classes need a label file"
        if not as_the_first:
            hint += ", a header ends with label, class or category"
    return f"{allowed}, got {shortened(texts[0])}{hint}"


def _form(separator: str) -> str:
    return f"path{separator}label".replace("\t", "\\t")


def _warn_of_duplicates(list_path: str, hashes: np.ndarray) -> None:
    ordered = np.sort(hashes)  # np.unique takes fifty times as long
    count = np.count_nonzero(ordered[1:] == ordered[:-1])
    if count:
        logger.warning("%s: %d of %d lines repeat a path of an earlier line", list_path, count, len(hashes))

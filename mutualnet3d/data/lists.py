"""Kinetics-style lists: a line `path label` for each video, read and written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.label_names import read_label_names
from mutualnet3d.data.text import QUOTED, close_names, full_path, read_text, unquoted
from mutualnet3d.files.atomic import write_text
from mutualnet3d.log import logger

SEPARATORS = (",", " ", "\t", ";")
_HEADER_WORDS = {"label", "labels", "class", "class_id", "label_id", "category"}


@dataclass(frozen=True)
class Video:
    """Entry of a list.

    Args:
        path: the video's file; the folder, if the video is a folder of pictures.
        label: its class.
        listed_at: place of the entry (`file:line`), for messages.
        pictures: names of a folder's pictures in order, relative to `path`, joined by newlines, where the list names
            them. One string, since a data set may have millions of pictures. "": the video is a file, or all pictures
            of a folder in the natural order of their names.
    """

    path: str
    label: int
    listed_at: str
    pictures: str = ""

    @property
    def picture_paths(self) -> list[str]:
        """Full paths of the pictures that the list names; none if it names the file or folder alone."""
        return [os.path.join(self.path, name) for name in self.pictures.split("\n")] if self.pictures else []


def read_kinetics_list(
    list_path: str,
    num_classes: int,
    path_prefix: str = "",
    separator: str = " ",
    label_file: str = "",
    skip_rows: int = 0,
) -> list[Video]:
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

    Raises:
        FileNotFoundError: there is no such list or label file.
        ValueError: a line without a label, a label that is no class, or no line at all; the message names file, line
            and value.
    """
    if not separator or skip_rows < 0:
        raise ValueError(
            f"{list_path}: separator must be a character or more, skip_rows 0 or more; got {separator!r}, {skip_rows}"
        )
    if not g_pathmgr.isfile(list_path):
        raise FileNotFoundError(
            f"no list of videos at {list_path}; expected a text file with a line `{_form(separator)}` for each video"
        )
    labels = _Labels(label_file, read_label_names(label_file) if label_file else {})
    # Not splitlines(), which also splits at characters that names of files may have.
    lines = [(number, line.strip()) for number, line in enumerate(read_text(list_path).split("\n"), start=1)]
    lines = [(number, line) for number, line in lines[skip_rows:] if line]
    if lines and _is_header(lines[0][1], separator, labels):
        del lines[0]
    if not lines:
        raise ValueError(f"{list_path}: the list is empty; expected a line `{_form(separator)}` for each video")

    first_number, first_line = lines[0]
    separator = _fitting_separator(first_line, separator, labels)
    base = path_prefix or os.path.dirname(list_path)
    videos = []
    for number, line in lines:
        listed_at = f"{list_path}:{number}"
        pair = _parse_line(line, separator, labels)
        if pair is None or pair[1] >= num_classes:
            as_the_first = f" as in line {first_number}" if number != first_number else ""
            raise ValueError(f"{listed_at}: {_describe_error(line, separator, labels, num_classes, as_the_first)}")
        videos.append(Video(full_path(base, pair[0]), pair[1], listed_at))
    _warn_of_duplicates(list_path, videos)
    return videos


def write_list(path: str, entries: Iterable[tuple[str, int]]) -> None:
    """Write lines `path label`; a path that a reader could take apart in another way stands in quotes.

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


def _line(path: str, label: int) -> str:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{path!r}: a list is UTF-8, and this name is not; rename the file") from None
    if "\n" in path:
        raise ValueError(f"{path!r}: no list can hold a name with a line break; rename the file")
    if any(character.isspace() or character in ',;"' for character in path):
        path = '"' + path.replace('"', '""') + '"'
    return f"{path} {label}\n"


@dataclass(frozen=True)
class _Labels:
    """Labels of a list: ids or, if `file` is given, names too."""

    file: str
    names: dict[str, int]
    folded: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        folded: dict[str, int] = {}
        for name, number in self.names.items():
            # Names that differ in nothing but their case are told apart by it alone.
            folded[name.casefold()] = -1 if name.casefold() in folded else number
        object.__setattr__(self, "folded", {name: number for name, number in folded.items() if number >= 0})

    def id_of(self, text: str) -> int | None:
        """Return the class that `text` names, None if it names none."""
        if self.names:
            number = self.names.get(text, self.folded.get(text.casefold()))
            if number is not None:
                return number
        return int(text) if text.isdecimal() else None


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


def _parse_line(line: str, separator: str, labels: _Labels) -> tuple[str, int] | None:
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


def _fitting_separator(line: str, separator: str, labels: _Labels) -> str:
    """Return the separator that this line can be read with; else the one that leaves the shortest label to name."""
    choices = (separator, *(other for other in SEPARATORS if other != separator))
    pairs = [(choice, _parse_line(line, choice, labels)) for choice in choices]
    # Of `one.mp4,air drumming` a space would leave the name 'drumming': the shortest path is meant.
    fitting = [(len(pair[0]), choice) for choice, pair in pairs if pair]
    if not fitting:
        readings = [(next(_readings(line, choice), None), choice) for choice in choices]
        fitting = [(len(reading[1]) if reading else len(line), choice) for reading, choice in readings]
    return min(fitting, key=lambda pair: pair[0])[1]


def _is_header(line: str, separator: str, labels: _Labels) -> bool:
    words = [part for part in re.split(rf"{re.escape(separator)}|[,;\s]", line) if part]
    ends_like_a_header = len(words) > 1 and words[-1].strip('"').lower() in _HEADER_WORDS
    # A class may be named "yoga class".
    return ends_like_a_header and not _parse_line(line, _fitting_separator(line, separator, labels), labels)


def _describe_error(line: str, separator: str, labels: _Labels, num_classes: int, as_the_first: str) -> str:
    readings = list(_readings(line, separator))
    allowed = f"label must be a class from 0 to {num_classes - 1}"
    pair = _parse_line(line, separator, labels)
    if not readings:
        return f"expected `{_form(separator)}`{as_the_first}, got {line!r}"
    if pair:
        return f"{allowed}, got {pair[1]!r}" + (f" ({line!r})" if labels.names else "")
    texts = [label for _, label in readings]
    if labels.names:
        return f"label {texts[0]!r} is no name in {labels.file}{close_names(labels.names, *texts)}"
    hint = "" if re.match(r"[-+.\d]", texts[0]) else "; names of classes need a label file"
    return f"{allowed}, got {texts[0]!r}{hint}"


def _form(separator: str) -> str:
    return f"path{separator}label".replace("\t", "\\t")


def _warn_of_duplicates(list_path: str, videos: Sequence[Video]) -> None:
    count = len(videos) - len({video.path for video in videos})
    if count:
        logger.warning("%s: %d of %d lines repeat a path of an earlier line", list_path, count, len(videos))

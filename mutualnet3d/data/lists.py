"""Lists of videos and their labels, and which of the videos are there."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from iopath.common.file_io import g_pathmgr

from mutualnet3d.log import logger, progress
from mutualnet3d.video.paths import video_exists

SEPARATORS = (",", " ", "\t", ";")
_HEADER_WORDS = {"label", "labels", "class", "class_id", "label_id", "category"}
_QUOTED = r'"(?:[^"]|"")*"'
_THREADS = 16
_VIDEOS_A_CALL = 512


@dataclass(frozen=True)
class Video:
    """One line of a list.

    Args:
        path: of the video's file; of the folder, if the video is a folder of pictures.
        label: its class.
        source: where that was said (`file:line`), for messages.
        frames: names of a folder's pictures in order, relative to `path`, joined by newlines, where the list names
            them. One string, since a data set may have millions of pictures. "": the video is a file, or all pictures
            of a folder in the natural order of their names.
    """

    path: str
    label: int
    source: str
    frames: str = ""

    @property
    def frame_paths(self) -> list[str]:
        """Full paths of the pictures that the list names; none if it names the file or folder alone."""
        return [os.path.join(self.path, name) for name in self.frames.split("\n")] if self.frames else []


@dataclass(frozen=True)
class FoundVideos:
    """Which of the listed videos are there, both in the list's order."""

    found: list[Video]
    missing: list[Video]

    def __str__(self) -> str:
        text = f"found {len(self.found)} of {len(self.found) + len(self.missing)} videos"
        if self.missing:
            first = self.missing[0]
            text += f"; the first that is missing: {_path_to_test(first)} (listed at {first.source})"
        return text


def find_videos(videos: Sequence[Video], look: Callable[[Callable[[], bytes]], bytes] | None = None) -> FoundVideos:
    """Look which videos exist: the file of each, or a picture of its folder: the first one that the list names, or any.

    Many at a time, since on a network's disk each look is a wait; shows how far it is.

    Args:
        look: is given what looks, a byte for each video, and gives its result: the processes of a job let one of them
            look for all.
    """
    exists = look(lambda: _look(videos)) if look else _look(videos)
    return FoundVideos(
        [video for video, there in zip(videos, exists, strict=True) if there],
        [video for video, there in zip(videos, exists, strict=True) if not there],
    )


def _look(videos: Sequence[Video]) -> bytes:
    size = max(1, min(_VIDEOS_A_CALL, -(-len(videos) // _THREADS)))
    parts = [videos[start : start + size] for start in range(0, len(videos), size)]
    exists: list[bool] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for some in progress(pool.map(_exist, parts), len(parts), "looking for the videos"):
            exists += some
    return bytes(exists)


def _exist(videos: Sequence[Video]) -> list[bool]:
    return [g_pathmgr.isfile(_path_to_test(video)) if video.frames else video_exists(video.path) for video in videos]


def _path_to_test(video: Video) -> str:
    return os.path.join(video.path, video.frames.partition("\n")[0]) if video.frames else video.path


def read_kinetics_list(
    list_path: str,
    num_classes: int,
    path_prefix: str = "",
    separator: str = " ",
    label_file: str = "",
    skip_rows: int = 0,
) -> list[Video]:
    """Videos of a Kinetics-style list: one `path label` a line; empty lines and a header (`path label`) are skipped.

    The label is what stands behind the last separator, so that paths may have spaces. A path or a label may stand in
    "double quotes", a quote inside them doubled, as in CSV files. Where the first line cannot be read with `separator`,
    comma, space, tab and semicolon are tried, and what fits the first line is the separator of all.

    Args:
        list_path: the list, in UTF-8; any path that iopath can open.
        num_classes: labels are 0 to num_classes - 1.
        path_prefix: put before relative paths; default: the list's own folder. Paths such as s3://... are kept.
        separator: between path and label.
        label_file: names of the classes, as `read_label_names` reads them: labels may then be names, with spaces or
            not; default: labels are numbers.
        skip_rows: lines to leave out at the start.

    Raises:
        FileNotFoundError: there is no such list or label file.
        ValueError: a line without a label, a label that is no class, or no line at all; it names file, line and value.
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
        source = f"{list_path}:{number}"
        pair = _parse_line(line, separator, labels)
        if pair is None or pair[1] >= num_classes:
            as_the_first = f" as in line {first_number}" if number != first_number else ""
            raise ValueError(f"{source}: {_what_is_wrong(line, separator, labels, num_classes, as_the_first)}")
        videos.append(Video(full_path(base, pair[0]), pair[1], source))
    _warn_of_duplicates(list_path, videos)
    return videos


def read_label_names(label_file: str) -> dict[str, int]:
    """Names of classes and their ids.

    JSON: an object {name: id} or {id: name}, or a list of names in the order of their ids. Text, in UTF-8: one name a
    line in the order of their ids, or `id,name`, `id name`, `name,id` or `name id` on every line, with a header or not.
    Quotes around names are dropped; pytorchvideo's JSON files have them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no names, a name twice, or ids other than 0, 1, 2 and so on; it names file and value.
    """
    if not g_pathmgr.isfile(label_file):
        raise FileNotFoundError(f"no file of label names at {label_file}; expected JSON or text with one name a line")
    text = read_text(label_file).strip()
    if label_file.lower().endswith(".json") or text.startswith(("{", "[")):
        pairs = _names_of_json(label_file, parse_json(label_file, text, object_pairs_hook=tuple))
    else:
        pairs = _names_of_text(text)
    if not pairs:
        raise ValueError(f"{label_file}: no label names; expected JSON or text with one name a line")
    names: dict[str, int] = {}
    owners: dict[int, str] = {}
    for raw, number in pairs:
        name = _unquoted(raw)
        if not name or name in names:
            raise ValueError(f"{label_file}: names must differ and not be empty, got {name!r} for the id {number}")
        if number in owners or not 0 <= number < len(pairs):
            taken = f", which {owners[number]!r} has" if number in owners else ""
            raise ValueError(
                f"{label_file}: ids of {len(pairs)} names must be 0 to {len(pairs) - 1}, each once; "
                f"got {number} for {name!r}{taken}"
            )
        names[name], owners[number] = number, name
    return names


def read_text(path: str) -> str:
    """A file's text, without the mark that some editors put first.

    Raises:
        ValueError: it is not UTF-8; it names the line.
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
    """`text`, the content of `path`, as JSON.

    Raises:
        ValueError: it is none; it names file and line.
    """
    try:
        return json.loads(text, object_pairs_hook=object_pairs_hook)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: the file must be JSON: {error.msg}") from error


def full_path(base: str, path: str) -> str:
    """`path`, in the folder `base` if it is relative; one with a scheme (s3://...) is not."""
    return path if "://" in path and re.match(r"[A-Za-z][\w+.-]*://", path) else os.path.join(base, path)


def close_names(names: Iterable[str], *wanted: str) -> str:
    """The end of a message, with at most 3 names that look like one of `wanted`; "" if none does."""
    known = list(names)
    guesses = [(text, difflib.get_close_matches(text, known, n=3)) for text in wanted]
    likeness = [difflib.SequenceMatcher(None, text, close[0]).ratio() if close else 0.0 for text, close in guesses]
    best = guesses[likeness.index(max(likeness))][1]
    return f"; close to it: {', '.join(map(repr, best))}" if best else ""


@dataclass(frozen=True)
class _Labels:
    """How labels are written: as ids or, where `file` is given, as names too."""

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
        """The class that `text` says, None if it says none."""
        if self.names:
            known = self.names.get(text, self.folded.get(text.casefold()))
            if known is not None:
                return known
        return int(text) if text.isdecimal() else None


def _ways_to_split(line: str, separator: str) -> Iterator[tuple[str, str]]:
    """Each way to read a line as path and label, the one with the shortest label first."""
    if line.startswith('"'):
        quoted = re.match(_QUOTED, line)
        if quoted:
            before, found, label = line[quoted.end() :].partition(separator)
            path = _unquoted(quoted[0])
            if found and path and label.strip() and not before.strip():
                yield path, _unquoted(label)
        return
    start = line.rfind(separator)
    if line.endswith('"'):
        quoted = re.search(rf"{re.escape(separator)}\s*{_QUOTED}$", line)
        start = quoted.start() if quoted else -1
    while start > 0:
        path, label = line[:start].rstrip(), line[start + len(separator) :].strip()
        # `one.mp4, 1` is not the path `one.mp4,`: its separator is the comma.
        if path and label and path[-1] not in ",;":
            yield path, _unquoted(label)
        start = line.rfind(separator, 0, start)


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1].replace('""', '"') if text[:1] == '"' and re.fullmatch(_QUOTED, text) else text


def _parse_line(line: str, separator: str, labels: _Labels) -> tuple[str, int] | None:
    """Path and class of a line. Of several names that its end could be, the longest is meant: 'air drumming', not
    'drumming'."""
    pair = None
    for path, label in _ways_to_split(line, separator):
        number = labels.id_of(label)
        if number is not None:
            pair = path, number
        if not labels.names:
            break
    return pair


def _fitting_separator(line: str, separator: str, labels: _Labels) -> str:
    """The separator that this line can be read with; else the one that leaves the shortest label to complain about."""
    choices = (separator, *(other for other in SEPARATORS if other != separator))
    pairs = [(choice, _parse_line(line, choice, labels)) for choice in choices]
    # Of `one.mp4,air drumming` a space would leave the name 'drumming': the shortest path is meant.
    fitting = [(len(pair[0]), choice) for choice, pair in pairs if pair]
    if not fitting:
        splits = [(next(_ways_to_split(line, choice), None), choice) for choice in choices]
        fitting = [(len(split[1]) if split else len(line), choice) for split, choice in splits]
    return min(fitting, key=lambda pair: pair[0])[1]


def _is_header(line: str, separator: str, labels: _Labels) -> bool:
    fields = [part for part in re.split(rf"{re.escape(separator)}|[,;\s]", line) if part]
    looks_so = len(fields) > 1 and fields[-1].strip('"').lower() in _HEADER_WORDS
    # A class may be named "yoga class".
    return looks_so and not _parse_line(line, _fitting_separator(line, separator, labels), labels)


def _what_is_wrong(line: str, separator: str, labels: _Labels, num_classes: int, as_the_first: str) -> str:
    ways = list(_ways_to_split(line, separator))
    allowed = f"label must be a class from 0 to {num_classes - 1}"
    pair = _parse_line(line, separator, labels)
    if not ways:
        return f"expected `{_form(separator)}`{as_the_first}, got {line!r}"
    if pair:
        return f"{allowed}, got {pair[1]!r}" + (f" ({line!r})" if labels.names else "")
    written = [label for _, label in ways]
    if labels.names:
        return f"label {written[0]!r} is no name in {labels.file}{close_names(labels.names, *written)}"
    hint = "" if re.match(r"[-+.\d]", written[0]) else "; names of classes need a label file"
    return f"{allowed}, got {written[0]!r}{hint}"


def _form(separator: str) -> str:
    return f"path{separator}label".replace("\t", "\\t")


def _warn_of_duplicates(list_path: str, videos: Sequence[Video]) -> None:
    count = len(videos) - len({video.path for video in videos})
    if count:
        logger.warning("%s: %d of %d lines repeat a path of an earlier line", list_path, count, len(videos))


def _names_of_json(label_file: str, data: Any) -> list[tuple[str, int]]:
    """Pairs of name and id; `data` has a tuple of pairs for an object, which keeps a name that stands there twice."""
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
        return [(value, int(key)) for key, value in data]
    pairs = []
    for name, value in data:
        number = _as_id(value)
        if number is None:
            raise ValueError(f"{label_file}: the id of {name!r} must be an integer, got {value!r}")
        pairs.append((name, number))
    return pairs


def _as_id(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"-?\d+", value.strip()):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _names_of_text(text: str) -> list[tuple[str, int]]:
    """Pairs of name and id; ids are written on a side where all lines, or all but a header, have a number."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    id_first, id_last = r'"?(?P<id>\d+)"?\s*[,;\s]\s*(?P<name>.+)', r'(?P<name>.+?)\s*[,;\s]\s*"?(?P<id>\d+)"?'
    numbered = []
    for body in (lines, lines[1:]):
        for form in (id_first, id_last):
            matches = [re.fullmatch(form, line) for line in body]
            pairs = [(match["name"], int(match["id"])) for match in matches if match]
            if pairs and len(pairs) == len(body):
                if sorted(number for _, number in pairs) == list(range(len(pairs))):
                    return pairs
                if body is lines:
                    numbered.append(pairs)
    return numbered[0] if numbered else [(name, number) for number, name in enumerate(lines)]

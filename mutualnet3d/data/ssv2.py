"""Something-Something V2: its official JSON files over .webm videos, or PySlowFast's frame lists over pictures.

What the folder holds; files also go by their short names, `labels.json`, `train.json` and `validation.json`:

    something-something-v2-labels.json      {"Approaching something with your camera": "0", ...}
    something-something-v2-train.json       [{"id": "74225", "template": "Spinning [something] that ..."}, ...]
    something-something-v2-validation.json
    20bn-something-something-v2/74225.webm  the videos; or in videos/, or beside the JSON files
    train.csv, val.csv                      the frame lists, if the videos are folders of pictures

The class of a video is its template without the brackets. The official test set has no labels: as in PySlowFast, the
split "test" is the validation set.
"""

from __future__ import annotations

import csv
import os
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.lists import Video, close_names, full_path, parse_json, read_label_names, read_text
from mutualnet3d.log import logger

_OFFICIAL = "something-something-v2-"
_LABEL_FILES = (f"{_OFFICIAL}labels.json", "labels.json")
_SPLIT_NAMES = {"train": "train", "val": "validation", "test": "validation"}
_FRAME_LISTS = {"train": "train.csv", "val": "val.csv", "test": "val.csv"}
_VIDEO_FOLDERS = ("20bn-something-something-v2", "videos", "")
_COLUMNS = "original_vido_id video_id frame_id path labels"  # spelt as PySlowFast spells it


def read_ssv2(folder: str, split: str, num_classes: int, path_prefix: str = "") -> list[Video]:
    """Videos of a split: pictures if there is a frame list, .webm files otherwise; the log says which.

    Args and errors as `read_ssv2_frames` and `read_ssv2_videos`.
    """
    _check_split(split)
    frame_list, json_path = _first_file(folder, [_FRAME_LISTS[split]]), _first_file(folder, _split_files(split))
    if frame_list:
        logger.info("Something-Something V2, %s: pictures, listed in %s", split, frame_list)
        return read_ssv2_frames(folder, split, num_classes, path_prefix)
    if json_path:
        logger.info("Something-Something V2, %s: .webm videos, listed in %s", split, json_path)
        return read_ssv2_videos(folder, split, num_classes, path_prefix)
    raise _not_found(folder, f"list of the split {split!r}", [_FRAME_LISTS[split], *_split_files(split)])


def read_ssv2_videos(folder: str, split: str, num_classes: int, path_prefix: str = "") -> list[Video]:
    """The .webm videos of a split, with the labels of the official JSON files.

    Args:
        folder: has the JSON files; any path that iopath can open.
        split: train, val or test; test is the validation set too, since the official test set has no labels.
        num_classes: labels are 0 to num_classes - 1.
        path_prefix: has the videos; default: the first of 20bn-something-something-v2, videos and the folder itself
            that has the first listed video.

    Raises:
        FileNotFoundError: a JSON file is not there.
        ValueError: there is no such split; or an entry that is no video with a known template, or an id twice: it names
            file, entry and value.
    """
    labelled = _read_labelled(folder, split, num_classes)
    base = path_prefix or _video_folder(folder, next(iter(labelled)))
    return [Video(full_path(base, f"{name}.webm"), label, source) for name, (label, source) in labelled.items()]


def read_ssv2_frames(folder: str, split: str, num_classes: int, path_prefix: str = "") -> list[Video]:
    """Videos that are folders of pictures, by PySlowFast's frame lists: a header, then a line for each picture,
    `original_vido_id video_id frame_id path labels`.

    Labels come from the JSON files, by id; a video that stands there but not in the frame list becomes one without
    pictures, which `find_videos` reports as missing. Where the split has no JSON file, the list's labels are used, the
    first of each video.

    Args:
        folder: has the frame lists, and the JSON files; any path that iopath can open.
        split: train, val or test; test is the validation set too, since the official test set has no labels.
        num_classes: labels are 0 to num_classes - 1.
        path_prefix: put before the pictures' paths where they are relative; default: the folder.

    Raises:
        FileNotFoundError: the frame list is not there, or the labels' file that the JSON file needs.
        ValueError: there is no such split; or a line that is no picture, a video without a label, or what
            `read_ssv2_videos` refuses: it names file, line or entry, and value.
    """
    _check_split(split)
    list_path, base = _first_file(folder, [_FRAME_LISTS[split]]), path_prefix or folder
    if not list_path:
        raise _not_found(folder, f"frame list of the split {split!r}", [_FRAME_LISTS[split]])
    if not _first_file(folder, _split_files(split)):
        pictures = _read_frame_list(list_path)
        return [
            item.video(base, _listed_label(list_path, split, name, item, num_classes), f"{list_path}:{item.line}")
            for name, item in pictures.items()
        ]
    labelled, pictures = _read_labelled(folder, split, num_classes), _read_frame_list(list_path)
    unknown = [name for name in pictures if name not in labelled]
    if unknown:
        logger.warning(
            "%s: %d of %d videos are left out: no JSON file has them; the first is %s, at line %d",
            list_path,
            len(unknown),
            len(pictures),
            unknown[0],
            pictures[unknown[0]].line,
        )
    return [
        # A video without pictures in the frame list is looked for as any other: a file, or a folder of pictures.
        pictures[name].video(base, label, source) if name in pictures else Video(full_path(base, name), label, source)
        for name, (label, source) in labelled.items()
    ]


def label_file_of(folder: str) -> str:
    """The file of class names in a folder of Something-Something's lists; "" if there is none."""
    return _first_file(folder, _LABEL_FILES)


def _check_split(split: str) -> None:
    if split not in _SPLIT_NAMES:
        raise ValueError(f"split must be one of {', '.join(_SPLIT_NAMES)}, got {split!r}")


def _split_files(split: str) -> list[str]:
    return [f"{start}{_SPLIT_NAMES[split]}.json" for start in (_OFFICIAL, "")]


def _first_file(folder: str, names: Sequence[str]) -> str:
    """Path of the first of `names` that is a file of the folder; "" if none is."""
    return next((path for name in names if g_pathmgr.isfile(path := os.path.join(folder, name))), "")


def _not_found(folder: str, what: str, names: Sequence[str]) -> FileNotFoundError:
    return FileNotFoundError(f"no {what} in {folder}; looked for {', '.join(names)}")


def _video_folder(folder: str, video_id: str) -> str:
    """Where the first listed video is; where it should be if it is nowhere."""
    choices = [os.path.join(folder, name) if name else folder for name in _VIDEO_FOLDERS]
    return next((choice for choice in choices if _first_file(choice, [f"{video_id}.webm"])), choices[0])


def _read_labelled(folder: str, split: str, num_classes: int) -> dict[str, tuple[int, str]]:
    """Class and source of each video of the split's JSON file, by id, in its order."""
    _check_split(split)
    label_path, json_path = _first_file(folder, _LABEL_FILES), _first_file(folder, _split_files(split))
    if not json_path:
        raise _not_found(folder, f"JSON file of the split {split!r}", _split_files(split))
    if not label_path:
        raise _not_found(folder, "file of labels", _LABEL_FILES)
    classes, entries = read_label_names(label_path), parse_json(json_path, read_text(json_path))
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{json_path}: expected a list of entries with `id` and `template`, got {_short(entries)}")
    labelled: dict[str, tuple[int, str]] = {}
    for number, entry in enumerate(entries, start=1):
        name, template = _id_and_template(f"{json_path}: entry {number}", entry)
        source = f"{json_path}: entry {number} (id {name})"
        label = classes.get(template)
        if label is None:
            raise ValueError(
                f"{source}: the template {template!r} is no class in {label_path}{close_names(classes, template)}"
            )
        if label >= num_classes:
            raise ValueError(f"{source}: label must be a class from 0 to {num_classes - 1}, got {label} ({template!r})")
        if name in labelled:
            raise ValueError(f"{source}: ids must differ, but this one is at {labelled[name][1]} already")
        labelled[name] = label, source
    return labelled


def _id_and_template(source: str, entry: Any) -> tuple[str, str]:
    """Both of one entry, the template without its brackets."""
    name, template = (entry.get("id"), entry.get("template")) if isinstance(entry, dict) else (None, None)
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not isinstance(template, str) or not name:
        where = f"{source} (id {name})" if name else source
        raise ValueError(f"{where}: an entry must have `id` and `template`, got {_short(entry)}")
    return name, template.replace("[", "").replace("]", "")


def _short(value: object) -> str:
    limits = reprlib.Repr()
    limits.maxstring, limits.maxother, limits.maxdict = 80, 80, 6
    return limits.repr(value)


@dataclass(slots=True)
class _Pictures:
    """Pictures of one video: what their paths begin with, "" or up to a slash, and the rest of each, joined by
    newlines; of the first, its line and label; of the last, its number."""

    folder: str
    rest: str
    line: int
    label: str
    last: int

    def add(self, other: _Pictures) -> None:
        """Take in pictures that are listed further down."""
        if self.folder == other.folder:
            self.rest += "\n" + other.rest
        else:
            self.folder, self.rest = _with_common_folder(self.paths() + other.paths())
        self.last = other.last

    def paths(self) -> list[str]:
        return [self.folder + name for name in self.rest.split("\n")]

    def video(self, base: str, label: int, source: str) -> Video:
        folder = full_path(base, self.folder)
        # A slash that ends a root (/ or s3://) belongs to it.
        folder = folder if folder.endswith("//") or folder == "/" else folder.removesuffix("/")
        return Video(folder, label, source, self.rest)


def _with_common_folder(paths: Sequence[str]) -> tuple[str, str]:
    first, last = min(paths), max(paths)  # what begins both begins all
    start = first[: first.rfind("/") + 1]
    while not last.startswith(start):
        start = start[: start.rfind("/", 0, -1) + 1]
    return start, "\n".join([path[len(start) :] for path in paths])


def _read_frame_list(list_path: str) -> dict[str, _Pictures]:
    """Pictures of each video, by id. Read line by line: the lists have millions."""
    videos: dict[str, _Pictures] = {}
    for name, group in groupby(_rows(list_path), key=lambda row: row[1]):
        lines, _, numbers, paths, labels = zip(*group, strict=True)
        found = _Pictures(*_with_common_folder(paths), lines[0], labels[0], numbers[-1])
        earlier = videos.get(name)
        # Pictures stay in the list's order; equal numbers are of lists whose makers left them at 0.
        before = earlier.last if earlier else numbers[0]
        for line, number in zip(lines, numbers, strict=True):
            if number < before:
                raise ValueError(
                    f"{list_path}:{line}: the frame_id must not fall within a video, got {number} after {before} "
                    f"(video {name})"
                )
            before = number
        if earlier:
            earlier.add(found)
        else:
            videos[name] = found
    if not videos:
        raise ValueError(f"{list_path}: the list is empty; expected a line `{_COLUMNS}` for each picture")
    return videos


def _rows(list_path: str) -> Iterator[tuple[int, str, int, str, str]]:
    """Line number, video, frame_id, path and labels of each picture."""
    with g_pathmgr.open(list_path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{list_path}:{number}: the text must be UTF-8 ({error.reason})") from error
            fields = line.split()
            if number == 1:
                if [word.strip('"') for word in fields[1:]] != _COLUMNS.split()[1:]:
                    raise ValueError(f"{list_path}:1: expected the header `{_COLUMNS}`, got {line.strip()!r}")
                continue
            if not fields:
                continue
            if len(fields) != 5 or fields[3][0] == '"' or fields[0][0] == '"':
                # Some writers put text in quotes; a path with spaces needs them.
                fields = next(csv.reader([line.strip()], delimiter=" "))
            if len(fields) != 5 or not fields[2].isdecimal() or not fields[3]:
                raise ValueError(f"{list_path}:{number}: expected `{_COLUMNS}`, got {line.strip()!r}")
            yield number, fields[0], int(fields[2]), fields[3], fields[4]


def _listed_label(list_path: str, split: str, name: str, pictures: _Pictures, num_classes: int) -> int:
    """The class that the frame list itself gives a video."""
    label = pictures.label.strip('"').partition(",")[0].strip()
    source = f"{list_path}:{pictures.line}"
    if not label:
        raise ValueError(
            f"{source}: the video {name} has no label here, and there is no JSON file to give it one; "
            f"looked for {', '.join(_split_files(split))}"
        )
    if not label.isdecimal() or int(label) >= num_classes:
        raise ValueError(f"{source}: label must be a class from 0 to {num_classes - 1}, got {label!r}")
    return int(label)

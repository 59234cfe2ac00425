"""Something-Something V2: its official JSON files over .webm videos, or PySlowFast's frame lists over pictures.

Content of the folder; files also go by their short names, `labels.json`, `train.json` and `validation.json`:

    something-something-v2-labels.json      {"Approaching something with your camera": "0", ...}
    something-something-v2-train.json       [{"id": "74225", "template": "Spinning [something] that ..."}, ...]
    something-something-v2-validation.json
    20bn-something-something-v2/74225.webm  the videos; or in videos/, or beside the JSON files
    train.csv, val.csv                      the frame lists, if the videos are folders of pictures

The class of a video is its template without the brackets. The official test set has no labels: as in PySlowFast, the
split "test" is the validation set.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Sequence
from typing import Any

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.frame_lists import ListedPictures, read_frame_list
from mutualnet3d.data.label_names import read_label_names
from mutualnet3d.data.lists import Video
from mutualnet3d.data.text import close_names, full_path, parse_json, read_text
from mutualnet3d.log import logger

_OFFICIAL = "something-something-v2-"
_LABEL_FILES = (f"{_OFFICIAL}labels.json", "labels.json")
_SPLIT_NAMES = {"train": "train", "val": "validation", "test": "validation"}
_FRAME_LISTS = {"train": "train.csv", "val": "val.csv", "test": "val.csv"}
_VIDEO_FOLDERS = ("20bn-something-something-v2", "videos", "")


def read_ssv2(folder: str, split: str, num_classes: int, path_prefix: str = "") -> list[Video]:
    """Read the videos of a split: pictures if there is a frame list, .webm files otherwise; the log names the list.

    Args:
        folder: folder of the frame lists and the JSON files; any path that iopath can open.
        split: train, val or test; test is the validation set too, since the official test set has no labels.
        num_classes: number of classes; labels are 0 to num_classes - 1.
        path_prefix: folder of the videos or pictures; default: see `read_ssv2_frames` and `read_ssv2_videos`.

    Raises:
        FileNotFoundError, ValueError: see `read_ssv2_frames` and `read_ssv2_videos`.
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
    """Read the .webm videos of a split, with the labels of the official JSON files.

    Args:
        folder: folder of the JSON files; any path that iopath can open.
        split: train, val or test; test is the validation set too, since the official test set has no labels.
        num_classes: number of classes; labels are 0 to num_classes - 1.
        path_prefix: folder of the videos; default: the first of 20bn-something-something-v2, videos and the folder
            itself that has the first listed video.

    Raises:
        FileNotFoundError: a JSON file does not exist.
        ValueError: there is no such split; or an entry that is no video with a template of the labels' file, or an id
            twice: the message names file, entry and value.
    """
    labels = _read_labels(folder, split, num_classes)
    base = path_prefix or _video_folder(folder, next(iter(labels)))
    return [Video(full_path(base, f"{name}.webm"), label, listed_at) for name, (label, listed_at) in labels.items()]


def read_ssv2_frames(folder: str, split: str, num_classes: int, path_prefix: str = "") -> list[Video]:
    """Read the videos of a split that are folders of pictures, by PySlowFast's frame lists.

    Labels come from the JSON files, by id; a video of theirs that is not in the frame list becomes one without
    pictures, which `find_videos` reports as missing. Where the split has no JSON file, the list's labels are used, the
    first of each video.

    Args:
        folder: folder of the frame lists and the JSON files; any path that iopath can open.
        split: train, val or test; test is the validation set too, since the official test set has no labels.
        num_classes: number of classes; labels are 0 to num_classes - 1.
        path_prefix: folder of relative paths of pictures; default: `folder`.

    Raises:
        FileNotFoundError: the frame list does not exist, or the labels' file that the JSON file needs.
        ValueError: there is no such split; or a line that is no picture, a video without a label, or an entry that
            `read_ssv2_videos` refuses: the message names file, line or entry, and value.
    """
    _check_split(split)
    list_path, base = _first_file(folder, [_FRAME_LISTS[split]]), path_prefix or folder
    if not list_path:
        raise _not_found(folder, f"frame list of the split {split!r}", [_FRAME_LISTS[split]])
    if not _first_file(folder, _split_files(split)):
        pictures = read_frame_list(list_path)
        return [
            item.video(base, _listed_label(list_path, split, name, item, num_classes), f"{list_path}:{item.line}")
            for name, item in pictures.items()
        ]
    labels, pictures = _read_labels(folder, split, num_classes), read_frame_list(list_path)
    unknown = [name for name in pictures if name not in labels]
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
        pictures[name].video(base, label, listed_at)
        if name in pictures
        # A video without pictures in the frame list is looked for as any other: a file, or a folder of pictures.
        else Video(full_path(base, name), label, listed_at)
        for name, (label, listed_at) in labels.items()
    ]


def label_file_of(folder: str) -> str:
    """Return the file of class names in a folder of Something-Something's lists; "" if there is none."""
    return _first_file(folder, _LABEL_FILES)


def _check_split(split: str) -> None:
    if split not in _SPLIT_NAMES:
        raise ValueError(f"split must be one of {', '.join(_SPLIT_NAMES)}, got {split!r}")


def _split_files(split: str) -> list[str]:
    return [f"{start}{_SPLIT_NAMES[split]}.json" for start in (_OFFICIAL, "")]


def _first_file(folder: str, names: Sequence[str]) -> str:
    """Return the path of the first of `names` that is a file of the folder; "" if none is."""
    return next((path for name in names if g_pathmgr.isfile(path := os.path.join(folder, name))), "")


def _not_found(folder: str, kind: str, names: Sequence[str]) -> FileNotFoundError:
    return FileNotFoundError(f"no {kind} in {folder}; looked for {', '.join(names)}")


def _video_folder(folder: str, video_id: str) -> str:
    """Return the folder of the first listed video; the folder where it should be if it does not exist."""
    choices = [os.path.join(folder, name) if name else folder for name in _VIDEO_FOLDERS]
    return next((choice for choice in choices if _first_file(choice, [f"{video_id}.webm"])), choices[0])


def _read_labels(folder: str, split: str, num_classes: int) -> dict[str, tuple[int, str]]:
    """Return class and place of each video of the split's JSON file, by id, in its order."""
    _check_split(split)
    label_path, json_path = _first_file(folder, _LABEL_FILES), _first_file(folder, _split_files(split))
    if not json_path:
        raise _not_found(folder, f"JSON file of the split {split!r}", _split_files(split))
    if not label_path:
        raise _not_found(folder, "file of labels", _LABEL_FILES)
    classes, entries = read_label_names(label_path), parse_json(json_path, read_text(json_path))
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{json_path}: expected a list of entries with `id` and `template`, got {_short(entries)}")
    labels: dict[str, tuple[int, str]] = {}
    for number, entry in enumerate(entries, start=1):
        name, template = _id_and_template(f"{json_path}: entry {number}", entry)
        listed_at = f"{json_path}: entry {number} (id {name})"
        label = classes.get(template)
        if label is None:
            raise ValueError(
                f"{listed_at}: the template {template!r} is no class in {label_path}{close_names(classes, template)}"
            )
        if label >= num_classes:
            raise ValueError(
                f"{listed_at}: label must be a class from 0 to {num_classes - 1}, got {label} ({template!r})"
            )
        if name in labels:
            raise ValueError(f"{listed_at}: ids must differ, but this one is at {labels[name][1]} already")
        labels[name] = label, listed_at
    return labels


def _id_and_template(listed_at: str, entry: Any) -> tuple[str, str]:
    """Return both of an entry, the template without its brackets."""
    name, template = (entry.get("id"), entry.get("template")) if isinstance(entry, dict) else (None, None)
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not isinstance(template, str) or not name:
        place = f"{listed_at} (id {name})" if name else listed_at
        raise ValueError(f"{place}: an entry must have `id` and `template`, got {_short(entry)}")
    return name, template.replace("[", "").replace("]", "")


def _short(value: object) -> str:
    limits = reprlib.Repr()
    limits.maxstring, limits.maxother, limits.maxdict = 80, 80, 6
    return limits.repr(value)


def _listed_label(list_path: str, split: str, name: str, pictures: ListedPictures, num_classes: int) -> int:
    """Return the class that the frame list itself gives a video."""
    label = pictures.label.strip('"').partition(",")[0].strip()
    listed_at = f"{list_path}:{pictures.line}"
    if not label:
        raise ValueError(
            f"{listed_at}: the video {name} has no label here, and there is no JSON file to give it one; "
            f"looked for {', '.join(_split_files(split))}"
        )
    if not label.isdecimal() or int(label) >= num_classes:
        raise ValueError(f"{listed_at}: label must be a class from 0 to {num_classes - 1}, got {label!r}")
    return int(label)

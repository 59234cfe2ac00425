"""Lists of videos from what a data set comes as: a folder for each class, or the official CSV files of Kinetics.

Written are train.csv, val.csv, test.csv (lines `path label`) and labels.json ({name: id}); ids follow the names' order.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.lists import read_text
from mutualnet3d.files.atomic import write_text

VIDEO_EXTENSIONS = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv")  # any case

SPLITS = ("train", "val", "test")
# What Kinetics' column `split` says -> ours.
SPLIT_OF = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
KINETICS_COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")


@dataclass(frozen=True)
class SplitCount:
    """How many videos of a split were found, of how many that were listed; `num_classes` of the found ones."""

    split: str
    found: int
    listed: int
    num_classes: int

    def __str__(self) -> str:
        of_how_many = (
            f"found {self.found} of {self.listed} videos" if self.found < self.listed else f"{self.found} videos"
        )
        return f"{self.split}: {of_how_many}, {self.num_classes} classes"


@dataclass(frozen=True)
class KineticsClip:
    """One row of a Kinetics CSV file; times in seconds of the YouTube video. `row`: its `KINETICS_COLUMNS`."""

    label: str
    youtube_id: str
    start: int
    end: int
    split: str
    row: tuple[str, ...]


def lists_of_folders(root: str, output: str, val_fraction: float = 0.2, seed: int = 0) -> list[SplitCount]:
    """Lists of videos that lie in a folder for each class, at any depth in it.

    With ROOT/train and ROOT/val (and ROOT/test) these are the splits: ROOT/train/CLASS/... Otherwise of each class,
    ROOT/CLASS/..., the share `val_fraction` is drawn for validation; which videos depends on the seed, the class's name
    and its videos alone. A class of two or more videos has one at least in both splits, a single one is for training.

    Args:
        root: folder of the class folders; hidden folders are left out.
        output: folder of the lists. Paths are relative to it if the videos lie below it, else absolute.
        val_fraction: 0 to 1, both excluded. No effect if there are split folders.
        seed: of the draw.

    Returns:
        The counts of train and val, and of test if it has videos of its own; else test.csv equals val.csv.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no class folders, fewer than two classes, a class without videos, a class in val or test that train
            lacks, a train folder without val, nothing left for validation, or a number out of range.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction is {val_fraction}; allowed: more than 0, less than 1")
    local_root = _local_folder(root)
    folders = _subfolders(local_root)
    if {"train", "val"} <= set(folders):
        videos = {split: _videos_of_classes(os.path.join(local_root, split)) for split in SPLITS if split in folders}
        for split, classes in videos.items():
            unknown = sorted(classes.keys() - videos["train"].keys())
            if unknown:
                raise ValueError(
                    f"{os.path.join(root, split)}: train has no class {unknown[0]!r}; its classes: "
                    f"{', '.join(sorted(videos['train']))}"
                )
    elif "train" in folders and not _has_videos(os.path.join(local_root, "train")):
        raise ValueError(f"{root} has a folder train but no val; expected both, or one folder for each class")
    else:
        videos = _split(_videos_of_classes(local_root), val_fraction, seed)
        if not any(videos["val"].values()):
            raise ValueError(f"{root}: no class has a second video; nothing is left for validation")

    labels = _labels(root, videos["train"])
    lists = {
        split: [(path, labels[name]) for name, paths in sorted(classes.items()) for path in paths]
        for split, classes in videos.items()
    }
    _write_lists(output, lists, labels)
    return [_count(split, lists[split], len(lists[split])) for split in SPLITS if split in lists]


def lists_of_kinetics(csv_paths: Sequence[str], videos: str, output: str) -> list[SplitCount]:
    """Lists from the official CSV files of Kinetics-400, 600 or 700, of the videos that are there.

    A clip is looked for anywhere below `videos` as {id}_{start:06d}_{end:06d} or {id} with an extension of
    `VIDEO_EXTENSIONS`; of several, one in a folder of its split and class is taken. What is not found is counted and
    written to missing.csv, with the columns of the CSV files. labels.json has all classes of the files, found or not.

    Args:
        csv_paths: any of the files; the splits are told by their column `split`.
        videos: folder of the videos.
        output: folder of the lists; paths as in `lists_of_folders`. A split gets a list if one of its videos is there;
            test.csv equals val.csv if none is there for testing.

    Returns:
        The counts of the splits that the files list.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a file without labels, a malformed row, fewer than two classes, or no video found.
    """
    clips = [clip for path in csv_paths for clip in read_kinetics_csv(path)]
    labels = _labels(", ".join(csv_paths), {clip.label for clip in clips})
    folder = _local_folder(videos)
    paths_of_stem = defaultdict(list)
    for path in find_video_files(folder):
        paths_of_stem[os.path.splitext(os.path.basename(path))[0]].append(path)

    lists: dict[str, list[tuple[str, int]]] = {split: [] for split in SPLITS}
    missing = []
    for clip in clips:
        found = paths_of_stem.get(f"{clip.youtube_id}_{clip.start:06d}_{clip.end:06d}") or paths_of_stem.get(
            clip.youtube_id
        )
        if found:
            path = max(found, key=lambda candidate: _fit(candidate, clip))
            lists[clip.split].append((os.path.join(folder, path), labels[clip.label]))
        else:
            missing.append(clip.row)
    if not any(lists.values()):
        raise ValueError(
            f"{videos}: none of {len(clips)} listed videos is there; looked for names like "
            f"{clips[0].youtube_id}_{clips[0].start:06d}_{clips[0].end:06d}.mp4 and {clips[0].youtube_id}.mp4"
        )
    listed = [clip.split for clip in clips]
    counts = [_count(split, lists[split], listed.count(split)) for split in SPLITS if split in listed]
    _write_lists(output, {split: entries for split, entries in lists.items() if entries}, labels)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([KINETICS_COLUMNS, *missing])
    write_text(os.path.join(output, "missing.csv"), text.getvalue())
    return counts


def read_kinetics_csv(path: str) -> list[KineticsClip]:
    """The rows of one of Kinetics' CSV files: a header with `KINETICS_COLUMNS` in any order, other columns ignored.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing or a row is malformed; it names file, line, what was read and what is expected.
    """
    if not g_pathmgr.isfile(path):
        raise FileNotFoundError(f"no file at {path}; expected a CSV file with the columns {','.join(KINETICS_COLUMNS)}")
    clips = []
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = next(reader, [])
        absent = [column for column in KINETICS_COLUMNS if column not in header]
        if absent:
            why = "; a test file that comes without labels makes no list" if "label" in absent else ""
            raise ValueError(
                f"{path}:1: no column {absent[0]!r}{why}; "
                f"expected {','.join(KINETICS_COLUMNS)}, got {','.join(header)!r}"
            )
        for row in reader:
            if row:
                clips.append(_kinetics_clip(header, row, f"{path}:{reader.line_num}"))
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: the file must be CSV: {error}") from error
    if not clips:
        raise ValueError(f"{path}: the file lists no video")
    return clips


def _kinetics_clip(header: list[str], row: list[str], source: str) -> KineticsClip:
    def malformed(what: str) -> NoReturn:
        raise ValueError(f"{source}: {what}, got {','.join(row)!r}; the columns are {','.join(header)}")

    if len(row) != len(header):
        malformed(f"expected {len(header)} fields")
    label, youtube_id, start, end, split = values = tuple(row[header.index(column)] for column in KINETICS_COLUMNS)
    if not label or not youtube_id:
        malformed("expected a label and a youtube_id")
    if not (start.isdecimal() and end.isdecimal() and int(start) < int(end)):
        malformed("time_start and time_end must be whole seconds, the end after the start")
    if split not in SPLIT_OF:
        malformed(f"split must be one of {', '.join(SPLIT_OF)}")
    return KineticsClip(label, youtube_id, int(start), int(end), SPLIT_OF[split], values)


def _fit(path: str, clip: KineticsClip) -> tuple[bool, bool]:
    folders = os.path.dirname(path).split(os.sep)
    return (
        any(SPLIT_OF.get(folder) == clip.split for folder in folders),
        any(folder in (clip.label, clip.label.replace(" ", "_")) for folder in folders),
    )


def find_video_files(folder: str) -> list[str]:
    """Videos below a local folder, by `VIDEO_EXTENSIONS`: paths relative to it, sorted. Hidden files and folders are
    left out; links to folders are followed, but not to one that they lie in."""

    def refuse(error: OSError) -> None:
        raise error  # os.walk passes over folders that it may not read

    found = []
    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and not _is_loop(place, name)]
        relative = os.path.relpath(place, folder)
        found += [os.path.normpath(os.path.join(relative, name)) for name in names if _is_video(name)]
    return sorted(found)


def _is_loop(place: str, name: str) -> bool:
    link = os.path.join(place, name)
    if not os.path.islink(link):
        return False
    return os.path.join(os.path.realpath(place), "").startswith(os.path.join(os.path.realpath(link), ""))


def _is_video(name: str) -> bool:
    return name.lower().endswith(VIDEO_EXTENSIONS) and not name.startswith(".")


def _local_folder(folder: str) -> str:
    if not g_pathmgr.isdir(folder):
        raise FileNotFoundError(f"no folder at {folder}")
    return g_pathmgr.get_local_path(folder)


def _subfolders(folder: str) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _has_videos(folder: str) -> bool:
    return any(_is_video(name) for name in os.listdir(folder))


def _videos_of_classes(folder: str) -> dict[str, list[str]]:
    classes = {}
    for name in _subfolders(folder):
        place = os.path.join(folder, name)
        classes[name] = [os.path.join(place, path) for path in find_video_files(place)]
        if not classes[name]:
            raise ValueError(f"{place}: no video of class {name!r}; looked for {' '.join(VIDEO_EXTENSIONS)}")
    if not classes:
        raise ValueError(f"{folder}: no class folders; expected one folder for each class, with its videos")
    return classes


def _split(classes: dict[str, list[str]], val_fraction: float, seed: int) -> dict[str, dict[str, list[str]]]:
    splits: dict[str, dict[str, list[str]]] = {"train": {}, "val": {}}
    for name, paths in classes.items():
        num_val = min(max(round(val_fraction * len(paths)), 1), len(paths) - 1)
        # A generator of the class's own: a class more or less moves no video of another.
        order = np.random.default_rng([seed, *os.fsencode(name)]).permutation(len(paths))
        chosen = set(order[:num_val].tolist())
        splits["train"][name] = [path for index, path in enumerate(paths) if index not in chosen]
        splits["val"][name] = [path for index, path in enumerate(paths) if index in chosen]
    return splits


def _labels(source: str, names: Iterable[str]) -> dict[str, int]:
    labels = {name: index for index, name in enumerate(sorted(names))}
    if len(labels) < 2:
        raise ValueError(f"{source}: expected two classes or more, got {', '.join(map(repr, labels)) or 'none'}")
    return labels


def _count(split: str, entries: list[tuple[str, int]], listed: int) -> SplitCount:
    return SplitCount(split, len(entries), listed, len({label for _, label in entries}))


def _write_lists(output: str, lists: dict[str, list[tuple[str, int]]], labels: dict[str, int]) -> None:
    if "val" in lists:
        lists = {"test": lists["val"], **lists}
    for split, entries in lists.items():
        write_list(
            os.path.join(output, f"{split}.csv"), [(path_in_list(path, output), label) for path, label in entries]
        )
    write_text(os.path.join(output, "labels.json"), json.dumps(labels, indent=1, ensure_ascii=False) + "\n")


def path_in_list(path: str, folder: str) -> str:
    """A video's path for a list in `folder`: relative to it if it lies below, so that both can move; else absolute."""
    if "://" in path:
        return path
    path, below = os.path.abspath(path), os.path.join(os.path.abspath(folder), "")
    return path[len(below) :] if path.startswith(below) else path


def write_list(path: str, entries: Iterable[tuple[str, int]]) -> None:
    """Write lines `path label`; a path that a reader could take apart in another way stands in quotes.

    Raises:
        ValueError: a path has a line break or is not UTF-8; no list can hold it.
    """
    write_text(path, "".join(_line(video, label) for video, label in entries))


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

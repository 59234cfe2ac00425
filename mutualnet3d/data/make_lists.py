"""Making of lists from a data set: a folder for each class, or the official CSV files of Kinetics.

The files are train.csv, val.csv, test.csv (lines `path label`) and labels.json ({name: id}); ids follow the names.
`official_splits` does the same for the official files of other data sets.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.kinetics_csv import KINETICS_COLUMNS, SPLIT_OF, KineticsClip, read_kinetics_csv
from mutualnet3d.data.list_labels import NO_LABEL
from mutualnet3d.data.lists import path_in_list, write_list
from mutualnet3d.data.recordings import likely_pattern, split_recordings
from mutualnet3d.data.video_files import (
    VIDEO_EXTENSIONS,
    find_files,
    find_picture_folders,
    find_video_files,
    is_video_file,
    passed_over_text,
)
from mutualnet3d.files.atomic import write_text
from mutualnet3d.log import logger
from mutualnet3d.video.paths import is_picture_file

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class SplitCount:
    """Numbers of a split: its videos that exist, its listed videos, and the classes of the existing ones."""

    split: str
    num_found: int
    num_listed: int
    num_classes: int

    def __str__(self) -> str:
        videos = f"{self.num_found} videos"
        if self.num_found < self.num_listed:
            videos = f"found {self.num_found} of {self.num_listed} videos"
        return f"{self.split}: {videos}, {self.num_classes} classes"


def lists_of_folders(
    root: str, output: str, val_fraction: float = 0.2, seed: int = 0, group: str = ""
) -> list[SplitCount]:
    """Write lists of videos that lie in a folder for each class, at any depth in it.

    Videos are files, or, where a class has none, folders of pictures. The log has what was passed over.

    With ROOT/train and ROOT/val (and ROOT/test) these are the splits: ROOT/train/CLASS/... Otherwise of each class,
    ROOT/CLASS/..., the share `val_fraction` is drawn for validation; the draw depends on the seed, the class's name and
    its videos alone. A class of two or more videos has one at least in both splits, a single one is for training.

    Args:
        root: folder of the class folders; hidden folders are left out.
        output: folder of the lists. Paths are relative to it if the videos lie below it, else absolute.
        val_fraction: share of the videos, 0 to 1, both excluded. No effect if there are split folders.
        seed: seed of the draw.
        group: regular expression that names the recording of a video by its first group, searched for in the file's
            name without extension: all videos of a recording then come into one split. "": each video is drawn by
            itself; where names look like clips of recordings, the log offers a pattern.

    Returns:
        The counts of train and val, and of test if it has videos of its own; else test.csv equals val.csv.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no class folders, fewer than two classes, a class without videos, a class in val or test that train
            lacks, a train folder without val, nothing left for validation, a pattern that is none or that a name does
            not match, or a number out of range.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction is {val_fraction}; allowed: more than 0, less than 1")
    pattern = _compiled(group)
    local_root = local_folder(root)
    folders = _subfolders(local_root)
    if {"train", "val"} <= set(folders):
        if pattern:
            raise ValueError(f"{root}: train and val are there; a pattern of recordings has nothing to split")
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
        classes = _videos_of_classes(local_root)
        if pattern:
            videos = dict(zip(("train", "val"), split_recordings(classes, pattern, val_fraction, seed), strict=True))
        else:
            _offer_pattern(classes)
            videos = _split(classes, val_fraction, seed)
        if not any(videos["val"].values()):
            second = "second recording" if pattern else "second video"
            raise ValueError(f"{root}: no class has a {second}; nothing is left for validation")
    _log_other_files(local_root, folders)

    labels = class_ids(root, videos["train"])
    lists = {
        split: [(path, labels[name]) for name, paths in sorted(classes.items()) for path in paths]
        for split, classes in videos.items()
    }
    write_lists(output, lists, labels)
    return [count_of(split, lists[split], len(lists[split])) for split in SPLITS if split in lists]


def lists_of_kinetics(csv_paths: Sequence[str], videos: str, output: str) -> list[SplitCount]:
    """Write lists of the videos of Kinetics' official CSV files that exist.

    A clip is searched for anywhere below `videos` as {id}_{start:06d}_{end:06d} or {id} with an extension of
    `VIDEO_EXTENSIONS`; of several, one in a folder of its split and class is taken. Missing clips are counted and
    written to missing.csv, with the columns of the CSV files. labels.json has all classes of the files, found or not.

    Args:
        csv_paths: any of the files; the splits are told by their column `split`.
        videos: folder of the videos.
        output: folder of the lists; paths as in `lists_of_folders`. A split gets a list if one of its videos exists;
            test.csv equals val.csv if none exists for testing.

    Returns:
        The counts of the splits that the files list.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a file without labels, a malformed row, fewer than two classes, or no video found.
    """
    clips = [clip for path in csv_paths for clip in read_kinetics_csv(path)]
    labels = class_ids(", ".join(csv_paths), {clip.label for clip in clips})
    folder = local_folder(videos)
    paths_of_stem = defaultdict(list)
    files = find_files(folder)
    for path in files.videos:
        paths_of_stem[os.path.splitext(os.path.basename(path))[0]].append(path)

    lists: dict[str, list[tuple[str, int]]] = {split: [] for split in SPLITS}
    missing = []
    for clip in clips:
        paths = paths_of_stem.get(clip.file_stem) or paths_of_stem.get(clip.youtube_id)
        if paths:
            path = max(paths, key=lambda path: _folders_that_match(path, clip))
            lists[clip.split].append((os.path.join(folder, path), labels[clip.label]))
        else:
            missing.append(clip.row)
    if not any(lists.values()):
        raise ValueError(
            f"{videos}: none of {len(clips)} listed videos is there; looked for names like "
            f"{clips[0].file_stem}.mp4 and {clips[0].youtube_id}.mp4"
        )
    if files.others:
        logger.info("%s: %s", videos, passed_over_text(files.others))
    listed = [clip.split for clip in clips]
    counts = [count_of(split, lists[split], listed.count(split)) for split in SPLITS if split in listed]
    write_lists(output, {split: entries for split, entries in lists.items() if entries}, labels)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([KINETICS_COLUMNS, *missing])
    write_text(os.path.join(output, "missing.csv"), text.getvalue())
    return counts


def _folders_that_match(path: str, clip: KineticsClip) -> tuple[bool, bool]:
    """Return two truth values: a folder of the path is the clip's split, and a folder is its class."""
    folders = os.path.dirname(path).split(os.sep)
    return (
        any(SPLIT_OF.get(folder) == clip.split for folder in folders),
        any(folder in (clip.label, clip.label.replace(" ", "_")) for folder in folders),
    )


def local_folder(folder: str) -> str:
    """Return the path of a folder on this machine's disks.

    Args:
        folder: path or address of the folder.

    Raises:
        FileNotFoundError: it is not there.
    """
    if not g_pathmgr.isdir(folder):
        raise FileNotFoundError(f"no folder at {folder}")
    return g_pathmgr.get_local_path(folder)


def _subfolders(folder: str) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _has_videos(folder: str) -> bool:
    return any(is_video_file(name) for name in os.listdir(folder))


def _compiled(group: str) -> re.Pattern[str] | None:
    """Return the pattern of recordings; None if there is none.

    Raises:
        ValueError: it is no regular expression.
    """
    try:
        return re.compile(group) if group else None
    except re.error as error:
        raise ValueError(f"group must be a regular expression, got {group!r}: {error}") from error


def _offer_pattern(classes: Mapping[str, Sequence[str]]) -> None:
    name, pattern = likely_pattern(classes)
    if pattern:
        logger.warning(
            "names look like several clips of one recording (%s), which this split may tear apart; all clips of a "
            "recording come into one split by --group %s",
            name,
            shlex.quote(pattern),
        )


def _log_other_files(root: str, folders: Sequence[str]) -> None:
    """Log the files below the class folders that are in no list, and those beside the folders."""
    others = []
    for name in folders:
        files = find_files(os.path.join(root, name))
        # Pictures of a class without video files are its videos' frames.
        others += [
            os.path.join(name, path)
            for path in files.others
            if files.videos or not is_picture_file(os.path.basename(path))
        ]
    if others:
        logger.warning("%s: %s", root, passed_over_text(others))
    beside = [name for name in sorted(os.listdir(root)) if is_video_file(name)]
    if beside:
        logger.warning("%s: %d videos are in no class folder and are left out (%s)", root, len(beside), beside[0])
    if {"train", "val"} <= set(folders) and set(folders) - set(SPLITS):
        extra = sorted(set(folders) - set(SPLITS))
        logger.warning("%s: folders beside train, val and test are left out: %s", root, ", ".join(extra))


def _videos_of_classes(folder: str) -> dict[str, list[str]]:
    classes = {}
    for name in _subfolders(folder):
        place = os.path.join(folder, name)
        paths = find_video_files(place) or [path for path in find_picture_folders(place) if path != "."]
        classes[name] = [os.path.join(place, path) for path in paths]
        if not paths:
            raise ValueError(
                f"{place}: no video of class {name!r}; looked for {' '.join(VIDEO_EXTENSIONS)}, and folders of pictures"
            )
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


def class_ids(origin: str, names: Iterable[str]) -> dict[str, int]:
    """Return the number of each class, in the order of the names.

    Args:
        origin: folder or file of the names, for the error.
        names: names of the classes, each once.

    Raises:
        ValueError: there are fewer than two.
    """
    labels = {name: index for index, name in enumerate(sorted(names))}
    if len(labels) < 2:
        raise ValueError(f"{origin}: expected two classes or more, got {', '.join(map(repr, labels)) or 'none'}")
    return labels


def count_of(split: str, entries: Sequence[tuple[str, int | str]], listed: int) -> SplitCount:
    """Return the number of videos and classes of a split.

    Args:
        split: name of the split.
        entries: path and label of each video that is there.
        listed: number of videos that the data set lists.
    """
    classes = {part for _, label in entries for part in str(label).split(",")} - {NO_LABEL}
    return SplitCount(split, len(entries), listed, len(classes))


def write_lists(output: str, lists: Mapping[str, Sequence[tuple[str, int | str]]], labels: Mapping[str, int]) -> None:
    """Write a list for each split, and labels.json; test.csv equals val.csv if there is no test split.

    Args:
        output: folder of the lists.
        lists: path and label of each video, by split.
        labels: number of each class, by its name.
    """
    if "val" in lists:
        lists = {"test": lists["val"], **lists}
    for split, entries in lists.items():
        write_list(
            os.path.join(output, f"{split}.csv"), [(path_in_list(path, output), label) for path, label in entries]
        )
    write_text(os.path.join(output, "labels.json"), json.dumps(dict(labels), indent=1, ensure_ascii=False) + "\n")

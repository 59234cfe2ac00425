"""Lists of videos and their labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from iopath.common.file_io import g_pathmgr


@dataclass(frozen=True)
class Video:
    """One line of a list: where the video is, its class, and where that was said (`file:line`, for messages)."""

    path: str
    label: int
    source: str


def read_kinetics_list(list_path: str, num_classes: int, path_prefix: str = "", separator: str = " ") -> list[Video]:
    """Videos of a Kinetics-style list: one `path label` a line, empty lines skipped.

    The label is what stands behind the last separator, so that paths may have spaces.

    Args:
        list_path: the list; any path that iopath can open.
        num_classes: labels are 0 to num_classes - 1.
        path_prefix: put before relative paths; default: the list's own folder.
        separator: between path and label.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: a line without a label, a label that is no class, or no line at all; it names file, line and value.
    """
    if not g_pathmgr.isfile(list_path):
        raise FileNotFoundError(
            f"no list of videos at {list_path}; expected a text file with a line `path{separator}label` for each video"
        )
    with g_pathmgr.open(list_path, "r", encoding="utf-8") as file:
        lines = file.read().splitlines()
    base = path_prefix or os.path.dirname(list_path)
    videos = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        source = f"{list_path}:{number}"
        path, found, label = line.strip().rpartition(separator)
        path, label = path.strip(), label.strip()
        if not found or not path:
            raise ValueError(f"{source}: expected `path{separator}label`, got {line!r}")
        if not label.isdecimal() or int(label) >= num_classes:
            raise ValueError(f"{source}: label must be a class from 0 to {num_classes - 1}, got {label!r}")
        videos.append(Video(os.path.join(base, path), int(label), source))
    if not videos:
        raise ValueError(f"{list_path}: the list is empty; expected a line `path{separator}label` for each video")
    return videos


def check_found(videos: Sequence[Video]) -> None:
    """Every listed video exists.

    Raises:
        FileNotFoundError: some do not; it counts them and names the first and where it is listed.
    """
    missing = [video for video in videos if not g_pathmgr.isfile(video.path)]
    if missing:
        raise FileNotFoundError(
            f"{missing[0].source}: found {len(videos) - len(missing)} of {len(videos)} listed videos; "
            f"the first that is missing is {missing[0].path}"
        )

"""Videos that the words of a command line name: files, folders of pictures, folders of videos, lists."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

LIST_EXTENSIONS = (".csv", ".txt")


class ListedVideo(NamedTuple):
    """Video of a command line.

    Args:
        path: path of the video.
        label: class that a list gives it; a text such as "3,17" of several, or of none ("-"); None: in no list, or in
            one without labels.
    """

    path: str
    label: int | str | None = None


def expand_lists(words: Sequence[str], label_file: str = "") -> list[str]:
    """Return the paths of a command line's videos, those of its lists and of its folders of videos in their place.

    Args:
        words: paths; a folder with pictures in it is a video, another one stands for the video files below it, sorted.
        label_file: names of the classes, if labels in lists are names.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: a list cannot be read; the message names file and line.
    """
    return [video.path for video in labelled_videos(words, label_file)]


def labelled_videos(words: Sequence[str], label_file: str = "") -> list[ListedVideo]:
    """Return a command line's videos with the labels that its lists give them; see `expand_lists`."""
    videos: list[ListedVideo] = []
    for word in words:
        if word.lower().endswith(LIST_EXTENSIONS):
            videos += _listed(word, label_file)
        else:
            videos += [ListedVideo(path) for path in _below(word) or [word]]
    return videos


def distinct_videos(paths: Sequence[str]) -> list[str]:
    """Return each path once, in the order in which they come first; `a.mp4` and `./a.mp4` are one."""
    first_of: dict[str, str] = {}
    for path in paths:
        first_of.setdefault(path if "://" in path else os.path.normpath(path), path)
    return list(first_of.values())


def _below(path: str) -> list[str]:
    """Return the video files below a folder without pictures; none for anything else."""
    if not os.path.isdir(path):  # a path of a store is no folder of files
        return []
    from mutualnet3d.data.video_files import find_video_files
    from mutualnet3d.video.paths import picture_paths

    return [] if picture_paths(path) else [os.path.join(path, name) for name in find_video_files(path)]


def _listed(path: str, label_file: str) -> list[ListedVideo]:
    """Return the videos in a list of lines `path`, or of lines `path label`."""
    from iopath.common.file_io import g_pathmgr

    from mutualnet3d.data.any_list import read_any_list
    from mutualnet3d.data.check_videos import ANY_LABEL
    from mutualnet3d.data.text import full_path, read_text
    from mutualnet3d.data.video_files import VIDEO_EXTENSIONS
    from mutualnet3d.video.paths import video_exists

    if g_pathmgr.isfile(path):
        lines = [line.strip().strip('"') for line in read_text(path).split("\n")]
        paths = [full_path(os.path.dirname(path), line) for line in lines if line]
        if paths and (paths[0].lower().endswith(VIDEO_EXTENSIONS) or video_exists(paths[0])):
            return [ListedVideo(path) for path in paths]
    videos, label_sets = read_any_list(path, ANY_LABEL, label_file=label_file)
    texts = None if label_sets is None else label_sets.texts()
    return [ListedVideo(video.path, video.label if texts is None else texts[video.label]) for video in videos]

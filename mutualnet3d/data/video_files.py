"""Videos on a local disk, files by their extensions and folders of pictures: search below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

from mutualnet3d.video.paths import is_picture_file

VIDEO_EXTENSIONS = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv")  # any case


def is_video_file(name: str) -> bool:
    """Return whether a file is a video by its name; hidden files are none."""
    return name.lower().endswith(VIDEO_EXTENSIONS) and not name.startswith(".")


def find_video_files(folder: str) -> list[str]:
    """Return the video files below a local folder: paths relative to it, sorted.

    Hidden files and folders are left out; links to folders are followed, but not to a folder that they lie in.

    Raises:
        OSError: a folder cannot be read.
    """

    files = []
    for place, names in _walk(folder):
        files += [os.path.normpath(os.path.join(place, name)) for name in names if is_video_file(name)]
    return sorted(files)


def find_picture_folders(folder: str) -> list[str]:
    """Return the folders with pictures below a local folder, itself (".") among them: paths relative to it, sorted.

    Hidden ones and links: see `find_video_files`.

    Raises:
        OSError: a folder cannot be read.
    """
    return sorted(place for place, names in _walk(folder) if any(map(is_picture_file, names)))


def _walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    """Yield `folder` and the folders below it, as paths relative to it, with the names of their files."""

    def refuse(error: OSError) -> None:
        raise error  # os.walk passes over folders that it may not read

    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and not _is_loop(place, name)]
        yield os.path.relpath(place, folder), names


def _is_loop(place: str, name: str) -> bool:
    link = os.path.join(place, name)
    if not os.path.islink(link):
        return False
    return os.path.join(os.path.realpath(place), "").startswith(os.path.join(os.path.realpath(link), ""))

"""Video files on a local disk: names by extension, search below a folder."""

from __future__ import annotations

import os

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

    def refuse(error: OSError) -> None:
        raise error  # os.walk passes over folders that it may not read

    files = []
    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and not _is_loop(place, name)]
        relative = os.path.relpath(place, folder)
        files += [os.path.normpath(os.path.join(relative, name)) for name in names if is_video_file(name)]
    return sorted(files)


def _is_loop(place: str, name: str) -> bool:
    link = os.path.join(place, name)
    if not os.path.islink(link):
        return False
    return os.path.join(os.path.realpath(place), "").startswith(os.path.join(os.path.realpath(link), ""))

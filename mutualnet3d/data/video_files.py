"""Videos on a local disk, files by their extensions and folders of pictures: search below a folder.

The extensions are those of the container formats that `video/container.py` opens, and the one home of them: lists, the
preparation, the page and its uploader take the same files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mutualnet3d.video.frame_folder import is_moving_picture
from mutualnet3d.video.paths import is_picture_file

# In any case. A ".gif" is a video if it moves, else a picture.
VIDEO_EXTENSIONS = (
    *(".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv"),
    *(".3gp", ".3g2", ".mj2", ".f4v", ".ismv", ".qt", ".divx", ".mk3d", ".asf", ".ogv", ".ogm", ".rm", ".rmvb"),
    *(".mts", ".m2ts", ".m2t", ".tp", ".trp", ".tod", ".vob", ".vro", ".evo", ".mod", ".ps", ".m2p", ".mpe"),
    *(".m1v", ".m2v", ".mpv", ".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".obu", ".ivf"),
    *(".dv", ".dif", ".mxf", ".nut", ".y4m", ".gif"),
)
_MOST_EXTENSIONS = 6  # of a message


def is_video_file(name: str) -> bool:
    """Return True if a file is a video by its name; hidden files are none."""
    return name.lower().endswith(VIDEO_EXTENSIONS) and not name.startswith(".")


@dataclass(frozen=True)
class FolderContent:
    """Files below a local folder, without hidden ones: paths relative to it, sorted.

    Args:
        videos: video files.
        others: all other files.
    """

    videos: list[str]
    others: list[str]


def find_files(folder: str) -> FolderContent:
    """Return the files below a local folder.

    Hidden files and folders are left out; links to folders are followed, but not to a folder that they lie in.

    Args:
        folder: path of the folder.

    Raises:
        OSError: a folder cannot be read.
    """
    videos, others = [], []
    for place, names in _walk(folder):
        for name in names:
            path = os.path.normpath(os.path.join(place, name))
            if _is_video(os.path.join(folder, path)):
                videos.append(path)
            elif not name.startswith("."):
                others.append(path)
    return FolderContent(sorted(videos), sorted(others))


def find_video_files(folder: str) -> list[str]:
    """Return the video files below a local folder: paths relative to it, sorted; see `find_files`."""
    return find_files(folder).videos


def find_picture_folders(folder: str) -> list[str]:
    """Return the folders with pictures below a local folder, itself (".") among them: paths relative to it, sorted.

    Hidden ones and links: see `find_files`.

    Args:
        folder: path of the folder.

    Raises:
        OSError: a folder cannot be read.
    """
    return sorted(place for place, names in _walk(folder) if any(map(is_picture_file, names)))


def passed_over_text(paths: Iterable[str]) -> str:
    """Return the text about files that were passed over: their number by extension, with an example of each."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(os.path.splitext(path)[1].lower() or "no extension", []).append(path)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    parts = [f"{len(names)} {extension} ({names[0]})" for extension, names in ordered[:_MOST_EXTENSIONS]]
    rest = sum(len(names) for _, names in ordered[_MOST_EXTENSIONS:])
    if rest:
        parts.append(f"{rest} of {len(ordered) - _MOST_EXTENSIONS} other extensions")
    total = sum(map(len, groups.values()))
    return f"{total} file{'s' * (total != 1)} passed over, no videos by their names: {', '.join(parts)}"


def _is_video(path: str) -> bool:
    """Tell whether a file is a video by its name; a GIF also by its content."""
    name = os.path.basename(path)
    return is_video_file(name) and (not name.lower().endswith(".gif") or is_moving_picture(path))


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

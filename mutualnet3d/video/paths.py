"""Video files and folders of pictures, told apart by their paths."""

from __future__ import annotations

import os
import re
import stat

from iopath.common.file_io import g_pathmgr

# Names of pictures end so, in any case; PIL reads all of them.
PICTURE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2")


def is_folder(path: str) -> bool:
    """Tell whether a folder is at `path`, any path that iopath can open."""
    try:
        return bool(g_pathmgr.isdir(path))
    except NotImplementedError:  # a store that knows no folders, such as the web
        return False


def picture_paths(folder: str) -> list[str]:
    """Return the pictures of a folder in the natural order of their names: 2.jpg comes before 10.jpg.

    Hidden ones are left out.
    """
    names = [name for name in g_pathmgr.ls(folder) if is_picture_file(name)]
    return [os.path.join(folder, name) for name in sorted(names, key=_natural)]


def video_exists(path: str) -> bool:
    """Tell whether a video file, or a folder with a picture in it, is at `path`.

    On a network's disk each look is a wait, and a list has many paths: a file, and a path that leads to nothing, cost
    one look.
    """
    if "://" in path:
        return g_pathmgr.isfile(path) or (is_folder(path) and bool(picture_paths(path)))
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISDIR(mode):
            return stat.S_ISREG(mode)
        with os.scandir(path) as entries:
            return any(is_picture_file(entry.name) for entry in entries)
    except (OSError, ValueError):  # the latter: a path that cannot be
        return False


def is_picture_file(name: str) -> bool:
    """Return True if a file is a picture by its name; hidden files are none."""
    return name.lower().endswith(PICTURE_EXTENSIONS) and not name.startswith(".")


def _natural(name: str) -> list[tuple[bool, int, str]]:
    parts = re.findall(r"\d+|\D+", name)
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]

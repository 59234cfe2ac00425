"""Lists of a data set that is encoded anew, rewritten for the new videos; class names and missing videos with them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.any_list import read_any_list
from mutualnet3d.data.check_videos import ANY_LABEL
from mutualnet3d.data.label_names import label_file_beside, read_label_names
from mutualnet3d.data.list_kinds import MISSING_CSV
from mutualnet3d.data.list_labels import LabelSets
from mutualnet3d.data.lists import Video, path_in_list, without_reports, write_list
from mutualnet3d.data.text import read_text
from mutualnet3d.files.atomic import write_text
from mutualnet3d.files.hashes import sha256_of
from mutualnet3d.log import logger

LABELS = "labels.json"


class PreparedLists:
    """Lists of videos below `root`, read and checked, to be written for those below `output`.

    Args:
        lists: paths of the lists; reports of this project among them are passed over.
        root: folder of the videos.
        output: folder of the new videos.
        path_prefix: folder of relative paths; "": that of the list.
        separator: character between path and label.
        label_file: path of the names of the classes; "": labels are numbers.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: a list that cannot be rewritten, or lists of different class names.
    """

    def __init__(self, lists: Sequence[str], root: str, output: str, path_prefix: str, separator: str, label_file: str):
        self._lists, self._output, self._label_file = without_reports(lists), output, label_file
        _check_new_lists(self._lists, output)
        self._class_names = _class_names(self._lists, label_file, output)
        form = {"path_prefix": path_prefix, "separator": separator, "label_file": label_file}
        self._entries = {
            os.path.join(output, os.path.basename(path)): _moved(*read_any_list(path, ANY_LABEL, **form), root, output)
            for path in self._lists
        }

    def hashes(self) -> dict[str, str]:
        """Return texts with the hashes of the lists and of the file of class names, by their paths."""
        paths = [*self._lists, *([self._label_file] if self._label_file else [])]
        return {path: f"with SHA-256 {sha256_of(path)}" for path in paths}

    def write(self, is_there: Callable[[str], bool]) -> None:
        """Write the lists without the videos that are not there, labels.json if there are names, and missing.csv.

        Args:
            is_there: function of a new video's path.
        """
        output = self._output
        for path, entries in self._entries.items():
            whole = [(target, label) for target, label in entries if is_there(target)]
            write_list(path, [(path_in_list(target, output), label) for target, label in whole])
            logger.info("%s: %d of %d videos", path, len(whole), len(entries))
        if self._class_names:
            text = json.dumps(self._class_names, indent=1, ensure_ascii=False) + "\n"
            write_text(os.path.join(output, LABELS), text)
        _copy_missing(self._lists, output)


def new_name(name: str) -> str:
    """Return the name of the video that `name` becomes."""
    return f"{os.path.splitext(name)[0]}.mp4"


def is_below(path: str, folder: str) -> bool:
    """Tell whether a path is that of a folder, or of something in it."""
    return os.path.join(path, "").startswith(os.path.join(folder, ""))


def _class_names(lists: Sequence[str], label_file: str, output: str) -> dict[str, int]:
    """Return the names of the lists' classes with their ids; none if no file has them.

    Raises:
        ValueError: two lists, or a list and the one in `output`, have different names.
    """
    files = list(dict.fromkeys(path for path in (label_file or label_file_beside(path) for path in lists) if path))
    earlier = os.path.join(output, LABELS)
    if files and os.path.isfile(earlier):
        files.append(earlier)
    names = [read_label_names(path) for path in files]
    for path, other in zip(files, names, strict=True):
        if other != names[0]:
            raise ValueError(f"{files[0]} and {path} have different names of classes; one {LABELS} cannot have both")
    return names[0] if names else {}


def _copy_missing(lists: Sequence[str], output: str) -> None:
    """Copy the list of missing videos that lies beside the lists."""
    paths = {os.path.join(os.path.dirname(path), MISSING_CSV) for path in lists}
    sources = sorted(path for path in paths if g_pathmgr.isfile(path))
    if len(sources) == 1:
        write_text(os.path.join(output, MISSING_CSV), read_text(sources[0]))
    elif sources:
        logger.info("not copied, since they are several: %s", ", ".join(sources))


def _moved(
    videos: Sequence[Video], label_sets: LabelSets | None, root: str, output: str
) -> list[tuple[str, int | str]]:
    """Return the (path, label) that listed videos have below `output`; of several labels their text."""
    texts = label_sets.texts() if label_sets else None
    moved: list[tuple[str, int | str]] = []
    for video in videos:
        path = os.path.abspath(video.path)
        if not is_below(path, root):
            raise ValueError(f"{video.listed_at}: {video.path} does not lie below {root}, whose videos are prepared")
        label = texts[video.label] if texts else video.label
        moved.append((os.path.join(output, new_name(os.path.relpath(path, root))), label))
    return moved


def _check_new_lists(lists: Sequence[str], output: str) -> None:
    names = [os.path.basename(path) for path in lists]
    for path, name in zip(lists, names, strict=True):
        new = os.path.join(output, name)
        if names.count(name) > 1:
            raise ValueError(f"{path}: two lists have this name; both would become {new}")
        if os.path.realpath(path) == os.path.realpath(new):
            raise ValueError(f"{path}: the new list would take the place of this one; choose another output folder")

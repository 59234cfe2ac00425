"""Frame lists of PySlowFast: a header, and for each picture `original_vido_id video_id frame_id path labels`."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.lists import Video
from mutualnet3d.data.text import full_path

_COLUMNS = "original_vido_id video_id frame_id path labels"  # spelt as PySlowFast spells it


@dataclass(slots=True)
class ListedPictures:
    """Pictures of a video in a frame list.

    Args:
        folder: common start of their paths, "" or up to a slash.
        names: rest of each path, joined by newlines.
        line: line of the first picture.
        label: text of the first picture's label.
        last_id: `frame_id` of the last picture.
    """

    folder: str
    names: str
    line: int
    label: str
    last_id: int

    def add(self, other: ListedPictures) -> None:
        """Append pictures that are listed further down."""
        if self.folder == other.folder:
            self.names += "\n" + other.names
        else:
            self.folder, self.names = _with_common_folder(self._paths() + other._paths())
        self.last_id = other.last_id

    def _paths(self) -> list[str]:
        return [self.folder + name for name in self.names.split("\n")]

    def video(self, base: str, label: int, listed_at: str) -> Video:
        """Return the video of these pictures; relative paths are below `base`."""
        folder = full_path(base, self.folder)
        # A slash that ends a root (/ or s3://) belongs to it.
        folder = folder if folder.endswith("//") or folder == "/" else folder.removesuffix("/")
        return Video(folder, label, listed_at, self.names)


def read_frame_list(list_path: str) -> dict[str, ListedPictures]:
    """Read the pictures of each video, by the video's id; line by line, since lists have millions.

    Args:
        list_path: the list, in UTF-8; any path that iopath can open.

    Raises:
        ValueError: a line that is no picture, pictures out of order, or no line at all; the message names file and
            line.
    """
    videos: dict[str, ListedPictures] = {}
    for name, group in groupby(_rows(list_path), key=lambda row: row[1]):
        lines, _, frame_ids, paths, labels = zip(*group, strict=True)
        pictures = ListedPictures(*_with_common_folder(paths), lines[0], labels[0], frame_ids[-1])
        earlier = videos.get(name)
        # Pictures stay in the list's order; equal numbers are of lists whose makers left them at 0.
        previous_id = earlier.last_id if earlier else frame_ids[0]
        for line, frame_id in zip(lines, frame_ids, strict=True):
            if frame_id < previous_id:
                raise ValueError(
                    f"{list_path}:{line}: the frame_id must not fall within a video, got {frame_id} after "
                    f"{previous_id} (video {name})"
                )
            previous_id = frame_id
        if earlier:
            earlier.add(pictures)
        else:
            videos[name] = pictures
    if not videos:
        raise ValueError(f"{list_path}: the list is empty; expected a line `{_COLUMNS}` for each picture")
    return videos


def _with_common_folder(paths: Sequence[str]) -> tuple[str, str]:
    """Return the folder in which all paths lie, and the rest of each, joined by newlines."""
    first, last = min(paths), max(paths)  # a start of both is a start of all
    folder = first[: first.rfind("/") + 1]
    while not last.startswith(folder):
        folder = folder[: folder.rfind("/", 0, -1) + 1]
    return folder, "\n".join([path[len(folder) :] for path in paths])


def _rows(list_path: str) -> Iterator[tuple[int, str, int, str, str]]:
    """Yield line number, video, frame_id, path and labels of each picture."""
    with g_pathmgr.open(list_path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{list_path}:{number}: the text must be UTF-8 ({error.reason})") from error
            fields = line.split()
            if number == 1:
                if [word.strip('"') for word in fields[1:]] != _COLUMNS.split()[1:]:
                    raise ValueError(f"{list_path}:1: expected the header `{_COLUMNS}`, got {line.strip()!r}")
                continue
            if not fields:
                continue
            if len(fields) != 5 or fields[3][0] == '"' or fields[0][0] == '"':
                # Some writers put text in quotes; a path with spaces needs them.
                fields = next(csv.reader([line.strip()], delimiter=" "))
            if len(fields) != 5 or not fields[2].isdecimal() or not fields[3]:
                raise ValueError(f"{list_path}:{number}: expected `{_COLUMNS}`, got {line.strip()!r}")
            yield number, fields[0], int(fields[2]), fields[3], fields[4]

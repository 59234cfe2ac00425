"""Lists made from the official splits of UCF-101 and HMDB-51, and from MMAction2's lists.

The files are those that `make_lists` writes. Videos are looked for by their names without extension, so that those
that were encoded anew are found too. The missing ones are counted, and missing.csv has a line `listed_at,path` for
each.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.label_names import read_label_names
from mutualnet3d.data.make_lists import SPLITS, SplitCount, class_ids, count_of, local_folder, write_lists
from mutualnet3d.data.text import bounded_int, full_path, read_text
from mutualnet3d.data.video_files import find_video_files
from mutualnet3d.files.atomic import write_text
from mutualnet3d.log import logger
from mutualnet3d.video.paths import is_picture_file

MISSING_COLUMNS = ("listed_at", "path")


@dataclass(frozen=True)
class Entry:
    """Video of an official list.

    Args:
        split: name of the split.
        path: path in the list.
        label: number of the class; of several classes their text.
        listed_at: place of the line, `file:line`.
    """

    split: str
    path: str
    label: int | str
    listed_at: str


def lists_of_ucf101(splits: str, videos: str, output: str, split: int = 1) -> list[SplitCount]:
    """Write lists of UCF-101 by one of its official splits: trainlist01.txt, testlist01.txt and classInd.txt.

    The official test list becomes val.csv and test.csv. Ids are classInd.txt's less 1.

    Args:
        splits: folder of the three files (ucfTrainTestlist).
        videos: folder of the videos, CLASS/NAME or anywhere below.
        output: folder of the lists.
        split: number of the split, 1 to 3.

    Returns:
        The counts of train and val.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a malformed line, no such split, or no video found; the message names file and line.
    """
    _check_split(split)
    names = _ucf101_classes(os.path.join(splits, "classInd.txt"))
    entries = []
    for name, part in (("trainlist", "train"), ("testlist", "val")):
        path = os.path.join(splits, f"{name}{split:02d}.txt")
        for number, line in _lines(path, "an official list of UCF-101"):
            match = re.fullmatch(r"(([^/]+)/\S+\.\w+)(?: (\d+))?", line)
            label = names.get(match[2]) if match else None
            if match is None or label is None or (match[3] and bounded_int(match[3]) != label + 1):
                raise ValueError(
                    f"{path}:{number}: expected `CLASS/NAME.avi` of a class of classInd.txt, with its number or "
                    f"without, got {line!r}"
                )
            entries.append(Entry(part, match[1], label, f"{path}:{number}"))
    return write_entries(entries, names, videos, output)


def lists_of_hmdb51(splits: str, videos: str, output: str, split: int = 1) -> list[SplitCount]:
    """Write lists of HMDB-51 by one of its official splits: the files CLASS_test_split1.txt, a line `name 0|1|2` each.

    1 is for training, 2 for testing (val.csv and test.csv), 0 in neither. Ids follow the classes' names.

    Args:
        splits: folder of the files (testTrainMulti_7030_splits).
        videos: folder of the videos, CLASS/NAME or anywhere below.
        output: folder of the lists.
        split: number of the split, 1 to 3.

    Returns:
        The counts of train and val.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a malformed line, no such split, or no video found; the message names file and line.
    """
    _check_split(split)
    suffix = f"_test_split{split}.txt"
    files = sorted(name for name in os.listdir(local_folder(splits)) if name.endswith(suffix))
    if not files:
        raise FileNotFoundError(f"no file CLASS{suffix} in {splits}")
    names = class_ids(splits, [name.removesuffix(suffix) for name in files])
    entries = []
    for file in files:
        path, label = os.path.join(splits, file), file.removesuffix(suffix)
        for number, line in _lines(path, "a split file of HMDB-51"):
            match = re.fullmatch(r"(.+\.\w+)\s+([012])", line)
            if match is None:
                raise ValueError(f"{path}:{number}: expected `NAME.avi 0`, 1 or 2, got {line!r}")
            if match[2] != "0":
                part = "train" if match[2] == "1" else "val"
                entries.append(Entry(part, f"{label}/{match[1]}", names[label], f"{path}:{number}"))
    return write_entries(entries, names, videos, output)


def lists_of_mmaction2(lists: Mapping[str, str], videos: str, output: str, classes: str = "") -> list[SplitCount]:
    """Write lists of MMAction2's: lines `path frames label` of folders of pictures, or `path label` of videos.

    Args:
        lists: files by their split, train, val or test.
        videos: folder that their paths are below.
        output: folder of the lists.
        classes: file of the classes' names, see `read_label_names`; "": the names are the numbers.

    Returns:
        The counts of the splits.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a malformed line, a label beyond the names, or no video found; the message names file and line.
    """
    folder = local_folder(videos)
    names = read_label_names(classes) if classes else {}
    entries, num_frames = [], {}
    for part in SPLITS:
        path = lists.get(part, "")
        for number, line in _lines(path, "a list of MMAction2") if path else ():
            match = re.fullmatch(r"(\S.*?)(?:\s+(\d+))?\s+(\d+)", line)
            if match is None or (names and bounded_int(match[3]) >= len(names)):
                allowed = f", labels 0 to {len(names) - 1}" if names else ""
                raise ValueError(
                    f"{path}:{number}: expected `path frames label` or `path label`{allowed}, got {line!r}; lists of "
                    "several labels for a video are not read"
                )
            entry = Entry(part, match[1], bounded_int(match[3]), f"{path}:{number}")
            entries.append(entry)
            if match[2]:
                num_frames[entry] = bounded_int(match[2])
    if not names:
        names = {str(label): label for label in range(1 + max((int(entry.label) for entry in entries), default=0))}
    _warn_of_other_pictures(num_frames, folder)
    return write_entries(entries, names, videos, output)


def _warn_of_other_pictures(num_frames: Mapping[Entry, int], folder: str) -> None:
    """Log the folders that have other pictures than the list counts: those of the optical flow would be frames too."""
    other = []
    for entry, count in num_frames.items():
        place = full_path(folder, entry.path)
        if os.path.isdir(place):
            num_pictures = sum(1 for name in os.listdir(place) if is_picture_file(name))
            if num_pictures != count:
                other.append((entry, num_pictures, count))
    if other:
        entry, num_pictures, count = other[0]
        logger.warning(
            "%d of %d folders have more or fewer pictures than their list counts; the first: %s (%s) has %d, not %d. "
            "All pictures of a folder are frames: those of the optical flow must lie elsewhere",
            len(other),
            len(num_frames),
            entry.path,
            entry.listed_at,
            num_pictures,
            count,
        )


def write_entries(entries: Sequence[Entry], names: Mapping[str, int], videos: str, output: str) -> list[SplitCount]:
    """Write lists of the videos of official lists, the names of their classes, and missing.csv; return the counts.

    Args:
        entries: videos.
        names: name of a class -> its id.
        videos: folder that the videos lie below.
        output: folder of the lists.

    Raises:
        ValueError: no video was found.
    """
    folder = local_folder(videos)
    find = _Finder(folder)
    lists: dict[str, list[tuple[str, int | str]]] = {split: [] for split in SPLITS}
    missing = []
    for entry in entries:
        path = find(entry.path)
        if path:
            lists[entry.split].append((path, entry.label))
        else:
            missing.append((entry.listed_at, entry.path))
    if not any(lists.values()):
        first = f"; the first is {entries[0].path} ({entries[0].listed_at})" if entries else ""
        raise ValueError(f"{videos}: none of {len(entries)} listed videos is there{first}")
    write_lists(output, {split: pairs for split, pairs in lists.items() if pairs}, names)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([MISSING_COLUMNS, *missing])
    write_text(os.path.join(output, "missing.csv"), text.getvalue())
    listed = [entry.split for entry in entries]
    return [count_of(split, lists[split], listed.count(split)) for split in SPLITS if split in listed]


class _Finder:
    """Search for listed videos: at their path below a folder, or else anywhere below it by name and class."""

    def __init__(self, folder: str):
        self._folder = folder
        self._paths_of_stem: dict[str, list[str]] | None = None

    def __call__(self, path: str) -> str:
        """Return the full path of a video; "" if there is none."""
        place = full_path(self._folder, path)
        if os.path.exists(place):
            return place
        if self._paths_of_stem is None:
            self._paths_of_stem = defaultdict(list)
            for name in find_video_files(self._folder):
                self._paths_of_stem[_stem(name)].append(name)
        choices = self._paths_of_stem.get(_stem(path), [])
        # A name may be that of videos of several classes.
        parent = os.path.basename(os.path.dirname(path))
        choices = [choice for choice in choices if parent in choice.split(os.sep)[:-1]] or choices[:1]
        return os.path.join(self._folder, choices[0]) if choices else ""


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _check_split(split: int) -> None:
    if split not in (1, 2, 3):
        raise ValueError(f"split is {split}; allowed: 1, 2, 3")


def _ucf101_classes(path: str) -> dict[str, int]:
    """Return the classes of classInd.txt, whose lines are `1 ApplyEyeMakeup`, with ids from 0."""
    names: dict[str, int] = {}
    for number, line in _lines(path, "UCF-101's classes"):
        match = re.fullmatch(r"(\d+) (\S+)", line)
        if match is None or bounded_int(match[1]) != len(names) + 1 or match[2] in names:
            raise ValueError(f"{path}:{number}: expected `{len(names) + 1} CLASS`, got {line!r}")
        names[match[2]] = len(names)
    return names


def _lines(path: str, kind: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that are not empty.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has no line.
    """
    if not g_pathmgr.isfile(path):
        raise FileNotFoundError(f"no file at {path}; expected {kind}")
    num_lines = 0
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line := line.strip():
            num_lines += 1
            yield number, line
    if not num_lines:
        raise ValueError(f"{path}: the file is empty; expected {kind}")

"""Record of encoded videos: of which source and with which settings each was made, prepared.csv in their folder.

A line is written at once and whole when a video is done; one that a killed process left unfinished is dropped, and its
video is made anew.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, fields

from mutualnet3d.files.atomic import write_atomically
from mutualnet3d.files.regular import read_bounded
from mutualnet3d.video.transcode import Encoding

NAME = "prepared.csv"
_FIRST_COLUMNS = ("path", "size", "mtime_ns", *(field.name for field in fields(Encoding)))  # of the first releases
COLUMNS = (*_FIRST_COLUMNS, "damages")
_MAX_BYTES = 1 << 30
_ENCODING = ("utf-8", "surrogateescape")  # names of files may be other bytes


@dataclass(frozen=True)
class Preparation:
    """Circumstances of an encoded video.

    Args:
        size: bytes of its source.
        mtime_ns: time of the source's last change, in nanoseconds.
        encoding: settings that it was encoded with.
        damages: number of its source's packets that could not be decoded, and of frames in which errors are concealed.
    """

    size: int
    mtime_ns: int
    encoding: Encoding
    damages: int = 0

    def is_of_source(self, other: Preparation) -> bool:
        """Tell whether the source was the same file."""
        return (self.size, self.mtime_ns) == (other.size, other.mtime_ns)

    def difference(self, encoding: Encoding) -> str:
        """Return the settings that differ from `encoding`, as text; "" if none does."""
        mine, others = asdict(self.encoding), asdict(encoding)
        return ", ".join(f"{name} {mine[name]}, not {others[name]}" for name in mine if mine[name] != others[name])


def preparation_of(source: str, encoding: Encoding) -> Preparation:
    """Return the circumstances of a video that is encoded now.

    Args:
        source: path of the video to encode.
        encoding: size and quality of the new video.

    Raises:
        OSError: the source cannot be looked at.
    """
    status = os.stat(source)
    return Preparation(status.st_size, status.st_mtime_ns, encoding)


class PreparationRecord:
    """The file, with the circumstances of each video by its source's path below the data set's folder.

    Args:
        folder: folder of the encoded videos.

    Attributes:
        is_new: True if there was no file.

    Raises:
        ValueError: the file is no record; the message names the line.
    """

    def __init__(self, folder: str):
        self._path = os.path.join(folder, NAME)
        self.is_new = not os.path.exists(self._path)
        self._entries = {} if self.is_new else self._read()

    def get(self, name: str) -> Preparation | None:
        """Return the circumstances of a video; None if it has none."""
        return self._entries.get(name)

    def write(self, entries: Mapping[str, Preparation]) -> None:
        """Make the file anew with the circumstances of these videos alone."""
        self._entries = dict(entries)
        lines = [_line(*COLUMNS), *(_line(name, *_values(entry)) for name, entry in entries.items())]
        write_atomically(self._path, lambda file: file.write("".join(lines).encode(*_ENCODING)))

    def add(self, name: str, entry: Preparation) -> None:
        """Append the circumstances of a video."""
        self._entries[name] = entry
        with open(self._path, "ab", buffering=0) as file:
            file.write(_line(name, *_values(entry)).encode(*_ENCODING))

    def _read(self) -> dict[str, Preparation]:
        text = read_bounded(self._path, "a record of encoded videos", _MAX_BYTES).decode(*_ENCODING)
        rows = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline="")))
        if not rows or tuple(rows[0]) not in (_FIRST_COLUMNS, COLUMNS):
            raise ValueError(f"{self._path}:1: expected the header {','.join(COLUMNS)}")
        entries = {}
        for number, row in enumerate(rows[1:], start=2):
            try:
                name, size, mtime_ns, short_side, keyframe_every, crf, preset, *damages = row
                encoding = Encoding(int(short_side), int(keyframe_every), int(crf), preset)
                entries[name] = Preparation(int(size), int(mtime_ns), encoding, *map(int, damages))
            except (ValueError, TypeError) as error:  # TypeError: too many values
                columns = ",".join(COLUMNS)
                raise ValueError(
                    f"{self._path}:{number}: expected {columns}, got {row!r:.200}: {error!s:.200}"
                ) from error
        return entries


def _values(entry: Preparation) -> tuple[object, ...]:
    return (entry.size, entry.mtime_ns, *astuple(entry.encoding), entry.damages)


def _line(*values: object) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()

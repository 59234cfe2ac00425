"""Official CSV files of Kinetics-400, 600 and 700."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import NoReturn

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.text import read_text, shortened

# Texts of the column `split` -> names of splits.
SPLIT_OF = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
KINETICS_COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")


@dataclass(frozen=True)
class KineticsClip:
    """Row of a Kinetics CSV file.

    Args:
        label: name of the class.
        youtube_id: name of the video at YouTube.
        start: start of the clip in that video, seconds.
        end: end of the clip, seconds.
        split: name of the split in the file.
        row: values of `KINETICS_COLUMNS`, as the file has them.
    """

    label: str
    youtube_id: str
    start: int
    end: int
    split: str
    row: tuple[str, ...]

    @property
    def file_stem(self) -> str:
        """Name of the trimmed video's file, without its extension."""
        return f"{self.youtube_id}_{self.start:06d}_{self.end:06d}"


def read_kinetics_csv(path: str) -> list[KineticsClip]:
    """Read one of Kinetics' CSV files: a header with `KINETICS_COLUMNS` in any order, other columns ignored.

    Args:
        path: path of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing or a row is malformed; the message names file, line, what was read and what is
            expected.
    """
    if not g_pathmgr.isfile(path):
        raise FileNotFoundError(f"no file at {path}; expected a CSV file with the columns {','.join(KINETICS_COLUMNS)}")
    clips = []
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = next(reader, [])
        absent = [column for column in KINETICS_COLUMNS if column not in header]
        if absent:
            reason = "; a test file that comes without labels makes no list" if "label" in absent else ""
            raise ValueError(
                f"{path}:1: no column {absent[0]!r}{reason}; "
                f"expected {','.join(KINETICS_COLUMNS)}, got {shortened(','.join(header))}"
            )
        for row in reader:
            if row:
                clips.append(_clip(header, row, f"{path}:{reader.line_num}"))
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: the file must be CSV: {error}") from error
    if not clips:
        raise ValueError(f"{path}: the file lists no video")
    return clips


def _clip(header: list[str], row: list[str], listed_at: str) -> KineticsClip:
    def refuse(expected: str) -> NoReturn:
        columns = ",".join(header)
        raise ValueError(f"{listed_at}: {expected}, got {shortened(','.join(row))}; the columns are {columns:.200}")

    if len(row) != len(header):
        refuse(f"expected {len(header)} fields")
    label, youtube_id, start, end, split = values = tuple(row[header.index(column)] for column in KINETICS_COLUMNS)
    if not label or not youtube_id:
        refuse("expected a label and a youtube_id")
    if not (start.isdecimal() and end.isdecimal() and int(start) < int(end)):
        refuse("time_start and time_end must be whole seconds, the end after the start")
    if split not in SPLIT_OF:
        refuse(f"split must be one of {', '.join(SPLIT_OF)}")
    return KineticsClip(label, youtube_id, int(start), int(end), SPLIT_OF[split], values)

"""Files of features of many videos, NumPy's .npz or Parquet, written piece by piece.

The writers take records and a file of the numbers.

A record is of one video and has `source`, `status` and `label` (None without any). An ok one also has `starts` and
`ends` of its vectors, seconds, and `place` and `shape` of its numbers in the other file; any other has `error`.

Legend: N vectors, C channels.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import IO, Any, TypeAlias

import numpy as np

from mutualnet3d.extras import require
from mutualnet3d.files.atomic import atomic_file
from mutualnet3d.results.prediction_rows import EXTRA, OK, utf8_text

FORMATS = (".npz", ".parquet")
VECTOR_TYPE = np.dtype("<f4")
_CHUNK_BYTES = 32 << 20  # of numbers that are in memory at once

Record: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class FeatureLayout:
    """Layout of a file of features.

    Args:
        num_vectors: number of vectors of all videos.
        shape: shape of a vector; (0,) without any.
        label_type: type of the videos' labels, int or str; None: not all have one.
    """

    num_vectors: int
    shape: tuple[int, ...]
    label_type: type | None

    @classmethod
    def of(cls, records: Iterable[Record]) -> FeatureLayout:
        """Return the layout of the features of some records."""
        num_vectors, shape = 0, (0,)
        types = set()
        for record in records:
            types.add(type(record["label"]))
            if record["status"] == OK:
                num_vectors += record["shape"][0]
                shape = tuple(record["shape"][1:])
        label_type = int if types == {int} else str
        return cls(num_vectors, shape, None if type(None) in types else label_type)


def check_format(path: str, option: str) -> None:
    """Refuse a file whose extension is not that of a format, or whose library is not installed.

    Args:
        path: path of the file.
        option: name of the user's option, for the error.

    Raises:
        ValueError: the extension is another one.
        ModuleNotFoundError: the library is not installed; the message says what to install.
    """
    extension = os.path.splitext(path)[1].lower()
    if extension not in FORMATS:
        raise ValueError(f"{option}: {path}: the extension says the format; allowed: {', '.join(FORMATS)}")
    if extension == ".parquet":
        require("pyarrow.parquet", EXTRA)


def write_features(
    path: str, records: Iterable[Record], layout: FeatureLayout, vectors_path: str, about: Mapping[str, str]
) -> None:
    """Write features in the format of the path's extension; the file is whole or absent.

    Args:
        path: path of the file.
        records: records of all videos.
        layout: layout of the records' features.
        vectors_path: path of the file of the numbers.
        about: facts of all vectors, texts by names: `config`, `backend`, `layer`.

    Raises:
        EOFError: the file of the numbers is too short.
        WriteError: the disk is full.
    """
    write = _write_npz if path.lower().endswith(".npz") else _write_parquet
    with atomic_file(path) as temporary, open(vectors_path, "rb") as vectors:
        write(temporary, records, layout, vectors, about)


def _write_npz(
    path: str, records: Iterable[Record], layout: FeatureLayout, vectors: IO[bytes], about: Mapping[str, str]
) -> None:
    """Write `features` (N, C), `video`, `start`, `end`, `labels` (N,), texts of `about`, `unread` and `reason`."""
    videos: list[str] = []
    labels: list[Any] = []
    starts: list[float] = []
    ends: list[float] = []
    unread: list[tuple[str, str]] = []
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        with _member(archive, "features") as member:
            header = {"descr": VECTOR_TYPE.str, "fortran_order": False, "shape": (layout.num_vectors, *layout.shape)}
            np.lib.format.write_array_header_2_0(member, header)
            for record in records:
                if record["status"] != OK:
                    unread.append((record["source"], record["error"]))
                    continue
                for values in _parts(vectors, record):
                    member.write(values.tobytes())
                count = record["shape"][0]
                videos += [record["source"]] * count
                labels += [record["label"]] * count
                starts += record["starts"]
                ends += record["ends"]
        arrays = {
            "video": _text_array(videos),
            "start": np.array(starts, np.float64),
            "end": np.array(ends, np.float64),
            "unread": _text_array([source for source, _ in unread]),
            "reason": _text_array([reason for _, reason in unread]),
            **{name: np.array(text) for name, text in about.items()},
        }
        if layout.label_type is int:
            arrays["labels"] = np.array(labels, np.int64)
        elif layout.label_type is str:
            arrays["labels"] = _text_array(list(map(str, labels)))
        for name, array in arrays.items():
            with _member(archive, name) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _write_parquet(
    path: str, records: Iterable[Record], layout: FeatureLayout, vectors: IO[bytes], about: Mapping[str, str]
) -> None:
    """Write a row for each vector, and one for each video that was not read.

    `features` is a list, with its shape in the column's metadata. The list's type has no fixed length: before version
    26, pyarrow cannot read such a column with missing rows.
    """
    arrow, parquet = require("pyarrow", EXTRA), require("pyarrow.parquet", EXTRA)
    length = max(1, prod(layout.shape))
    label_type = arrow.int64() if layout.label_type is int else arrow.string()
    columns = [
        *(("path", arrow.string()), ("status", arrow.string()), ("reason", arrow.string())),
        *([] if layout.label_type is None else [("label", label_type)]),
        *((name, arrow.string()) for name in about),
        *(("start", arrow.float64()), ("end", arrow.float64())),
    ]
    shape = {"shape": " ".join(map(str, layout.shape))}
    features = arrow.field("features", arrow.list_(arrow.float32()), metadata=shape)
    schema = arrow.schema([*(arrow.field(name, kind) for name, kind in columns), features])
    with parquet.ParquetWriter(path, schema) as writer:
        for rows in _row_chunks(records, vectors, layout, about, max(1, _CHUNK_BYTES // (4 * length))):
            arrays = [arrow.array([row[name] for row in rows], kind) for name, kind in columns]
            missing = np.array([row["features"] is None for row in rows])
            vectors_read = [row["features"].ravel() for row in rows if row["features"] is not None]
            values = np.concatenate([np.zeros(0, VECTOR_TYPE), *vectors_read])
            offsets = np.concatenate([[0], np.cumsum(np.where(missing, 0, length))]).astype(np.int32)
            arrays.append(arrow.ListArray.from_arrays(offsets, values, mask=arrow.array(missing)))
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def _row_chunks(
    records: Iterable[Record], vectors: IO[bytes], layout: FeatureLayout, about: Mapping[str, str], size: int
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a Parquet file, `size` at a time."""
    rows: list[dict[str, Any]] = []
    for record in records:
        for row in _rows(record, vectors, layout, about):
            rows.append(row)
            if len(rows) == size:
                yield rows
                rows = []
    if rows:
        yield rows


def _rows(
    record: Record, vectors: IO[bytes], layout: FeatureLayout, about: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    label = record["label"] if layout.label_type is not str else str(record["label"])
    row = {"path": utf8_text(record["source"]), "status": record["status"], "reason": None, "label": label}
    if record["status"] != OK:
        nothing = dict.fromkeys([*about, "start", "end", "features"])
        yield {**row, **nothing, "reason": utf8_text(record["error"])}
        return
    values = (vector for part in _parts(vectors, record) for vector in part)
    for start, end, vector in zip(record["starts"], record["ends"], values, strict=True):
        yield {**row, **about, "start": start, "end": end, "features": vector}


def _parts(vectors: IO[bytes], record: Record) -> Iterator[np.ndarray]:
    """Yield the vectors of a record, some at a time.

    Raises:
        EOFError: the file is too short.
    """
    count, shape = record["shape"][0], tuple(record["shape"][1:])
    bytes_of_one = VECTOR_TYPE.itemsize * prod(shape)
    step = max(1, _CHUNK_BYTES // max(1, bytes_of_one))
    vectors.seek(record["place"])
    for first in range(0, count, step):
        number = min(step, count - first)
        content = vectors.read(number * bytes_of_one)
        if len(content) < number * bytes_of_one:
            raise EOFError(f"{len(content)} of {number * bytes_of_one} bytes")
        yield np.frombuffer(content, VECTOR_TYPE).reshape(number, *shape)


def _text_array(texts: Sequence[str]) -> np.ndarray:
    return np.array([utf8_text(text) for text in texts], np.str_)


@contextmanager
def _member(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        yield member

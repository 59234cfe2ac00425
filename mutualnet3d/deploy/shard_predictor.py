"""Prediction of a list by many machines, which take shards of it and write a Parquet file for each shard.

`ShardPredictor` is for schedulers such as Ray Data (`examples/ray_batch.py`), which make one in each process. A part
has its name only when it is whole. A shard that is predicted twice, for instance after its process was killed, gives
the same part in the same place, so that every file is in the results once. A shard whose part exists is not predicted
again. Other files of the folder begin with a dot or an underscore, and readers of Parquet folders skip them.
"""

from __future__ import annotations

import json
import os
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mutualnet3d.deploy.file_predictor import record_of
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.deploy.subnet_predictor import ViewsWanted
from mutualnet3d.extras import require
from mutualnet3d.results.listed_run import difference_text
from mutualnet3d.results.prediction_rows import EXTRA, write_parquet

_RUN = "_run.json"  # what the parts of a folder were asked for with


class ShardPredictor:
    """Function from a shard, `{"shard": 3, "paths": [...]}`, to the number of its files by status.

    Args:
        checkpoint: path of a bundle's folder or of a checkpoint, see `Predictor.load`.
        output: folder of the parts, local, or an address that pyarrow knows, such as s3://bucket/folder.
        table: path of the checkpoint's query table; None: query_table.json beside it.
        backend: name of the back end; "auto" may choose another one on each machine.
        device: name of the device, "cpu" or "cuda", see `Predictor.load`.
        threads: number of threads of the CPU, see `Predictor.load`.
        gflops: largest cost of a video, 1e9 multiply-adds, see `Predictor.predict`.
        config: key of the sub-network, see `Predictor.predict`.
        views: clips over the video, see `Predictor.predict`.
        mean_gflops: largest mean cost of a video, 1e9 multiply-adds, see `Predictor.predict`.
        top: number of labels, at least 1.
        batch_size: largest number of clips of a forward pass, see `Predictor.predict_files`.
        workers: number of processes that read, see `Predictor.predict_files`.
        timeout: longest time of reading a file, seconds, see `Predictor.predict_files`.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: errors of `Predictor.load` and `Predictor.plan`; pyarrow is
            not installed.
    """

    def __init__(
        self,
        checkpoint: str,
        output: str,
        *,
        table: str | None = None,
        backend: str = "pytorch",
        device: str | None = None,
        threads: int | None = None,
        gflops: float | None = None,
        config: str | None = None,
        views: ViewsWanted = None,
        mean_gflops: float | None = None,
        top: int = 5,
        batch_size: int = 8,
        workers: int = 1,
        timeout: float = 300.0,
    ):
        self._store, self._folder = _store_of(output)
        self._predictor = Predictor.load(checkpoint, table, backend, device, threads)
        self._plan = self._predictor.plan(gflops=gflops, config=config, views=views, mean_gflops=mean_gflops)
        self._top = min(top, len(self._predictor.class_names))
        self._settings: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "timeout": timeout}

    def __call__(self, shard: Mapping[str, Any]) -> dict[str, int]:
        """Predict the files of a shard and write its part, unless the part exists.

        Args:
            shard: description of the shard: its number as "shard", paths of its files as "paths".

        Returns:
            number of the shard as "shard"; number of its files by status: "ok", "bad", "missing".

        Raises:
            DataAway: the disk of the videos is missing.
        """
        number, paths = int(shard["shard"]), [str(path) for path in shard["paths"]]
        place = f"{self._folder}/{part_name(number)}"
        if not self._is_there(place):
            self._write(place, paths)
        statuses = require("pyarrow.parquet", EXTRA).read_table(place, columns=["status"], filesystem=self._store)
        counts = Counter(statuses["status"].to_pylist())
        return {"shard": number, **{status: counts[status] for status in ("ok", "bad", "missing")}}

    def _is_there(self, place: str) -> bool:
        kind = self._store.get_file_info(place).type
        return bool(kind != require("pyarrow.fs", EXTRA).FileType.NotFound)

    def _write(self, place: str, paths: Sequence[str]) -> None:
        """Predict files and write their part, which gets its name only when it is whole."""
        outcomes = self._predictor.predict_files(paths, self._plan, top=self._top, **self._settings)
        records = {number: record_of(paths[number], outcome) for number, outcome in outcomes}
        temporary = f"{self._folder}/.{uuid.uuid4().hex}.tmp"
        try:
            with self._store.open_output_stream(temporary) as file:
                write_parquet(file, (records[number] for number in range(len(paths))), self._top)
            self._store.move(temporary, place)
        except BaseException:
            if self._is_there(temporary):
                self._store.delete_file(temporary)
            raise


def part_name(number: int) -> str:
    """Return the name of a shard's part."""
    return f"part-{number:06d}.parquet"


def shards_of(paths: Sequence[str], size: int) -> list[dict[str, Any]]:
    """Return the shards of a list, in its order.

    Args:
        paths: paths of the files, which are made absolute, since processes of other machines have other folders.
        size: largest number of files of a shard, at least 1.

    Raises:
        ValueError: the size is another one.
    """
    if size < 1:
        raise ValueError(f"the size of a shard is {size}; it must be at least 1")
    absolute = [path if "://" in path else os.path.abspath(path) for path in paths]
    starts = range(0, len(absolute), size)
    return [{"shard": number, "paths": absolute[start : start + size]} for number, start in enumerate(starts)]


def begin_run(output: str, asked: Mapping[str, str]) -> None:
    """Make the folder of the parts, and write the options of the run into it.

    Args:
        output: folder of the parts, see `ShardPredictor`.
        asked: options of the run, texts by names for messages; a later start goes on only with the same options.

    Raises:
        ValueError: the parts of another run are there.
    """
    store, folder = _store_of(output)
    store.create_dir(folder, recursive=True)
    place, kinds = f"{folder}/{_RUN}", require("pyarrow.fs", EXTRA).FileType
    if store.get_file_info(place).type != kinds.NotFound:
        with store.open_input_stream(place) as file:
            difference = difference_text(json.loads(file.read()), asked)
        if difference:
            raise ValueError(f"{output} was begun with {difference}; choose another folder, or empty this one")
        return
    with store.open_output_stream(place) as file:
        file.write(json.dumps(dict(asked), indent=1).encode())


def _store_of(output: str) -> tuple[Any, str]:
    """Return pyarrow's file system of a folder, and its path there."""
    files = require("pyarrow.fs", EXTRA)
    if "://" in output:
        store, folder = files.FileSystem.from_uri(output)
        return store, folder.rstrip("/")
    return files.LocalFileSystem(), os.path.abspath(output)

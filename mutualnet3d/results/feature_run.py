"""Run that writes the features of many files into one file, and goes on after any kill, see `listed_run`.

During the run the numbers lie in `OUTPUT.vectors`, one file's after the other, since they are too long for a line of
the journal, which has their places. Numbers that a kill leaves without a line of the journal are never read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from mutualnet3d.files.output import check_output_file
from mutualnet3d.results.feature_files import VECTOR_TYPE, FeatureLayout, check_format, write_features
from mutualnet3d.results.listed_run import BEGIN_ANEW, ListedRun
from mutualnet3d.results.prediction_rows import OK


class FeatureRun(ListedRun):
    """Run whose results are features, as a context; `output` has an extension of `feature_files.FORMATS`.

    Arguments, attributes and errors are those of `ListedRun`.
    """

    form = "mutualnet3d.features"
    _vectors: IO[bytes]

    @property
    def vectors_path(self) -> str:
        """Path of the features so far."""
        return f"{self.output}.vectors"

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            # Unbuffered: what is written is there when the journal says so.
            self._vectors = open(self.vectors_path, "ab" if self.journal.num_done else "wb", buffering=0)
        except BaseException:
            super()._leave(drops_journal=False)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._vectors.close()
        super().__exit__(kind, error, trace)

    def add(self, number: int, record: Mapping[str, Any], feature_NC: np.ndarray) -> None:
        """Record the features of a file.

        Args:
            number: number of the file.
            record: record of the file without `place` and `shape`, see `feature_files`.
            feature_NC: features of the file.

        Raises:
            OSError: the features cannot be written.
        """
        values = np.ascontiguousarray(feature_NC, VECTOR_TYPE)
        place = os.fstat(self._vectors.fileno()).st_size
        rest = values.reshape(-1).view(np.uint8).data
        while rest:
            rest = rest[self._vectors.write(rest) :]
        self.journal.add(number, {**record, "status": OK, "place": place, "shape": list(values.shape)})

    def finish(self, about: Mapping[str, str]) -> None:
        """Write the results, and that the run is complete.

        Args:
            about: facts of all vectors, texts by names, see `feature_files.write_features`.

        Raises:
            ValueError: a file has no result yet, or its features are missing.
            WriteError: the disk is full; the journal stays.
        """
        layout = FeatureLayout.of(self.journal.records())
        try:
            self._finish(lambda records: write_features(self.output, records, layout, self.vectors_path, about))
        except EOFError as error:
            raise ValueError(
                f"{self.vectors_path} is not whole: the features of some files are gone; {BEGIN_ANEW}"
            ) from error

    def _leave(self, drops_journal: bool) -> None:
        if drops_journal:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.vectors_path)
        super()._leave(drops_journal)


def check_output(path: str, option: str) -> None:
    """Refuse an output that cannot be written, without making anything.

    Args:
        path: path of the results.
        option: name of the user's option, for the error.

    Raises:
        ValueError: the path is a folder, its folder cannot be written to, or its format is unknown.
        ModuleNotFoundError: the format's library is not installed.
    """
    check_output_file(path, option)
    check_format(path, option)

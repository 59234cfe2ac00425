"""Files that stand for the networks of a predictor when it is pickled."""

from __future__ import annotations

import os
from dataclasses import dataclass

from mutualnet3d.deploy.bundle_files import SUMS
from mutualnet3d.files.hashes import sha256_of


@dataclass(frozen=True)
class PickledFiles:
    """Files from which the copy of a predictor in another process is loaded.

    Args:
        path: absolute path of the bundle or checkpoint.
        table: absolute path of the query table; None: the default of `Predictor.load`.
        sums: SHA-256 sums by file.
    """

    path: str
    table: str | None
    sums: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, path: str, table: str | None) -> PickledFiles:
        """Return the files of `Predictor.load(path, table)`."""
        path, table = _absolute(path), None if table is None else _absolute(table)
        # A bundle's list has the sums of all its files, which loading compares.
        files = [os.path.join(path, SUMS) if os.path.isdir(path) else path, *([table] if table else [])]
        return cls(path, table, tuple((file, sha256_of(file)) for file in files))

    def check(self) -> None:
        """Refuse files that have changed.

        Raises:
            ValueError: a file has changed.
        """
        for file, expected in self.sums:
            if sha256_of(file) != expected:
                raise ValueError(f"{file} was changed since the predictor that was pickled had loaded it")


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)

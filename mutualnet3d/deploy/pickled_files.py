"""Files that stand for the networks of a predictor when it is pickled."""

from __future__ import annotations

import os
from dataclasses import dataclass

from mutualnet3d.deploy.bundle_files import SUMS
from mutualnet3d.files.hashes import sha256_of


@dataclass(frozen=True)
class PickledFiles:
    """Files that the copy of a predictor in another process is loaded of.

    Args:
        path, table: arguments of `Predictor.load`, absolute paths.
        sums: each file and its SHA-256 sum.
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
        """Do nothing if the files are the same.

        Raises:
            ValueError: another file is there now.
        """
        for file, expected in self.sums:
            if sha256_of(file) != expected:
                raise ValueError(f"{file} was changed since the predictor that was pickled had loaded it")


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)

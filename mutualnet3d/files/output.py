"""Check of a program's outputs before its work: whether they can be written is known at once, not after hours."""

from __future__ import annotations

import os
import tempfile

from mutualnet3d.files.atomic import TEMPORARY_SUFFIX


def check_output_folder(path: str, option: str) -> None:
    """Refuse a folder that files cannot be written into, or that cannot be made; nothing is made.

    Args:
        path: the folder.
        option: name that the user gives it by, for the error.

    Raises:
        ValueError: it is a file, or nothing can be written there; the reason is named.
    """
    nearest = os.path.abspath(path)
    while not os.path.lexists(nearest):
        nearest = os.path.dirname(nearest)
    if not os.path.isdir(nearest):
        raise ValueError(f"{option}: {nearest} is no folder; nothing can be written into {path}")
    try:
        with tempfile.NamedTemporaryFile(dir=nearest, prefix=".", suffix=TEMPORARY_SUFFIX):
            pass
    except OSError as error:
        raise ValueError(f"{option}: nothing can be written into {nearest}: {error.strerror}") from error


def check_output_file(path: str, option: str) -> None:
    """Refuse a file that cannot be written; nothing is made.

    Args:
        path: the file.
        option: name that the user gives it by, for the error.

    Raises:
        ValueError: it is a folder, or nothing can be written into its folder.
    """
    if os.path.isdir(path):
        raise ValueError(f"{option}: {path} is a folder; expected a file")
    check_output_folder(os.path.dirname(path) or ".", option)

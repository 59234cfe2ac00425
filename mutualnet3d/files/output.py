"""Check of a program's outputs before its work: one that cannot be written ends it at once, not after hours."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence

from mutualnet3d.files.atomic import TEMPORARY_SUFFIX


def check_output_folder(path: str, option: str) -> None:
    """Refuse a folder that files cannot be written into, or that cannot be made; nothing is made.

    Args:
        path: the folder.
        option: name that the user gives it by, for the error.

    Raises:
        ValueError: it is a file, or nothing can be written there; the reason is named.
    """
    if not path:
        raise ValueError(f"{option} is empty; expected a folder")
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
    if not path:
        raise ValueError(f"{option} is empty; expected a file")
    if os.path.isdir(path):
        raise ValueError(f"{option}: {path} is a folder; expected a file")
    check_output_folder(os.path.dirname(path) or ".", option)


def check_new_folder(path: str, option: str) -> None:
    """Refuse a folder that is there already, or that cannot be made.

    Args:
        path: the folder.
        option: name that the user gives it by, for the error.

    Raises:
        ValueError: something is there; it cannot be made.
    """
    if not path:
        raise ValueError(f"{option} is empty; expected a folder that is not there yet")
    if os.path.lexists(path):
        raise ValueError(f"{option}: {path} is there already; expected a new folder")
    check_output_folder(os.path.dirname(os.path.abspath(path)), option)


def checker_of_folder(files: Sequence[str], folders: Sequence[str] = ()) -> Callable[[str, str], None]:
    """Return a check of a folder that gets `files` and `folders`; see `check_output_folder`."""

    def check(path: str, option: str) -> None:
        check_output_folder(path, option)
        for name in files:
            check_output_file(os.path.join(path, name), option)
        for name in folders:
            check_output_folder(os.path.join(path, name), option)

    return check


def checker_of_stem(suffixes: Sequence[str], replaces_extension: bool = False) -> Callable[[str, str], None]:
    """Return a check of files whose paths differ by their `suffixes` alone; see `check_output_file`.

    Args:
        suffixes: ends of the paths, with their dots.
        replaces_extension: True to put them in the place of the path's extension.
    """

    def check(path: str, option: str) -> None:
        if not path:
            raise ValueError(f"{option} is empty; expected a path")
        stem = os.path.splitext(path)[0] if replaces_extension else path
        for suffix in suffixes:
            check_output_file(f"{stem}{suffix}", option)

    return check

"""Check of a program's outputs before its work: whether they can be written is known at once, not after hours."""

from __future__ import annotations

import os
import tempfile

from mutualnet3d.files.atomic import TEMPORARY_SUFFIX


def check_output_folder(path: str, option: str) -> None:
    """Make a folder if it is not there, and refuse one that files cannot be written into.

    Args:
        path: the folder.
        option: name that the user gives it by, for the error.

    Raises:
        ValueError: it cannot be made or written into; the reason is named.
    """
    try:
        os.makedirs(path or ".", exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path or ".", prefix=".", suffix=TEMPORARY_SUFFIX):
            pass
    except FileExistsError as error:
        raise ValueError(f"{option}: {path} is a file; expected a folder") from error
    except OSError as error:
        raise ValueError(f"{option}: nothing can be written into {path or '.'}: {error.strerror}") from error


def check_output_file(path: str, option: str) -> None:
    """Refuse a file that cannot be written; its folder is made if it is not there.

    Args:
        path: the file.
        option: name that the user gives it by, for the error.

    Raises:
        ValueError: it is a folder, or its folder cannot be made or written into.
    """
    if os.path.isdir(path):
        raise ValueError(f"{option}: {path} is a folder; expected a file")
    check_output_folder(os.path.dirname(path), option)

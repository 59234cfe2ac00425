"""Identity of a run at a program that draws trainings: a resumed training goes on in it."""

from __future__ import annotations

import os
from collections.abc import Callable

from mutualnet3d.files.atomic import write_text
from mutualnet3d.files.regular import read_bounded

_MAX_BYTES = 1 << 10


def stored_run(folder: str, make: Callable[[], str]) -> tuple[str, bool]:
    """Return the run that a folder belongs to, and True if it was there before; otherwise it is made and stored.

    Args:
        folder: folder of the run's files; it is made.
        make: function that returns a new run's identity.

    Raises:
        ValueError: the file of the identity is no file.
        OSError: it cannot be written.
    """
    path = os.path.join(folder, "run_id.txt")
    if os.path.lexists(path):
        return read_bounded(path, "the identity of a run", _MAX_BYTES).decode().strip(), True
    os.makedirs(folder, exist_ok=True)
    run = make()
    write_text(path, run + "\n")
    return run, False

"""Identity of a run in a program that draws trainings, in which a resumed training goes on."""

from __future__ import annotations

import os
from collections.abc import Callable

from mutualnet3d.files.atomic import write_text
from mutualnet3d.files.regular import read_bounded

_MAX_BYTES = 1 << 10


def stored_run(folder: str, make: Callable[[], str]) -> tuple[str, bool]:
    """Return the identity of a folder's run, which is made and stored if there is none.

    Args:
        folder: folder of the run's files, which is made if it is not there.
        make: function that returns a new run's identity.

    Returns:
        The identity, and True if it was stored before.

    Raises:
        ValueError: the identity's path is no file.
        OSError: the file cannot be written.
    """
    path = os.path.join(folder, "run_id.txt")
    if os.path.lexists(path):
        return read_bounded(path, "the identity of a run", _MAX_BYTES).decode().strip(), True
    os.makedirs(folder, exist_ok=True)
    run = make()
    write_text(path, run + "\n")
    return run, False

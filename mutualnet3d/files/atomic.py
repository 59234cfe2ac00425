"""Files that are whole or absent: written beside their place, synced, then renamed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO, Any


def write_atomically(path: str, write: Callable[[IO[bytes]], Any]) -> None:
    """Let `write` fill a temporary file in `path`'s folder, sync it to disk, and rename it to `path`.

    A kill at any moment leaves the old file or the new one, never half of one. (Local folders only: remote stores have
    no rename that promises this.)
    """
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{os.path.basename(path)}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
    # The rename itself must survive a power cut.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: str, text: str) -> None:
    """`write_atomically` for text, UTF-8."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))

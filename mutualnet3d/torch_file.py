"""Files that torch.save wrote, read without running what is in them. A leaf, for checkpoints and foreign weights."""

from __future__ import annotations

import pickle
import zipfile
from typing import Any

import torch
from iopath.common.file_io import g_pathmgr


def read_torch_file(path: str, what: str) -> Any:
    """The content of `path`, tensors on the CPU.

    Args:
        what: what the file should be, for the error: "a checkpoint".

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is truncated, damaged, or holds more than tensors, numbers, strings and containers of them.
    """
    if not g_pathmgr.isfile(path):
        raise FileNotFoundError(f"no file at {path}, which should be {what}")
    try:
        return torch.load(g_pathmgr.get_local_path(path), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise ValueError(f"{path}: cannot be read as {what}, it may be truncated or damaged: {error}") from error

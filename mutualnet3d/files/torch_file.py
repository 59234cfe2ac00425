"""Files that torch.save wrote, read without running what is in them, and which of them are this project's. A leaf, for
checkpoints and foreign weights."""

from __future__ import annotations

import pickle
import re
import zipfile
from typing import Any

import torch
from iopath.common.file_io import g_pathmgr

# What this project's checkpoints say of themselves.
FORMAT = "mutualnet3d.checkpoint"
VERSION = 1


def is_checkpoint(content: Any, path: str) -> bool:
    """Whether `content`, read from `path`, is a checkpoint of this project.

    Raises:
        ValueError: it is one of a newer release.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return False
    if content["version"] > VERSION:
        raise ValueError(f"{path}: checkpoint version {content['version']}; this release reads up to {VERSION}")
    return True


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
    local = g_pathmgr.get_local_path(path)
    try:
        content = torch.load(local, map_location="cpu", weights_only=True)
        if isinstance(content, dict) and content.get("format") == FORMAT:
            _check_sums(local)
        return content
    except pickle.UnpicklingError as error:
        # torch's own text, of many lines, advises to switch the protection off.
        found = re.search(r"WeightsUnpickler error:\s*(.*?)(?: was not|\n|$)", str(error))
        raise ValueError(
            f"{path}: cannot be read as {what}, it may be truncated or damaged, of another kind, or hold more than "
            f"tensors, numbers, strings and containers of them{f' ({found[1]})' if found else ''}"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: cannot be read as {what}, it may be truncated or damaged: {error}") from error


def _check_sums(path: str) -> None:
    """torch.load leaves out the check sums that torch.save has written.

    Raises:
        ValueError: a part of the file is not what was written.
    """
    with zipfile.ZipFile(path) as file:
        damaged = file.testzip()
    if damaged is not None:
        raise ValueError(f"the check sum of {damaged} in it is wrong")

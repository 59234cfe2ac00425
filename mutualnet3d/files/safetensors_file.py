"""Files of safetensors: tensors by name after a header of JSON, which holds no code."""

from __future__ import annotations

import os

import torch
from safetensors.torch import load_file

from mutualnet3d.files.regular import check_regular, local_file

_LENGTH_SIZE = 8  # of the header's length, before it
SUFFIX = ".safetensors"


def is_safetensors(path: str) -> bool:
    """Return True if the file begins like one of safetensors, or has its suffix.

    Args:
        path: path of the file.

    Raises:
        ValueError: a folder, a FIFO, or another thing that is no regular file.
    """
    if path.lower().endswith(SUFFIX):
        return True
    check_regular(path, "weights")
    if not os.path.isfile(path):
        return False  # absent, or of a store that iopath knows, where the suffix has to say it
    with open(path, "rb") as file:
        start = file.read(_LENGTH_SIZE + 1)
    length = int.from_bytes(start[:_LENGTH_SIZE], "little")
    return start[_LENGTH_SIZE:] == b"{" and length <= os.path.getsize(path) - _LENGTH_SIZE


def read_safetensors(path: str, kind: str) -> dict[str, torch.Tensor]:
    """Return the tensors of `path` by their names, on the CPU.

    Args:
        path: the file.
        kind: name for errors, "weights" for instance.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is truncated, damaged, or no regular file.
    """
    local = local_file(path, kind)
    try:
        return load_file(local)
    except Exception as error:  # the library's own type, and those of types of numbers that it does not know
        cause = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path}: cannot be read as {kind} (safetensors), it may be truncated or damaged: {cause:.500}"
        ) from error

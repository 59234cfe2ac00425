"""Files of torch.save: written whole, with their format and version; read without running code that they may hold."""

from __future__ import annotations

import argparse
import os
import pickle
import re
from collections.abc import Mapping
from typing import Any

import torch

from mutualnet3d.files.atomic import write_atomically
from mutualnet3d.files.regular import local_file
from mutualnet3d.files.torch_archive import check_archive, is_archive
from mutualnet3d.files.torch_values import check_values

# The formats of this project, and the version of each that this release writes. A checkpoint is a training's (in the
# first releases a tested model's too), a model a trained network that describes itself.
CHECKPOINT, MODEL = "mutualnet3d.checkpoint", "mutualnet3d.model"
UNFINISHED_TEST = "mutualnet3d.unfinished_test"
VERSIONS = {CHECKPOINT: 1, MODEL: 1, UNFINISHED_TEST: 2}


class OtherNetwork(ValueError):
    """Error for weights of a file that do not fit the network that they are for.

    Args:
        path: the file.
        differences: text about the names and shapes that differ.
        kinds: text about the kinds of the two networks, if they are of different kinds.

    Attributes:
        path: path of the file.
        differences: names and shapes that differ.
    """

    def __init__(self, path: str, differences: str, kinds: str = ""):
        super().__init__(f"{path}: the checkpoint is of another model{kinds}{differences}")
        self.path, self.differences = path, differences.lstrip(".: ")


def write_torch_file(path: str, file_format: str, content: Mapping[str, Any]) -> None:
    """Write `content` (tensors, numbers, strings, and containers of them) to `path`, atomically.

    Args:
        path: the file.
        file_format: one of `VERSIONS`.
        content: values by name.
    """
    stamped = {"format": file_format, "version": VERSIONS[file_format], **content}
    write_atomically(path, lambda file: torch.save(stamped, file))


def format_of(content: Any, path: str) -> str | None:
    """Return the format that `content`, read from `path`, has; None for a file of another project.

    Args:
        content: value that the file holds.
        path: path of the file, for the error.

    Raises:
        ValueError: it is of a newer release, or its version is no number.
    """
    file_format = _named_format(content)
    if file_format is None:
        return None
    kind, version, newest = file_format.rpartition(".")[2], content.get("version"), VERSIONS[file_format]
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ValueError(f"{path}: {kind} version is {version!r:.60}; it must be an integer from 1 to {newest}")
    if version > newest:
        raise ValueError(f"{path}: {kind} version {version}; this release reads up to {newest}")
    return file_format


def _named_format(content: Any) -> str | None:
    file_format = content.get("format") if isinstance(content, dict) else None
    return file_format if isinstance(file_format, str) and file_format in VERSIONS else None


def read_torch_file(path: str, kind: str) -> Any:
    """Return the content of `path`, tensors on the CPU.

    Args:
        path: the file.
        kind: name for errors, "a checkpoint" for instance.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is truncated, damaged, no regular file, or holds more than tensors, numbers, strings and
            containers of them, or values that unfold into more than it could hold.
    """
    local = local_file(path, kind)
    try:
        if is_archive(local):
            check_archive(local)
        # torchvision's and many others' checkpoints hold the options of the command that wrote them.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(local, map_location="cpu", weights_only=True)
        check_values(content, os.path.getsize(local))
        return content
    except pickle.UnpicklingError as error:
        # torch's own text, of many lines, advises to switch the protection off.
        cause = re.search(r"WeightsUnpickler error:\s*(.*?)(?: was not|\n|$)", str(error))
        raise ValueError(
            f"{path}: cannot be read as {kind}, it may be truncated or damaged, of another kind, or hold more than "
            f"tensors, numbers, strings and containers of them{f' ({cause[1]})' if cause else ''}"
        ) from error
    except Exception as error:  # any text is a pickle of torch's old form, whose nonsense ends in errors of any type
        cause_text = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path}: cannot be read as {kind}, it may be truncated or damaged: {cause_text:.500}"
        ) from error

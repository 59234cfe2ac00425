"""Checkpoints: written whole, loaded without running code, refused by name when they do not fit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from iopath.common.file_io import g_pathmgr

from mutualnet3d.files.atomic import write_atomically
from mutualnet3d.files.torch_file import FORMAT, VERSION, is_checkpoint, read_torch_file
from mutualnet3d.shapes import SubnetConfig


def save_checkpoint(path: str, content: Mapping[str, Any]) -> None:
    """Write `content` (tensors, numbers, strings, and containers of them) to `path`, atomically."""
    whole = {"format": FORMAT, "version": VERSION, **content}
    write_atomically(path, lambda file: torch.save(whole, file))


def load_checkpoint(path: str) -> dict[str, Any]:
    """Return the content of a checkpoint, tensors on the CPU.

    Raises:
        FileNotFoundError: no file has that path.
        ValueError: the file is truncated or damaged, is no checkpoint of this project, or of a newer version of it.
    """
    content = read_torch_file(path, "a checkpoint")
    if not is_checkpoint(content, path):
        raise ValueError(f"{path}: not a checkpoint of mutualnet3d")
    return dict(content)


def load_model_state(model: torch.nn.Module, state: Mapping[str, torch.Tensor], path: str) -> None:
    """Load weights that must fit name by name and shape by shape.

    Args:
        path: file of the weights, for the error.

    Raises:
        ValueError: the weights are another model's; it names the file and the differences.
    """
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    problems = [f"{name} is missing" for name in expected if name not in shapes]
    problems += [f"{name} is unknown here" for name in shapes if name not in expected]
    problems += [
        f"{name} is {shapes[name]}, here {expected[name]}"
        for name in expected
        if name in shapes and expected[name] != shapes[name]
    ]
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(f"{path}: the checkpoint is of another model: {'; '.join(problems[:3])}{more}")
    model.load_state_dict(state)


def statistics_to_state(statistics: Mapping[SubnetConfig, Any]) -> dict[str, Any]:
    """Return calibrated statistics by the config's key, which is how a checkpoint stores them."""
    return {str(config): of_norm for config, of_norm in statistics.items()}


def file_hash(path: str) -> str:
    """Return the first 16 hexadecimal digits of the file's SHA-256, which a result names its checkpoint by."""
    with g_pathmgr.open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:16]

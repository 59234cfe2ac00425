"""Checkpoints: written whole, loaded without running code, refused by name when they do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mutualnet3d.files.torch_file import CHECKPOINT, format_of, read_torch_file, write_torch_file


def save_checkpoint(path: str, content: Mapping[str, Any]) -> None:
    """Write `content` (tensors, numbers, strings, and containers of them) to `path`, atomically."""
    write_torch_file(path, CHECKPOINT, content)


def load_checkpoint(path: str) -> dict[str, Any]:
    """Return the content of a checkpoint, tensors on the CPU.

    Raises:
        FileNotFoundError: no file has that path.
        ValueError: the file is truncated or damaged, is no checkpoint of this project, or of a newer version of it.
    """
    content = read_torch_file(path, "a checkpoint")
    if format_of(content, path) != CHECKPOINT:
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

"""Checkpoints: written whole, loaded without running code, refused with the name of the part that does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mutualnet3d.files.torch_file import CHECKPOINT, OtherNetwork, format_of, read_torch_file, write_torch_file


def save_checkpoint(path: str, content: Mapping[str, Any]) -> None:
    """Write `content` (tensors, numbers, strings, and containers of them) to `path`, atomically."""
    write_torch_file(path, CHECKPOINT, content)


def load_checkpoint(path: str) -> dict[str, Any]:
    """Return the content of a checkpoint, tensors on the CPU.

    Args:
        path: file of the checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated or damaged, is no checkpoint of this project, or is of a newer version of it.
    """
    content = read_torch_file(path, "a checkpoint")
    if format_of(content, path) != CHECKPOINT:
        raise ValueError(f"{path}: not a checkpoint of mutualnet3d")
    return dict(content)


def load_model_state(model: torch.nn.Module, state: Any, path: str) -> None:
    """Load weights that fit name by name and shape by shape, see `check_model_state`."""
    check_model_state(model, state, path)
    model.load_state_dict(state)


def check_model_state(model: torch.nn.Module, state: Any, path: str) -> None:
    """Refuse weights that do not fit a network name by name and shape by shape, or are not finite.

    Args:
        model: network that the weights are for.
        state: tensors by name.
        path: file of the weights, for the error.

    Raises:
        OtherNetwork: the weights are another model's; the message names the file and the differences.
        ValueError: the values are no tensors, or not finite.
    """
    check_tensors(state, "model_state", path)
    own = model.state_dict()
    expected = {name: tuple(value.shape) for name, value in own.items()}
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    problems = [f"{name} is missing" for name in expected if name not in shapes]
    problems += [f"{name} is unknown here" for name in shapes if name not in expected]
    problems += [
        f"{name} is {shapes[name]}, here {expected[name]}"
        for name in expected
        if name in shapes and expected[name] != shapes[name]
    ]
    problems += [
        f"{name} is {state[name].dtype}, here {value.dtype}"
        for name, value in own.items()
        if shapes.get(name) == expected[name] and state[name].is_floating_point() != value.is_floating_point()
    ]
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise OtherNetwork(path, f": {'; '.join(problems[:3])}{more}")


def check_tensors(state: Any, name: str, path: str) -> None:
    """Refuse a value that is no mapping of names to tensors of finite numbers.

    Args:
        state: value of a checkpoint.
        name: name of the value in the checkpoint, for the error.
        path: file of the checkpoint, for the error.

    Raises:
        ValueError: the value is another one; the message names file, part and tensor.
    """
    if not isinstance(state, Mapping):
        raise ValueError(f"{path}: {name} is a {type(state).__name__}; it must be tensors by their names")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            raise ValueError(f"{path}: {name}: {key!s:.60} is a {type(value).__name__}; it must be a dense tensor")
        if not is_finite(value):
            raise ValueError(f"{path}: {name}: {key} has numbers that are not finite")


def is_finite(tensor: torch.Tensor) -> bool:
    """Return True if no number of a tensor is NaN or infinite. Repeated (expanded) elements count once."""
    if not tensor.is_floating_point():
        return not tensor.is_complex()
    if 0 in tensor.stride():
        tensor = tensor[tuple(slice(1) if step == 0 else slice(None) for step in tensor.stride())]
    return bool(torch.isfinite(tensor).all())

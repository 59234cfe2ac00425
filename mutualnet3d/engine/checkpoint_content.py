"""Checks of a checkpoint's content, before any of it is used.

A damaged checkpoint must not stop a resumption halfway, where the one before it can no longer be taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import yaml

from mutualnet3d.engine.checkpoint import check_tensors, is_finite

_SCALER = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")
_ADAM = ("step", "exp_avg", "exp_avg_sq")
_NOT_NEGATIVE = ("step", "exp_avg_sq")
_MOST = 2**53  # steps, positions and indices


def check_content(content: Mapping[str, Any], path: str, optimizer: torch.optim.Optimizer, num_videos: int) -> None:
    """Refuse values that no training has written.

    The names of the parts, and the values that identify the training, must have been checked before. The weights are
    checked where they are loaded.

    Args:
        content: content of the checkpoint.
        path: path of its file, for errors.
        optimizer: optimizer of the training, whose state the checkpoint holds.
        num_videos: number of videos of the training.

    Raises:
        ValueError: a value is not possible; the message names the file, the part, its value and what is allowed.
    """
    checks: dict[str, tuple[Callable[[Any], str | None], str]] = {
        "step": (_count, "a whole number of at least 0"),
        "optimizer_state": (lambda state: _optimizer_problem(state, optimizer), "the optimizer's state"),
        "scaler_state": (_scaler_problem, "None or a scaler's numbers"),
        "validation": (_validation_problem, "the best score and its step"),
        "processes": (lambda state: _processes_problem(state, num_videos), "the state of each process"),
        "cfg": (_cfg_problem, "a config as YAML"),
        "cfg_hash": (lambda text: None if isinstance(text, str) else "is no text", "a text"),
    }
    for name, (problem_of, allowed) in checks.items():
        problem = problem_of(content[name])
        if problem:
            raise ValueError(f"{path}: {name} {problem}; it must be {allowed}")
    averaged = content["averaged"]
    if averaged is None:
        return
    if not isinstance(averaged, Mapping) or _count(averaged.get("num_steps")):
        raise ValueError(f"{path}: averaged has no number of steps; it must be None or the averaged weights")
    check_tensors(averaged.get("model_state"), "averaged", path)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


def _count(value: Any) -> str | None:
    return None if _is_count(value) else f"is a {type(value).__name__} out of range"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST


def _optimizer_problem(state: Any, optimizer: torch.optim.Optimizer) -> str | None:
    """Return the first difference between the form of `state` and that of the optimizer's own state; else None."""
    if not isinstance(state, Mapping) or not {"state", "param_groups"} <= state.keys():
        return "has no state and param_groups"
    groups, own_groups = state["param_groups"], optimizer.state_dict()["param_groups"]
    if not isinstance(groups, list) or len(groups) != len(own_groups):
        return f"does not have {len(own_groups)} groups of parameters"
    for group, own in zip(groups, own_groups, strict=True):
        if not isinstance(group, Mapping) or group.get("params") != own["params"]:
            return "has other parameters in a group"
        for key, value in own.items():
            if key not in group:
                return f"has a group without {key}"
            if isinstance(value, float) and not _is_number(group[key]):
                return f"has a group whose {key} is no finite number"
            if isinstance(value, bool) and not isinstance(group[key], bool):
                return f"has a group whose {key} is not True or False"
            if isinstance(value, tuple) and not _is_like(group[key], value):
                return f"has a group whose {key} are no {len(value)} fractions"
    parameters = dict(enumerate(parameter for group in optimizer.param_groups for parameter in group["params"]))
    if not isinstance(state["state"], Mapping):
        return "has a state that is no mapping"
    for index, values in state["state"].items():
        if not isinstance(index, int) or index not in parameters or not isinstance(values, Mapping):
            return f"has a state of {index!s:.60}, which is no parameter"
        missing = [key for key in _names_of_state(optimizer) if values and values.get(key) is None]
        if missing:
            return f"has a state of parameter {index} without {missing[0]}"
        for key, value in values.items():
            if value is None:
                continue
            if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
                return f"has a {key} of parameter {index} that is no tensor"
            if value.shape != (() if key == "step" else parameters[index].shape):
                return f"has a {key} of parameter {index} of shape {tuple(value.shape)}"
            if not value.is_floating_point() or not is_finite(value):
                return f"has a {key} of parameter {index} with numbers that are not finite"
            if key in _NOT_NEGATIVE and value.numel() and value.min() < 0:
                return f"has a {key} of parameter {index} with numbers below 0"
    return None


def _names_of_state(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """Return the names of the tensors that the optimizer has for every parameter after its first step."""
    return _ADAM if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW) else ()


def _is_like(value: Any, betas: tuple[float, ...]) -> bool:
    """Return True for as many numbers in [0, 1) as `betas` has."""
    is_pair = isinstance(value, tuple | list) and len(value) == len(betas)
    return is_pair and all(_is_number(beta) and 0 <= beta < 1 for beta in value)


def _scaler_problem(state: Any) -> str | None:
    if state is None or state == {}:
        return None
    if not isinstance(state, Mapping) or not all(_is_number(state.get(name)) for name in _SCALER):
        return f"does not have the numbers {', '.join(_SCALER)}"
    return None if state["scale"] > 0 else f"has the scale {state['scale']!r}"


def _validation_problem(state: Any) -> str | None:
    if not isinstance(state, Mapping) or not {"best", "best_step"} <= state.keys():
        return "has no best and best_step"
    best = state["best"]
    if not isinstance(best, int | float) or isinstance(best, bool) or math.isnan(best) or best == math.inf:
        return "has a best that is no score"
    return None if _is_count(state["best_step"]) else "has a best_step that is no number of steps"


def _processes_problem(processes: Any, num_videos: int) -> str | None:
    if not isinstance(processes, list) or not processes:
        return "is no list of processes"
    for process in processes:
        if not isinstance(process, Mapping) or not {"rng", "position", "bad_since"} <= process.keys():
            return "has a process without rng, position and bad_since"
        if not _is_count(process["position"]):
            return "has a position that is out of range"
        bad = process["bad_since"]
        if not isinstance(bad, Mapping) or not all(
            _is_count(index) and index < num_videos and isinstance(since, int) and -1 <= since < _MOST
            for index, since in bad.items()
        ):
            return "has bad_since of other videos"
        rng = process["rng"]
        if not isinstance(rng, Mapping) or not {"cpu", "cuda"} <= rng.keys():
            return "has no states of random generators"
        if not _is_cpu_state(rng["cpu"]):
            return "has a state of random numbers that no generator has"
        if rng["cuda"] is not None and not _is_bytes(rng["cuda"]):
            return "has a state of a GPU's random numbers that no generator has"
    return None


def _is_bytes(state: Any) -> bool:
    return isinstance(state, torch.Tensor) and state.dtype == torch.uint8 and state.ndim == 1 and len(state) > 0


def _is_cpu_state(state: Any) -> bool:
    """Return True for a state that a generator takes."""
    if not _is_bytes(state):
        return False
    try:
        torch.Generator().set_state(state)
    except RuntimeError:
        return False
    return True


def _cfg_problem(text: Any) -> str | None:
    if not isinstance(text, str):
        return f"is a {type(text).__name__}"
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return "is no YAML"
    return None if isinstance(values, dict) else "is no mapping"

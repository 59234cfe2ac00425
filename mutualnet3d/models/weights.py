"""Weights of this project's files, of pytorchvideo's model zoo and of PySlowFast's checkpoints, told apart by their
content, and the check that they fit a network."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mutualnet3d.files.torch_file import OtherNetwork, format_of, read_torch_file
from mutualnet3d.models.model_file import trained_network
from mutualnet3d.models.pyslowfast_weights import fold_shortcut_norms, has_pyslowfast_names, rename_pyslowfast
from mutualnet3d.models.slimmable_net import SlimmableNet

logger = logging.getLogger("mutualnet3d")

State = Mapping[str, torch.Tensor]

# Names that an error lists of each kind; the rest is counted.
_LISTED = 5


@dataclass(frozen=True)
class LoadedWeights:
    """Weights that were loaded.

    Attributes:
        path: the file.
        source: project whose names the weights had: "pytorchvideo" (this project's files have them too) or
            "PySlowFast".
        of_project: True for a file of this project.
        new_classifier: True where the file's classifier was for another number of classes, and was left out.
        step: training steps that the weights have seen; 0 where the file does not say.
    """

    path: str
    source: str
    of_project: bool
    new_classifier: bool
    step: int

    def __str__(self) -> str:
        return f"weights of {self.path} ({'this project' if self.of_project else self.source}'s)"


def load_weights(
    model: SlimmableNet, path: str, new_classifier: bool = True, inflate: bool = False, averaged: bool = False
) -> LoadedWeights:
    """Load the weights of `path` into `model`, and the calibrated statistics if the file has any.

    Understood are model files and checkpoints of this project, checkpoints of pytorchvideo's model zoo and of
    PySlowFast (its own networks and those that it builds by pytorchvideo), and state dicts with either's names; wrapped
    by DDP or not.

    Args:
        model: network that they are for.
        path: the file.
        new_classifier: True to leave the model's classifier as it was, freshly started, where the file's has another
            number of classes, and log a line about it. False: refuse the file.
        inflate: True to repeat kernels over time, divided by the number of repetitions, where the file's are of one
            frame and the model's of several: weights of images (Carreira and Zisserman, arXiv 1705.07750, section 2.4).
        averaged: True for the averaged weights of a training's checkpoint (SOLVER.EMA_DECAY).

    Raises:
        FileNotFoundError: there is none.
        ValueError: a Caffe2 pickle; a file that cannot be read or holds no weights; a file of a newer release of this
            project; weights of another network: names missing, unknown or of another shape are listed.
    """
    content = read_weights_file(path)
    of_project = format_of(content, path) is not None
    if averaged:
        if not isinstance(content.get("averaged"), Mapping):
            raise ValueError(f"{path}: has no averaged weights; those are of trainings with SOLVER.EMA_DECAY")
        content = {**content, "model_state": content["averaged"].get("model_state")}
    state = _state_dict(content, path)
    source = "PySlowFast" if has_pyslowfast_names(state) else "pytorchvideo"
    if source == "PySlowFast":
        state, unknown = rename_pyslowfast(state, model)
        if unknown:
            raise ValueError(
                f"{path}: PySlowFast's weights, but of a network that is none of its SlowFast, ResNet or X3D: "
                f"{_list(unknown)}"
            )
    fold_shortcut_norms(state, model)
    if inflate:
        _inflate(state, model)
    left_out = _leave_out_classifier(state, model, path, new_classifier)
    _check_fit(state, model, path, left_out)
    model.load_state_dict(state, strict=False)
    step = 0
    if of_project:
        trained = trained_network(content)
        step = trained.step
        if not left_out:
            try:
                model.statistics.load_state_dict(trained.statistics)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
    return LoadedWeights(path, source, of_project=of_project, new_classifier=bool(left_out), step=step)


def read_weights_file(path: str) -> dict[str, Any]:
    """Return the content of a file that torch.save wrote, tensors on the CPU; nothing in it is executed.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a Caffe2 pickle, or a file that cannot be read.
    """
    if path.endswith(".pkl"):
        raise ValueError(
            f"{path}: Caffe2 model files (.pkl) are Python pickles, and loading one runs whatever code it holds; they "
            "are not read here. Let PySlowFast load it (TRAIN.CHECKPOINT_TYPE caffe2) and save a .pyth, or take the "
            ".pyth of the same network from a model zoo"
        )
    content = read_torch_file(path, "weights")
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, not a checkpoint or a state dict")
    return content


def _state_dict(content: Mapping[str, Any], path: str) -> dict[str, torch.Tensor]:
    """Return the state dict in a checkpoint, without the prefixes that DDP or a wrapping module put before names."""
    state = content
    for key in ("model_state", "state_dict"):
        if isinstance(content.get(key), Mapping):
            state = content[key]
            break
    tensors = {
        name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise ValueError(f"{path}: no weights in it; its keys are {', '.join(map(str, list(content)[:10])) or 'none'}")
    for prefix in ("module.", "model."):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _inflate(state: dict[str, torch.Tensor], model: SlimmableNet) -> None:
    """Repeat kernels of one frame over the frames that the model's have."""
    for name, own in model.state_dict().items():
        kernel = state.get(name)
        if own.ndim != 5 or kernel is None or kernel.shape == own.shape:
            continue
        if kernel.ndim == 4:
            kernel = kernel[:, :, None]
        if kernel.ndim == 5 and kernel.shape[2] == 1 and kernel.shape[:2] == own.shape[:2]:
            frames = own.shape[2]
            state[name] = kernel.repeat(1, 1, frames, 1, 1) / frames


def _leave_out_classifier(
    state: dict[str, torch.Tensor], model: SlimmableNet, path: str, new_classifier: bool
) -> set[str]:
    """Take the classifier out of `state` if it has another number of classes; return the names taken out."""
    own = model.state_dict()
    classifiers = model.channel_flow.classifiers()
    if len(classifiers) != 1:
        return set()
    weight, bias = f"{classifiers[0]}.weight", f"{classifiers[0]}.bias"
    if weight not in state or bias not in state:
        return set()
    in_file, in_model = state[weight].shape, own[weight].shape
    if in_file[1:] != in_model[1:] or in_file[0] == in_model[0]:
        return set()  # it fits, or it is of another network altogether
    if not new_classifier:
        raise ValueError(
            f"{path}: its classifier has {in_file[0]} classes, the model {in_model[0]}; MODEL.NUM_CLASSES must be that "
            "of the weights"
        )
    logger.warning("%s: classifier of %d classes left out; that of %d starts afresh", path, in_file[0], in_model[0])
    for name in (weight, bias):
        del state[name]
    return {weight, bias}


def _check_fit(state: State, model: SlimmableNet, path: str, left_out: set[str]) -> None:
    in_model = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    in_file = {name: tuple(value.shape) for name, value in state.items()}
    missing = [name for name in in_model if name not in in_file and name not in left_out]
    unknown = [name for name in in_file if name not in in_model]
    odd = [
        f"{name} is {in_file[name]}, here {shape}"
        for name, shape in in_model.items()
        if in_file.get(name, shape) != shape
    ]
    problems = [
        f"{len(names)} {kind}: {_list(names)}"
        for kind, names in (
            ("missing", missing),
            ("unknown here", unknown),
            ("of another shape", odd),
        )
        if names
    ]
    if problems:
        families = _family(in_file), _family(in_model)
        difference = f", {families[0]} and not {families[1]}" if families[0] != families[1] else ""
        raise OtherNetwork(path, ". " + "; ".join(problems), difference)


def _family(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return the kind of network that has these names, which are pytorchvideo's."""
    if any("multipathway" in name for name in shapes):
        return "a SlowFast"
    if "blocks.0.conv.conv_t.weight" in shapes:
        return "an X3D"
    return "a ResNet of one pathway" if "blocks.0.conv.weight" in shapes else "a network of another kind"


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more

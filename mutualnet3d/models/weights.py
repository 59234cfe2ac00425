"""Weights that people have: this project's, pytorchvideo's model zoo and PySlowFast's checkpoints, told apart by what
is in them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pytorchvideo.models.head import ResNetBasicHead
from pytorchvideo.models.net import MultiPathWayWithFuse
from pytorchvideo.models.resnet import ResStage

from mutualnet3d.files.torch_file import is_checkpoint, read_torch_file
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.shapes import ClipShape, SubnetConfig

logger = logging.getLogger("mutualnet3d")

State = Mapping[str, torch.Tensor]

# How many names an error lists of each kind; the rest is counted.
_LISTED = 20


@dataclass(frozen=True)
class LoadedWeights:
    """What was loaded.

    Attributes:
        path: the file.
        source: whose names its weights had: "pytorchvideo" (this project's checkpoints have them too) or "PySlowFast".
        ours: whether it is a checkpoint of this project.
        new_classifier: the file's classifier was for another number of classes, and was left out.
        step: training steps that the weights have seen; 0 where the file does not say.
    """

    path: str
    source: str
    ours: bool
    new_classifier: bool
    step: int

    def __str__(self) -> str:
        return f"weights of {self.path} ({'this project' if self.ours else self.source}'s)"


def load_weights(
    model: SlimmableNet, path: str, new_classifier: bool = True, inflate: bool = False, averaged: bool = False
) -> LoadedWeights:
    """Load the weights of `path` into `model`, and the calibrated statistics if the file has any.

    Understood are checkpoints of this project, of pytorchvideo's model zoo and of PySlowFast (its own networks and
    those that it builds by pytorchvideo), and plain state dicts with either's names; wrapped by DDP or not.

    Args:
        new_classifier: where the file's classifier has another number of classes, leave the model's as it was, freshly
            started, and log a line that says so. False: refuse the file.
        inflate: where the file's kernels are of one frame and the model's of several, repeat them over time, divided by
            how many there are: weights of images (Carreira and Zisserman, arXiv 1705.07750, section 2.4).
        averaged: of a checkpoint of this project, its averaged weights (SOLVER.EMA_DECAY).

    Raises:
        FileNotFoundError: there is none.
        ValueError: a Caffe2 pickle; a file that cannot be read or holds no weights; a checkpoint of a newer release of
            this project; weights of another network: what is missing, unknown or of another shape is listed.
    """
    content = read_weights_file(path)
    ours = is_checkpoint(content, path)
    if averaged:
        if not content.get("averaged"):
            raise ValueError(f"{path}: has no averaged weights; those are of trainings with SOLVER.EMA_DECAY")
        content = {**content, "model_state": content["averaged"]["model_state"]}
    state = _state_dict(content, path)
    source = "PySlowFast" if any(re.match(r"s\d+\.pathway\d", name) for name in state) else "pytorchvideo"
    renamed = _from_pyslowfast(state, model, path) if source == "PySlowFast" else dict(state)
    _fold_shortcut_norms(renamed, model)
    if inflate:
        _inflate(renamed, model)
    left_out = _leave_out_classifier(renamed, model, path, new_classifier)
    _check_fit(renamed, model, path, left_out)
    model.load_state_dict(renamed, strict=False)
    model.statistics.clear()  # of the weights that were here before
    model.interpolation_losses.clear()
    model.interpolated.clear()
    if not left_out:
        for key, of_norm in content.get("statistics", {}).items():
            model.set_statistics(SubnetConfig.parse(key), of_norm)
        model.interpolated.update(map(SubnetConfig.parse, content.get("interpolated", [])))
        for frames, size, loss in content.get("interpolation_losses", []):
            model.interpolation_losses[ClipShape(frames, size)] = loss
    step = content.get("step", 0)
    return LoadedWeights(
        path,
        source,
        ours=ours,
        new_classifier=bool(left_out),
        step=step if isinstance(step, int) else 0,
    )


def read_weights_file(path: str) -> dict[str, Any]:
    """What torch.save wrote, tensors on the CPU; nothing in it is executed.

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
    """The state dict in a checkpoint, without what DDP or a wrapping module put before every name."""
    state = content
    for key in ("model_state", "state_dict"):
        if isinstance(content.get(key), Mapping):
            state = content[key]
            break
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ValueError(f"{path}: no weights in it; its keys are {', '.join(map(str, list(content)[:10])) or 'none'}")
    for prefix in ("module.", "model."):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


# PySlowFast's name of a layer within its block -> pytorchvideo's.
_IN_BLOCK = {
    "branch1": "branch1_conv",
    "branch1_bn": "branch1_norm",
    "branch2.a": "branch2.conv_a",
    "branch2.a_bn": "branch2.norm_a",
    "branch2.b": "branch2.conv_b",
    "branch2.b_bn": "branch2.norm_b",
    "branch2.c": "branch2.conv_c",
    "branch2.c_bn": "branch2.norm_c",
    # X3D: normalisation and squeeze-and-excitation are one module in pytorchvideo.
    "branch2.se.fc1": "branch2.norm_b.1.block.0",
    "branch2.se.fc2": "branch2.norm_b.1.block.2",
}
_IN_STEM = {
    "conv": "conv",
    "bn": "norm",
}
# X3D's stem: first over the picture, then over time. pytorchvideo calls the first conv_t, the second conv_xy.
_IN_X3D_STEM = {
    "conv_xy": "conv.conv_t",
    "conv": "conv.conv_xy",
    "bn": "norm",
}
_IN_FUSION = {
    "conv_f2s": "conv_fast_to_slow",
    "bn": "norm",
}
_IN_HEAD = {
    "projection": "proj",
    "conv_5": "pool.pre_conv",
    "conv_5_bn": "pool.pre_norm",
    "lin_5": "pool.post_conv",
    "lin_5_bn": "pool.post_norm",
}


def _from_pyslowfast(state: State, model: SlimmableNet, path: str) -> dict[str, torch.Tensor]:
    """A state dict with PySlowFast's names under pytorchvideo's.

    Raises:
        ValueError: it is of another family than the model, or has names that no network of PySlowFast's has.
    """
    several = isinstance(model.blocks[0], MultiPathWayWithFuse)
    is_x3d = "s1.pathway0_stem.conv_xy.weight" in state
    stages = [index for index, block in enumerate(model.blocks) if several or isinstance(block, ResStage)]
    if several:
        stages = stages[1:-2]  # without stem, pooling and head
    own = set(model.state_dict())
    renamed, unknown = {}, []
    for name, value in state.items():
        layer, _, leaf = name.rpartition(".")
        new = None
        if match := re.fullmatch(r"s1\.pathway(\d)_stem\.(.+)", layer):
            inside = (_IN_X3D_STEM if is_x3d else _IN_STEM).get(match[2])
            new = inside and _in_pathway("blocks.0", match[1], inside, several)
        elif match := re.fullmatch(r"s(\d)\.pathway(\d)_res(\d+)\.(.+)", layer):
            inside = _IN_BLOCK.get(match[4])
            stage = int(match[1]) - 2
            if inside and 0 <= stage < len(stages):
                start = f"blocks.{stages[stage]}"
                new = _in_pathway(start, match[2], f"res_blocks.{match[3]}.{inside}", several)
                if match[4] == "branch2.b_bn" and f"{new}.0.{leaf}" in own:
                    new = f"{new}.0"  # before squeeze-and-excitation, see above
        elif match := re.fullmatch(r"s(\d)_fuse\.(.+)", layer):
            inside = _IN_FUSION.get(match[2])
            block = [0, *stages][int(match[1]) - 1] if int(match[1]) <= len(stages) else None
            if inside and block is not None:
                new = f"blocks.{block}.multipathway_fusion.{inside}"
        elif layer.startswith("head."):
            inside = _IN_HEAD.get(layer.removeprefix("head."))
            new = inside and f"blocks.{len(model.blocks) - 1}.{inside}"
        if new:
            renamed[f"{new}.{leaf}"] = value
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(
            f"{path}: PySlowFast's weights, but of a network that is none of its SlowFast, ResNet or X3D: "
            f"{_list(unknown)}"
        )
    return renamed


def _in_pathway(block: str, pathway: str, inside: str, several: bool) -> str:
    return f"{block}.multipathway_blocks.{pathway}.{inside}" if several or pathway != "0" else f"{block}.{inside}"


def _fold_shortcut_norms(state: dict[str, torch.Tensor], model: SlimmableNet) -> None:
    """Where `state` has a batch norm on a shortcut that the model has not, put what it does in evaluation elsewhere.

    PySlowFast's X3D has one in its first stage, where the shortcut's convolution keeps the number of channels;
    pytorchvideo's has the convolution alone. Its scale goes into that convolution, its shift into the batch norm at the
    end of the other branch, which is added to it: the block's function in evaluation is the same, in any slice.
    """
    own = set(model.state_dict())
    for name in [name for name in state if name.endswith(".branch1_norm.running_var") and name not in own]:
        block = name.removesuffix(".branch1_norm.running_var")
        conv, shift = f"{block}.branch1_conv.weight", f"{block}.branch2.norm_c.bias"
        norm = {
            leaf: state.get(f"{block}.branch1_norm.{leaf}")
            for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        }
        weight, bias, mean, variance, _ = norm.values()
        if (
            weight is None
            or bias is None
            or mean is None
            or variance is None
            or conv not in state
            or shift not in state
        ):
            continue  # the check of what fits says so
        scale_C = weight.double() * (variance.double() + 1e-5).rsqrt()
        state[shift] = (state[shift].double() + bias - mean * scale_C).to(state[shift].dtype)
        state[conv] = (state[conv].double() * scale_C[:, None, None, None, None]).to(state[conv].dtype)
        for leaf in norm:
            state.pop(f"{block}.branch1_norm.{leaf}", None)


def _inflate(state: dict[str, torch.Tensor], model: SlimmableNet) -> None:
    """Repeat kernels of one frame over as many as the model's have."""
    for name, own in model.state_dict().items():
        theirs = state.get(name)
        if own.ndim != 5 or theirs is None or theirs.shape == own.shape:
            continue
        if theirs.ndim == 4:
            theirs = theirs[:, :, None]
        if theirs.ndim == 5 and theirs.shape[2] == 1 and theirs.shape[:2] == own.shape[:2]:
            frames = own.shape[2]
            state[name] = theirs.repeat(1, 1, frames, 1, 1) / frames


def _leave_out_classifier(
    state: dict[str, torch.Tensor], model: SlimmableNet, path: str, new_classifier: bool
) -> set[str]:
    """Take the classifier out of `state` if it has another number of classes; the names that were taken out."""
    (head,) = [name for name, module in model.named_modules() if isinstance(module, ResNetBasicHead)]
    own = model.state_dict()
    weight, bias = f"{head}.proj.weight", f"{head}.proj.bias"
    if weight not in state or bias not in state:
        return set()
    theirs, ours = state[weight].shape, own[weight].shape
    if theirs[1:] != ours[1:] or theirs[0] == ours[0]:
        return set()  # it fits, or it is of another network altogether
    if not new_classifier:
        raise ValueError(
            f"{path}: its classifier has {theirs[0]} classes, the model {ours[0]}; MODEL.NUM_CLASSES must be that of "
            "the weights"
        )
    logger.warning("%s: classifier of %d classes left out; that of %d starts afresh", path, theirs[0], ours[0])
    for name in (weight, bias):
        del state[name]
    return {weight, bias}


def _check_fit(state: State, model: SlimmableNet, path: str, left_out: set[str]) -> None:
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    theirs = {name: tuple(value.shape) for name, value in state.items()}
    missing = [name for name in own if name not in theirs and name not in left_out]
    unknown = [name for name in theirs if name not in own]
    odd = [f"{name} is {theirs[name]}, here {own[name]}" for name in own if theirs.get(name, own[name]) != own[name]]
    problems = [
        f"{len(names)} {what}: {_list(names)}"
        for what, names in (
            ("missing", missing),
            ("unknown here", unknown),
            ("of another shape", odd),
        )
        if names
    ]
    if problems:
        theirs_are, ours_are = _family(theirs), _family(own)
        family = f", {theirs_are} and not {ours_are}" if theirs_are != ours_are else ""
        raise ValueError(f"{path}: the checkpoint is of another model{family}. " + "; ".join(problems))


def _family(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What kind of network has these (pytorchvideo's) names."""
    if any("multipathway" in name for name in shapes):
        return "a SlowFast"
    if "blocks.0.conv.conv_t.weight" in shapes:
        return "an X3D"
    return "a ResNet of one pathway" if "blocks.0.conv.weight" in shapes else "a network of another kind"


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more

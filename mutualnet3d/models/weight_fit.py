"""Fit of a file's tensors to a network: renamed, folded and inflated where needed; the differences that are left."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from mutualnet3d.models.pyslowfast_weights import fold_shortcut_norms, has_pyslowfast_names, rename_pyslowfast
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.models.weight_parts import State, WeightPart

# Names that an error or a line of the log lists of each kind; the rest is counted.
_LISTED = 5

# Types of numbers that weights are saved in.
_TYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
}

# Modules at the top of PySlowFast's own networks.
_PYSLOWFAST_TOP = re.compile(r"(s\d+(_fuse)?|head|pathway\d+_\w+)\.")

# Steps that a batch norm has seen; nothing here uses them, and older versions of torch had none.
_COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class WeightFit:
    """Tensors of a file by a network's names, and their differences from the network's.

    Args:
        part: place of the tensors in the file.
        source: project of the names: "pytorchvideo" or "PySlowFast".
        state: tensors by the network's names.
        beside: names of the part's tensors that are outside of the network, such as losses and metrics.
        foreign: names in PySlowFast's style that none of its SlowFast, ResNet and X3D has.
        classes: numbers of classes of the file's classifier and of the network's where they differ, and then the file's
            classifier is not in `state`; else None.
        missing: names of the network's tensors that the file lacks, without counters of steps.
        unknown: names of the part that the network lacks.
        odd: names of tensors whose shapes differ, with both shapes.
    """

    part: WeightPart
    source: str
    state: dict[str, torch.Tensor] = field(repr=False)
    beside: tuple[str, ...]
    foreign: tuple[str, ...]
    classes: tuple[int, int] | None
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    odd: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """True for tensors that are all the network needs, but for a classifier of another number of classes."""
        return not (self.foreign or self.missing or self.unknown or self.odd)

    @property
    def num_matching(self) -> int:
        """Number of tensors that the network can take."""
        return len(self.state) - len(self.unknown) - len(self.odd)

    @property
    def unused(self) -> tuple[str, ...]:
        """Names of the container's tensors that the network lacks."""
        return (*(f"{self.part.prefix}{name}" for name in self.beside), *self.part.others)

    @property
    def differences(self) -> str:
        """Text about all names and shapes that differ."""
        kinds = (
            ("missing", self.missing),
            ("unknown here", (*self.unknown, *self.unused)),
            ("of another shape", self.odd),
        )
        return "; ".join(f"{len(names)} {kind}: {listed(names)}" for kind, names in kinds if names)

    def equals(self, other: WeightFit) -> bool:
        """Return True if the tensors of `other` have the same values."""
        return self.state.keys() == other.state.keys() and all(
            value is other.state[name] or torch.equal(value, other.state[name]) for name, value in self.state.items()
        )


def fit_of(part: WeightPart, model: SlimmableNet, inflate: bool = False) -> WeightFit:
    """Return the fit of a file's tensors to a network.

    Args:
        part: tensors of a file.
        model: network; it does not change.
        inflate: True to repeat kernels over time, as in `load_weights`.
    """
    own = model.state_dict()
    state = dict(part.tensors)
    foreign: list[str] = []
    is_pyslowfast = has_pyslowfast_names(state)
    if is_pyslowfast:
        beside = [name for name in state if not _PYSLOWFAST_TOP.match(name)]
    else:
        tops = {name.partition(".")[0] for name in own}
        beside = [name for name in state if name.partition(".")[0] not in tops]
    for name in beside:
        del state[name]
    if is_pyslowfast:
        state, foreign = rename_pyslowfast(state, model)
    fold_shortcut_norms(state, model)
    if inflate:
        _inflate(state, own)
    classifier = _other_classifier(state, own, classifier_of(model))
    classes = (len(state[classifier[0]]), len(own[classifier[0]])) if classifier else None
    for name in classifier:
        del state[name]
    return WeightFit(
        part=part,
        source="PySlowFast" if is_pyslowfast else "pytorchvideo",
        state=state,
        beside=tuple(beside),
        foreign=tuple(foreign),
        classes=classes,
        missing=tuple(
            name for name in own if name not in state and name not in classifier and not name.endswith(_COUNTER)
        ),
        unknown=tuple(name for name in state if name not in own),
        odd=tuple(
            f"{name} is {tuple(state[name].shape)}{_other_type(state[name])}, here {tuple(value.shape)}"
            for name, value in own.items()
            if name in state and (state[name].shape != value.shape or _other_type(state[name]))
        ),
    )


def classifier_of(model: SlimmableNet) -> tuple[str, ...]:
    """Return the names of a network's classifier's weight and bias; none if it has several classifiers."""
    classifiers = model.channel_flow.classifiers()
    names = [f"{layer}.{leaf}" for layer in classifiers for leaf in ("weight", "bias")]
    return tuple(name for name in names if name in model.state_dict()) if len(classifiers) == 1 else ()


def family_of(state: Mapping[str, torch.Tensor]) -> str:
    """Return the kind of network of a state dict with pytorchvideo's names."""
    if any("multipathway" in name for name in state):
        return "a SlowFast"
    if "blocks.0.conv.conv_t.weight" in state:
        return "an X3D"
    return "a ResNet of one pathway" if "blocks.0.conv.weight" in state else "a network of another kind"


def listed(names: tuple[str, ...]) -> str:
    """Return the first of some names as text, and the number of the others."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _other_type(value: torch.Tensor) -> str:
    """Return the type of a tensor that cannot hold weights, as text; else "".

    Such tensors hold complex or packed numbers.
    """
    return "" if value.dtype in _TYPES else f" of {value.dtype}"


def _inflate(state: dict[str, torch.Tensor], own: State) -> None:
    """Repeat kernels of one frame over the frames of the network's kernels."""
    for name, value in own.items():
        kernel = state.get(name)
        if value.ndim != 5 or kernel is None or kernel.shape == value.shape:
            continue
        if kernel.ndim == 4:
            kernel = kernel[:, :, None]
        if kernel.ndim == 5 and kernel.shape[2] == 1 and kernel.shape[:2] == value.shape[:2]:
            frames = value.shape[2]
            state[name] = kernel.repeat(1, 1, frames, 1, 1) / frames


def _other_classifier(state: State, own: State, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the classifier's weight and bias if the file's have another number of classes."""
    if not all(name in state and state[name].ndim for name in names):
        return ()
    shapes = [(state[name].shape, own[name].shape) for name in names]
    is_other = all(saved[1:] == own_shape[1:] and saved[0] != own_shape[0] for saved, own_shape in shapes)
    return names if is_other and names else ()

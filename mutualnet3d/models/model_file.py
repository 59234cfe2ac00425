"""The file of a trained model (calibrated.pyth): everything that running it takes, in plain values and tensors.

format, version        "mutualnet3d.model", 1
builder, arguments     the network: a function in `models.build.BUILDERS` and its arguments
model_state            weights, by pytorchvideo's names or those of the network
statistics, interpolated, interpolation_losses
                       of sub-networks: see `SubnetStatistics.state_dict`
class_names            of the classifier's outputs
preprocessing          values of `data.preprocessing.Preprocessing`
space                  width_range, sizes, frames, tested_sizes of the sub-networks
channels_last          whether clips and weights lay in channels_last_3d
step                   training steps that the weights have seen
config                 the run's config as YAML: where the model came from; nobody has to understand it to run the model
versions               of the packages that wrote the file
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from mutualnet3d.extras import versions_of
from mutualnet3d.files.torch_file import MODEL, format_of, read_torch_file, write_torch_file
from mutualnet3d.models.build import build_network
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.models.trained_network import TrainedNetwork, trained_network
from mutualnet3d.shapes import ClipShape


@dataclass(frozen=True)
class ModelFile:
    """Content of a trained model's file.

    Args:
        network: tensors of the network.
        builder: name of the function that builds it.
        arguments: the function's arguments; a clip shape as a mapping of frames and size.
        class_names: names of the classifier's outputs.
        preprocessing: values that clips are made with, of `data.preprocessing.Preprocessing`.
        space: width_range, sizes, frames and tested_sizes of its sub-networks.
        channels_last: True for clips and weights in channels_last_3d.
        config: the run's config, YAML; "" for a model of no run.
        versions: versions of the packages that wrote the file, by package.

    Raises:
        ValueError: a value has another type; the message names the field.
    """

    network: TrainedNetwork
    builder: str
    arguments: Mapping[str, Any]
    class_names: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    space: Mapping[str, Any]
    channels_last: bool
    config: str = field(repr=False)
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        for name, (kind, text) in _TYPES.items():
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} is {getattr(self, name)!r:.60}; it must be {text}")
        if not isinstance(self.class_names, list | tuple) or not all(isinstance(n, str) for n in self.class_names):
            raise ValueError(f"class_names is {self.class_names!r:.60}; it must be a list of texts")
        object.__setattr__(self, "class_names", tuple(self.class_names))

    @classmethod
    def of(
        cls,
        model: SlimmableNet,
        *,
        class_names: tuple[str, ...],
        preprocessing: Mapping[str, Any],
        space: Mapping[str, Any],
        channels_last: bool,
        step: int = 0,
        config: str = "",
    ) -> ModelFile:
        """Return the file's content for a network, whose tensors it shares.

        Args:
            model: network that `models.build` built.
            class_names: names of the classifier's outputs.
            preprocessing: values that clips are made with, of `data.preprocessing.Preprocessing`.
            space: width_range, sizes, frames and tested_sizes of its sub-networks.
            channels_last: True for clips and weights in channels_last_3d.
            step: training steps that the weights have seen.
            config: the run's config, YAML; "" for a model of no run.

        Raises:
            ValueError: the network has no record of its builder.
        """
        if not model.builder:
            raise ValueError(
                "a model file is of a network that can be built again: one of build_x3d, build_resnet, build_slowfast, "
                "create_model or build_model, or a function with the decorator register_network (docs/OWN_NETWORK.md)"
            )
        return cls(
            network=TrainedNetwork(model.state_dict(), model.statistics.state_dict(), step),
            builder=model.builder,
            arguments=to_builtins(model.arguments),
            class_names=class_names,
            preprocessing=to_builtins(preprocessing),
            space=to_builtins(space),
            channels_last=channels_last,
            config=config,
            versions=versions_of("mutualnet3d", "torch"),
        )

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory format of clips and weights."""
        return torch.channels_last_3d if self.channels_last else torch.contiguous_format

    def build(self) -> SlimmableNet:
        """Return the network with its weights and statistics, on the CPU.

        Raises:
            ValueError: this release does not know the builder or its arguments, or the weights are another network's.
        """
        arguments = {str(name): _argument(value) for name, value in self.arguments.items()}
        tensors = [value for value in self.network.weights.values() if isinstance(value, torch.Tensor)]
        model = build_network(
            self.builder,
            arguments,
            # A layer is replaced twice at most while a network is built.
            max_values=4 * sum(tensor.numel() for tensor in tensors),
            max_tensors=4 * len(tensors),
        )
        try:
            model.load_state_dict(self.network.weights)
        except RuntimeError as error:
            cause = f"{' '.join(str(error).split()):.300}"  # torch's own text, of many lines and all names
            raise ValueError(f"the weights are not those of the network that is described: {cause}") from error
        _check_weights(self.network.weights)
        model.statistics.load_state_dict(self.network.statistics)
        return model


def _check_weights(weights: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights that are not finite, and running variances below 0.

    Args:
        weights: tensors by name.

    Raises:
        ValueError: a tensor has such values; the message names it.
    """
    for name, tensor in weights.items():
        if tensor.is_meta or not tensor.isfinite().all():
            raise ValueError(f"model_state: {name} has values that are not finite")
        if name.endswith("running_var") and len(tensor) and tensor.min() < 0:
            raise ValueError(f"model_state: {name} has variances below 0")


# Type of a field, and its name in errors.
_TYPES: dict[str, tuple[type, str]] = {
    "builder": (str, "a text"),
    "arguments": (Mapping, "a mapping"),
    "preprocessing": (Mapping, "a mapping"),
    "space": (Mapping, "a mapping"),
    "channels_last": (bool, "True or False"),
    "config": (str, "a text"),
    "versions": (Mapping, "a mapping"),
}


def _argument(value: Any) -> Any:
    """Return a builder's argument from its form in files, see `to_builtins`."""
    if not isinstance(value, Mapping):
        return value
    if set(value) != {"frames", "size"}:
        raise ValueError(f"a clip shape is {dict(value)!r:.60}; it must have frames and size")
    return ClipShape(**value)


def write_model_file(path: str, model_file: ModelFile) -> None:
    """Write a model file, atomically."""
    content = {name: getattr(model_file, name) for name in _DESCRIPTION}
    content |= {
        **model_file.network.statistics,
        "model_state": model_file.network.weights,
        "step": model_file.network.step,
        "class_names": list(model_file.class_names),
    }
    write_torch_file(path, MODEL, content)


# Fields of a `ModelFile` with a key of the same name.
_DESCRIPTION = (
    "builder",
    "arguments",
    "class_names",
    "preprocessing",
    "space",
    "channels_last",
    "config",
    "versions",
)


def read_model_file(path: str) -> ModelFile:
    """Return the content of a model file, tensors on the CPU.

    Args:
        path: model file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated or damaged, is no model file, or is of a newer release.
    """
    return model_file_of(read_torch_file(path, "a model file"), path)


def model_file_of(content: Any, path: str) -> ModelFile:
    """Return the content of a model file that was read from `path`.

    Args:
        content: mapping that was read.
        path: file that it was read from, for messages.

    Raises:
        ValueError: it is no model file, it is of a newer release, or a part is missing or of another type.
    """
    if format_of(content, path) != MODEL:
        raise ValueError(f"{path}: not a model file of mutualnet3d")
    missing = [name for name in (*_DESCRIPTION, "model_state") if name not in content]
    if missing:
        raise ValueError(f"{path}: the model file has no {', '.join(missing)}")
    try:
        return ModelFile(network=trained_network(content), **{name: content[name] for name in _DESCRIPTION})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def to_builtins(value: Any) -> Any:
    """Return `value` as mappings, lists, numbers and strings; a clip shape as a mapping of frames and size."""
    if isinstance(value, ClipShape):
        return asdict(value)
    if isinstance(value, Mapping):
        return {name: to_builtins(part) for name, part in value.items()}
    return list(map(to_builtins, value)) if isinstance(value, list | tuple) else value

"""Folder of a shared model, which is read without running anything in it.

model.safetensors      weights, and statistics of the sub-networks
config.json            the rest of the model file: builder and arguments, class names, preprocessing, space, versions
query_table.json       costs and accuracy, where they are known; its context has the hash of model.safetensors
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace

import simplejson
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy.load import build_network_of, check_class_names, check_same
from mutualnet3d.deploy.networks import CheckpointNetworks
from mutualnet3d.files.atomic import atomic_file, write_text
from mutualnet3d.files.hashes import file_hash
from mutualnet3d.files.json_file import read_json
from mutualnet3d.files.regular import check_regular
from mutualnet3d.models.model_file import ModelFile, TrainedNetwork
from mutualnet3d.results.query_table import QueryTable

TENSORS, DESCRIPTION, TABLE = "model.safetensors", "config.json", "query_table.json"
FILES = (TENSORS, DESCRIPTION, TABLE)
FORMAT, VERSION = "mutualnet3d.shared_model", 1
_FIELDS = ("builder", "arguments", "class_names", "preprocessing", "space", "channels_last", "config", "versions")
_WEIGHTS, _STATISTICS, _PARTS = "weights", "statistics", ("mean", "variance")


def write_hub_folder(folder: str, model_file: ModelFile, table: QueryTable | None) -> None:
    """Write a model into an existing folder.

    Args:
        folder: path of the folder, whose files of these names are replaced.
        model_file: content of the model file.
        table: costs and accuracy of its sub-networks; None: unknown.
    """
    network = model_file.network
    # Of memory of its own each: the format has no shared memory, and no order of dimensions but one.
    tensors = {name: tensor.contiguous().clone() for name, tensor in _named(network)}
    with atomic_file(os.path.join(folder, TENSORS)) as path:
        save_file(tensors, path)
    content = {
        "format": FORMAT,
        "version": VERSION,
        **{name: getattr(model_file, name) for name in _FIELDS},
        "step": network.step,
        "interpolated": list(network.statistics.get("interpolated", ())),
        "interpolation_losses": list(network.statistics.get("interpolation_losses", ())),
    }
    write_text(os.path.join(folder, DESCRIPTION), simplejson.dumps(content, indent=1) + "\n")
    if table is not None:
        context = {**table.context, "checkpoint": file_hash(os.path.join(folder, TENSORS))}
        replace(table, context=context).save(os.path.join(folder, TABLE))


def read_hub_folder(folder: str) -> tuple[ModelFile, QueryTable | None]:
    """Return the model and the query table of a folder.

    Args:
        folder: path of the folder.

    Raises:
        FileNotFoundError: there is no such folder or model.
        ValueError: a file is damaged, or of another model; the message names it.
    """
    description = os.path.join(folder, DESCRIPTION)
    content = read_json(description, "the description of a shared model")
    if not isinstance(content, Mapping) or content.get("format") != FORMAT:
        raise ValueError(f"{description}: not the description of a shared model of mutualnet3d")
    if content.get("version") != VERSION:
        raise ValueError(f"{description}: version {content.get('version')}; this release reads {VERSION}")
    missing = [name for name in _FIELDS if name not in content]
    if missing:
        raise ValueError(f"{description}: the description has no {', '.join(missing)}")
    place = os.path.join(folder, TENSORS)
    weights, stored = _taken_apart(_read_tensors(place), place)
    statistics = {
        "statistics": stored,
        "interpolated": content.get("interpolated", []),
        "interpolation_losses": content.get("interpolation_losses", []),
    }
    try:
        network = TrainedNetwork(weights, statistics, content.get("step", 0))
        model_file = ModelFile(network=network, **{name: content[name] for name in _FIELDS})
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    place = os.path.join(folder, TABLE)
    if not os.path.lexists(place):
        return model_file, None
    table = QueryTable.load(place)
    check_same(table, os.path.join(folder, TENSORS))
    return model_file, table


def networks_of(model_file: ModelFile, table: QueryTable | None, path: str) -> CheckpointNetworks:
    """Return the sub-networks of a shared model, for a `Predictor`.

    Args:
        model_file: content of its model file.
        table: costs and accuracy; None: unknown.
        path: name of the model in errors.

    Raises:
        ValueError: this release cannot build the network, the weights are another network's, or preprocessing or names
            do not fit.
    """
    preprocessing = Preprocessing.from_json(model_file.preprocessing, path)
    model = build_network_of(model_file, path)
    check_class_names(model_file.class_names, model, path)
    return CheckpointNetworks(path, model, preprocessing, model_file.class_names, table)


def _read_tensors(path: str) -> dict[str, torch.Tensor]:
    check_regular(path, "a shared model's weights")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no weights of a shared model at {path}")
    try:
        return load_file(path)
    except (SafetensorError, KeyError, ValueError) as error:
        cause = " ".join(str(error).split())
        raise ValueError(f"{path}: not a file of safetensors, or a damaged one: {cause:.300}") from error


def _named(network: TrainedNetwork) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of a network by their names in the file: `weights/NAME`, `statistics/SUBNET/NORM/mean`."""
    for name, tensor in network.weights.items():
        yield f"{_WEIGHTS}/{name}", tensor
    for subnet, norms in network.statistics.get("statistics", {}).items():
        for norm, pair in norms.items():
            for part, tensor in zip(_PARTS, pair, strict=True):
                yield f"{_STATISTICS}/{subnet}/{norm}/{part}", tensor


def _taken_apart(
    tensors: Mapping[str, torch.Tensor], path: str
) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, tuple[torch.Tensor, torch.Tensor]]]]:
    """Return weights and statistics from the tensors of the file.

    Args:
        tensors: tensors by their names in the file.
        path: file, for messages.

    Raises:
        ValueError: a name has another form, or a variance has no mean.
    """
    weights: dict[str, torch.Tensor] = {}
    statistics: dict[str, dict[str, tuple[torch.Tensor, torch.Tensor]]] = {}
    for name, tensor in tensors.items():
        match name.split("/"):
            case [kind, weight] if kind == _WEIGHTS:
                weights[weight] = tensor
            case [kind, subnet, norm, part] if kind == _STATISTICS and part in _PARTS:
                pair = tuple(tensors.get(f"{kind}/{subnet}/{norm}/{name_of}") for name_of in _PARTS)
                if pair[0] is None or pair[1] is None:
                    raise ValueError(f"{path}: {kind}/{subnet}/{norm} has no {_PARTS[pair[0] is not None]}")
                statistics.setdefault(subnet, {})[norm] = (pair[0], pair[1])
            case _:
                raise ValueError(f"{path}: {name!r:.200} is no name of a shared model's tensor")
    return weights, statistics

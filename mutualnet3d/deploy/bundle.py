"""Bundle: a folder with everything for running a network at many costs, and nothing of its training.

bundle.json           the networks, their inputs and files, class names, preprocessing, versions
query_table.json      costs and accuracy of each
networks/*            ONNX, OpenVINO and torch.export files of each sub-network
checkpoint.pyth       the model file of the network of all widths, for PyTorch
SHA256SUMS            of every file above, as `sha256sum --check` reads it

A bundle may come from anybody. Nothing in it is code but torch.export's files (.pt2), which run whatever their maker
put into them; they are loaded only if the user names the back end "pt2". SHA256SUMS is from the same maker, and shows
only that a copy is whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import simplejson
import torch

from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy.bundle_files import check_onnx, check_openvino, check_sums, write_sums
from mutualnet3d.deploy.bundled_network import BundledNetwork
from mutualnet3d.deploy.load import build_network_of, check_class_names, load_model_file
from mutualnet3d.deploy.networks import openvino_core
from mutualnet3d.files.atomic import atomic_folder
from mutualnet3d.files.json_file import read_json
from mutualnet3d.log import printable
from mutualnet3d.models import SlimmableNet
from mutualnet3d.models.features import vector_length
from mutualnet3d.models.fork_safe_lock import ForkSafeLock
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.shapes import ClipShape, SubnetConfig

SCHEMA = "mutualnet3d.bundle"
# Version 2: networks give pooled vectors as a second output, which the first releases do not expect.
SCHEMA_VERSION, FEATURES_VERSION = 1, 2
DESCRIPTION, TABLE, CHECKPOINT = "bundle.json", "query_table.json", "checkpoint.pyth"


class Bundle:
    """Bundle that was read; a `NetworkStore`.

    Args:
        path: path of the folder.
        networks: descriptions of its networks, by sub-network.
        preprocessing: values that clips are made with.
        class_names: names of the classifier's outputs.
        table: costs and accuracy; None: unknown.
        has_checkpoint: True for a bundle with PyTorch's model file.
        about: facts: hash of the model file ("checkpoint"), and versions.
    """

    def __init__(
        self,
        path: str,
        networks: Mapping[SubnetConfig, BundledNetwork],
        preprocessing: Preprocessing,
        class_names: tuple[str, ...],
        table: QueryTable | None,
        has_checkpoint: bool,
        about: Mapping[str, Any],
    ):
        self.path, self.networks, self.about = path, dict(networks), dict(about)
        self.preprocessing, self.class_names, self.table = preprocessing, class_names, table
        self.has_checkpoint = has_checkpoint
        self.num_pathways = len(next(iter(self.networks.values())).inputs)
        self._model: SlimmableNet | None = None
        self._lock = ForkSafeLock()  # of loading it

    def __repr__(self) -> str:
        """Return a line with path, numbers of sub-networks and classes, and formats."""
        formats = sorted({name for config in self.configs for name in self.formats(config)})
        text = f"{self.path}: {len(self.networks)} sub-networks, {len(self.class_names)} classes; {', '.join(formats)}"
        return f"<Bundle: {printable(text)}>"

    @classmethod
    def load(cls, path: str) -> Bundle:
        """Read a bundle, and check that all its files are whole.

        Args:
            path: path of the folder.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: a file is missing, damaged or not of the bundle; the message names it.
        """
        description = os.path.join(path, DESCRIPTION)
        if not os.path.lexists(description):
            raise FileNotFoundError(
                f"{path}: not a bundle: it has no {DESCRIPTION}; `mutualnet3d export` writes bundles"
            )
        files = check_sums(path)
        content = read_json(description, "a bundle's description")
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"{description}: not the description of a bundle of mutualnet3d")
        if content.get("version") not in (SCHEMA_VERSION, FEATURES_VERSION):
            raise ValueError(
                f"{description}: version {content.get('version')}; this release reads {SCHEMA_VERSION} and "
                f"{FEATURES_VERSION}"
            )
        for name, kind in (("networks", dict), ("class_names", list), ("about", dict)):
            if not isinstance(content.get(name), kind) or not content[name]:
                text = "a list" if kind is list else "an object"
                raise ValueError(f"{description}: {name} is {content.get(name)!r:.60}; it must be {text}, not empty")
        if not all(isinstance(name, str) for name in content["class_names"]):
            raise ValueError(
                f"{description}: class_names is {content['class_names']!r:.60}; it must be a list of texts"
            )
        return cls(
            path,
            _networks_of(content["networks"], description, files),
            Preprocessing.from_json(content.get("preprocessing"), description),
            tuple(content["class_names"]),
            QueryTable.load(os.path.join(path, TABLE)) if TABLE in files else None,
            CHECKPOINT in files,
            content["about"],
        )

    @property
    def configs(self) -> tuple[SubnetConfig, ...]:
        """All sub-networks that can be run, the most expensive first."""
        return tuple(sorted(self.networks, key=lambda config: (-self.networks[config].gflops, str(config))))

    def formats(self, config: SubnetConfig) -> frozenset[str]:
        """Return the formats of the sub-network's files, and "pytorch" if the bundle has a model file."""
        if config not in self.networks:
            return frozenset()
        return frozenset(self.networks[config].files) | ({"pytorch"} if self.has_checkpoint else frozenset())

    def modules(self, format: str) -> tuple[str, ...]:
        """Return (): the files exist already."""
        return ()

    def shapes(self, config: SubnetConfig) -> tuple[ClipShape, ...]:
        """Return the clip shape of each input, by the description."""
        return self.networks[config].inputs

    def gflops(self, config: SubnetConfig) -> float:
        """Return the multiply-adds of a clip in 1e9, by the description."""
        return self.networks[config].gflops

    def network(self) -> SlimmableNet:
        """Return the network of the model file, which the first call loads and checks."""
        with self._lock:
            if self._model is None:
                path = os.path.join(self.path, CHECKPOINT)
                model = build_network_of(load_model_file(path), path).eval()
                description = os.path.join(self.path, DESCRIPTION)
                check_class_names(self.class_names, model, description)
                for config, network in self.networks.items():
                    if not model.can_evaluate(config):
                        raise ValueError(f"{path}: it has no statistics of {config}, which {description} has")
                    if model.input_shapes(config) != network.inputs:
                        raise ValueError(f"{description}: {config}: inputs are not those of the network in {path}")
                self._model = model
            return self._model

    def vector_length(self, config: SubnetConfig, format: str) -> int | None:
        """Return the length of the pooled vectors of a file; None for logits alone, as of int8."""
        if format == "pytorch":
            return vector_length(self.network(), config)
        return None if format == "openvino-int8" else self.networks[config].features

    def program(self, config: SubnetConfig, features: bool = False) -> Any:
        """Load a .pt2 file, which runs the code in it."""
        return torch.export.load(self.file_of(config, "pt2"))

    def onnx(self, config: SubnetConfig, features: bool = False) -> str:
        """Return the path of an ONNX file, after a check that it needs no other file."""
        path = self.file_of(config, "onnx")
        check_onnx(path)
        return path

    def openvino(self, config: SubnetConfig, int8: bool = False, features: bool = False) -> Any:
        """Return OpenVINO's model of a file, after a check of its format."""
        path = self.file_of(config, "openvino-int8" if int8 else "openvino")
        check_openvino(path)
        try:
            return openvino_core().read_model(path)
        except RuntimeError as error:
            raise ValueError(f"{path}: OpenVINO cannot read it: {' '.join(str(error).split())}") from error

    def file_of(self, config: SubnetConfig, format: str) -> str:
        """Return the path of the sub-network's file, or of the model file."""
        return os.path.join(self.path, CHECKPOINT if format == "pytorch" else self.networks[config].files[format])


def write_bundle(
    path: str,
    content: Mapping[str, Any],
    table: QueryTable | None,
    fill: Callable[[str], Mapping[SubnetConfig, BundledNetwork]],
) -> None:
    """Write a bundle: whole, or not at all.

    Args:
        path: path of a folder that does not exist yet.
        content: values for bundle.json: class_names, preprocessing and about.
        table: costs and accuracy; None: unknown.
        fill: function that writes the networks' files into a folder and returns the networks.

    Raises:
        FileExistsError: something is at `path`.
    """
    with atomic_folder(path) as folder:
        os.makedirs(os.path.join(folder, "networks"))
        networks = fill(folder)
        has_features = any(network.features is not None for network in networks.values())
        whole = {
            "schema": SCHEMA,
            "version": FEATURES_VERSION if has_features else SCHEMA_VERSION,
            **content,
            "networks": {str(config): network.to_json() for config, network in networks.items()},
        }
        with open(os.path.join(folder, DESCRIPTION), "w", encoding="utf-8") as file:
            file.write(simplejson.dumps(whole, indent=1) + "\n")
        if table is not None:
            table.save(os.path.join(folder, TABLE))
        write_sums(folder)


def _networks_of(entries: Mapping[str, Any], where: str, files: Sequence[str]) -> dict[SubnetConfig, BundledNetwork]:
    """Return the networks of a description.

    Args:
        entries: descriptions of the networks, by the sub-networks' keys.
        where: path of bundle.json, for errors.
        files: all files of the bundle.

    Raises:
        ValueError: an entry is invalid, has a file that is not in the bundle, or has another number of inputs than the
            rest.
    """
    networks: dict[SubnetConfig, BundledNetwork] = {}
    for key, values in entries.items():
        try:
            config = SubnetConfig.parse(key)
        except ValueError as error:
            raise ValueError(f"{where}: networks: {error}") from error
        if config in networks:
            raise ValueError(f"{where}: networks: {key} is there twice")
        networks[config] = BundledNetwork.from_json(values, f"{where}: {key}")
        for name in networks[config].files.values():
            if name not in files:
                raise ValueError(f"{where}: {key} has the file {name!r}, which is not in the bundle")
            weights = os.path.splitext(name)[0] + ".bin"
            if name.endswith(".xml") and weights not in files:
                raise ValueError(f"{where}: {key} has the file {name!r}, whose {weights!r} is not in the bundle")
    numbers = sorted({len(network.inputs) for network in networks.values()})
    if len(numbers) > 1:
        raise ValueError(f"{where}: networks: inputs must be as many in all; they are {numbers}")
    return networks

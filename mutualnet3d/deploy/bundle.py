"""A bundle: one folder with everything for running a network at many costs, and nothing of its training.

bundle.json           the networks, their inputs and files, class names, preprocessing, versions
query_table.json      costs and accuracy of each
networks/*            ONNX, OpenVINO and torch.export files of each sub-network
checkpoint.pyth       the model file of the network of all widths, for PyTorch
SHA256SUMS            of every file above, as `sha256sum --check` reads it
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import simplejson
import torch

from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy.load import build_network_of, check_class_names, load_model_file
from mutualnet3d.deploy.networks import openvino_core
from mutualnet3d.files.atomic import atomic_folder
from mutualnet3d.files.hashes import sha256_of
from mutualnet3d.models import SlimmableNet
from mutualnet3d.models.fork_safe_lock import ForkSafeLock
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.shapes import ClipShape, SubnetConfig

SCHEMA = "mutualnet3d.bundle"
SCHEMA_VERSION = 1
DESCRIPTION, TABLE, SUMS, CHECKPOINT = "bundle.json", "query_table.json", "SHA256SUMS", "checkpoint.pyth"


@dataclass(frozen=True)
class BundledNetwork:
    """One sub-network of a bundle.

    Args:
        gflops: 1e9 multiply-adds of a clip.
        params: number of parameters.
        inputs: clip shape of each pathway.
        files: path in the bundle by format, "onnx", "openvino", "openvino-int8", "pt2".
        differences: largest difference of logits from the eager network's by format, relative to the largest logit.
    """

    gflops: float
    params: int
    inputs: tuple[ClipShape, ...]
    files: Mapping[str, str]
    differences: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for bundle.json."""
        return {
            "gflops": self.gflops,
            "params": self.params,
            "inputs": [[shape.frames, shape.size, shape.size, 3] for shape in self.inputs],
            "files": dict(self.files),
            "differences": dict(self.differences),
        }

    @classmethod
    def from_json(cls, values: Any, where: str) -> BundledNetwork:
        """Return the sub-network that `to_json` gave `values` of.

        Args:
            where: file and sub-network, for errors.

        Raises:
            ValueError: a value is missing, unknown or of another type.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(values, Mapping) or set(values) != set(names):
            raise ValueError(f"{where} is {values!r:.60}; it must have {', '.join(names)}")
        for name in ("gflops", "params"):
            if isinstance(values[name], bool) or not isinstance(values[name], int | float) or not values[name] >= 0:
                raise ValueError(f"{where}: {name} is {values[name]!r:.60}; it must be a number of at least 0")
        for name, kind in (("files", str), ("differences", int | float)):
            parts = values[name]
            if not isinstance(parts, Mapping) or not all(isinstance(part, kind) for part in parts.values()):
                raise ValueError(f"{where}: {name} is {parts!r:.60}; it must have a value for each format")
        inputs = values["inputs"]
        if not isinstance(inputs, list) or not inputs or not all(isinstance(n, list) and len(n) == 4 for n in inputs):
            raise ValueError(f"{where}: inputs is {inputs!r:.60}; it must be (T, S, S, 3) of each pathway")
        try:
            shapes = tuple(ClipShape(frames, size) for frames, size, _, _ in inputs)
        except ValueError as error:
            raise ValueError(f"{where}: inputs: {error}") from error
        return cls(values["gflops"], values["params"], shapes, values["files"], values["differences"])


class Bundle:
    """A bundle that was read; a `NetworkStore`.

    Args:
        path: the folder.
        networks: its networks, by sub-network.
        preprocessing: values that clips are made with.
        class_names: names of the classifier's outputs.
        table: costs and accuracy; None: not known.
        has_checkpoint: True if PyTorch's model file is in it.
        about: hash of the model file ("checkpoint"), and versions.
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

    @classmethod
    def load(cls, path: str) -> Bundle:
        """Read a bundle, and all its files once, to see that they are whole.

        Raises:
            FileNotFoundError: the folder is none.
            ValueError: a file is missing, damaged or not of the bundle; it is named.
        """
        description = os.path.join(path, DESCRIPTION)
        if not os.path.isfile(description):
            raise FileNotFoundError(
                f"{path}: not a bundle: it has no {DESCRIPTION}; `mutualnet3d export` writes bundles"
            )
        _check_sums(path)
        with open(description, encoding="utf-8") as file:
            try:
                content = simplejson.load(file)
            except (ValueError, RecursionError) as error:  # lists in lists without end
                raise ValueError(f"{description}: not a JSON file: {error}") from error
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"{description}: not the description of a bundle of mutualnet3d")
        if content.get("version") != SCHEMA_VERSION:
            raise ValueError(f"{description}: version {content.get('version')}; this release reads {SCHEMA_VERSION}")
        for name, kind in (("networks", dict), ("class_names", list), ("about", dict)):
            if not isinstance(content.get(name), kind) or not content[name]:
                text = "a list" if kind is list else "an object"
                raise ValueError(f"{description}: {name} is {content.get(name)!r:.60}; it must be {text}, not empty")
        if not all(isinstance(name, str) for name in content["class_names"]):
            raise ValueError(
                f"{description}: class_names is {content['class_names']!r:.60}; it must be a list of texts"
            )
        table_path = os.path.join(path, TABLE)
        return cls(
            path,
            _networks_of(content["networks"], description, path),
            Preprocessing.from_json(content.get("preprocessing"), description),
            tuple(content["class_names"]),
            QueryTable.load(table_path) if os.path.isfile(table_path) else None,
            os.path.isfile(os.path.join(path, CHECKPOINT)),
            content["about"],
        )

    @property
    def configs(self) -> tuple[SubnetConfig, ...]:
        """All sub-networks that can be run, the most expensive first."""
        return tuple(sorted(self.networks, key=lambda config: (-self.networks[config].gflops, str(config))))

    def formats(self, config: SubnetConfig) -> frozenset[str]:
        if config not in self.networks:
            return frozenset()
        return frozenset(self.networks[config].files) | ({"pytorch"} if self.has_checkpoint else frozenset())

    def modules(self, format: str) -> tuple[str, ...]:
        return ()

    def shapes(self, config: SubnetConfig) -> tuple[ClipShape, ...]:
        return self.networks[config].inputs

    def gflops(self, config: SubnetConfig) -> float:
        return self.networks[config].gflops

    def network(self) -> SlimmableNet:
        with self._lock:
            if self._model is None:
                path = os.path.join(self.path, CHECKPOINT)
                self._model = build_network_of(load_model_file(path), path).eval()
                check_class_names(self.class_names, self._model, os.path.join(self.path, DESCRIPTION))
            return self._model

    def program(self, config: SubnetConfig) -> Any:
        return torch.export.load(self._file(config, "pt2"))

    def onnx(self, config: SubnetConfig) -> str:
        return self._file(config, "onnx")

    def openvino(self, config: SubnetConfig, int8: bool = False) -> Any:
        path = self._file(config, "openvino-int8" if int8 else "openvino")
        try:
            return openvino_core().read_model(path)
        except RuntimeError as error:
            raise ValueError(f"{path}: OpenVINO cannot read it: {' '.join(str(error).split())}") from error

    def _file(self, config: SubnetConfig, format_: str) -> str:
        return os.path.join(self.path, self.networks[config].files[format_])


def write_bundle(
    path: str,
    content: Mapping[str, Any],
    table: QueryTable | None,
    fill: Callable[[str], Mapping[SubnetConfig, BundledNetwork]],
) -> None:
    """Write a bundle: whole, or not at all.

    Args:
        path: a folder that does not exist yet.
        content: class_names, preprocessing and about, for bundle.json.
        table: costs and accuracy; None: not known.
        fill: function that writes the networks' files into a folder and returns the networks.

    Raises:
        FileExistsError: something is at `path`.
    """
    with atomic_folder(path) as folder:
        os.makedirs(os.path.join(folder, "networks"))
        networks = fill(folder)
        whole = {
            "schema": SCHEMA,
            "version": SCHEMA_VERSION,
            **content,
            "networks": {str(config): network.to_json() for config, network in networks.items()},
        }
        with open(os.path.join(folder, DESCRIPTION), "w", encoding="utf-8") as file:
            file.write(simplejson.dumps(whole, indent=1) + "\n")
        if table is not None:
            table.save(os.path.join(folder, TABLE))
        _write_sums(folder)


def _networks_of(entries: Mapping[str, Any], where: str, path: str) -> dict[SubnetConfig, BundledNetwork]:
    """Return the networks of a description.

    Args:
        entries: description of each network, by its sub-network's key.
        where: path of bundle.json, for errors.
        path: folder of the bundle.

    Raises:
        ValueError: an entry is none, or has a file that is not in the bundle.
    """
    networks: dict[SubnetConfig, BundledNetwork] = {}
    files = _files(path)
    for key, values in entries.items():
        try:
            config = SubnetConfig.parse(key)
        except ValueError as error:
            raise ValueError(f"{where}: networks: {error}") from error
        networks[config] = BundledNetwork.from_json(values, f"{where}: {key}")
        for name in networks[config].files.values():
            if name not in files:
                raise ValueError(f"{where}: {key} has the file {name!r}, which is not in the bundle")
    return networks


def _files(path: str) -> list[str]:
    """Return all files in a bundle but the list of their sums, relative to it."""
    names = [
        os.path.relpath(os.path.join(folder, name), path).replace(os.sep, "/")
        for folder, _, files in os.walk(path)
        for name in files
    ]
    return sorted(set(names) - {SUMS})


def _write_sums(path: str) -> None:
    lines = [f"{sha256_of(os.path.join(path, name))}  {name}\n" for name in _files(path)]
    with open(os.path.join(path, SUMS), "w", encoding="utf-8") as file:
        file.writelines(lines)


def _check_sums(path: str) -> None:
    """Refuse a bundle with a file that is not the one that was written.

    Raises:
        ValueError: it is missing, damaged, or not in the list.
    """
    list_path = os.path.join(path, SUMS)
    if not os.path.isfile(list_path):
        raise ValueError(f"{path}: {SUMS} is missing, the list of what the bundle's files have to be")
    sums: dict[str, str] = {}
    with open(list_path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            match = re.fullmatch(r"([0-9a-f]{64})  (.+)\n", line)
            if not match:
                raise ValueError(
                    f"{list_path}, line {number}: {line!r}; expected a SHA-256 sum, two spaces and a file name"
                )
            sums[match[2]] = match[1]
    for name in sorted(set(sums) ^ set(_files(path))):
        raise ValueError(f"{path}: {name} is {'missing' if name in sums else f'not in {SUMS}'}")
    for name, expected in sums.items():
        if sha256_of(os.path.join(path, name)) != expected:
            raise ValueError(
                f"{path}: {name} is not what was written: its SHA-256 sum is another than in {SUMS}. It was damaged or "
                "changed; export or copy the bundle again"
            )

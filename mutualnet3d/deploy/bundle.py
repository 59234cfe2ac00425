"""A bundle: one folder with all that running a network at many costs takes, and nothing of its training.

bundle.json           which networks, their inputs and files, class names, preprocessing, versions
query_table.json      what each costs and how good it is
networks/*            ONNX, OpenVINO and torch.export files of each sub-network
checkpoint.pyth       the network of all widths, for PyTorch
SHA256SUMS            of every file above, as `sha256sum --check` reads it
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import simplejson
import torch

from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy.build import read_checkpoint
from mutualnet3d.deploy.networks import openvino_core
from mutualnet3d.models import SlimmableNet
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.shapes import ClipShape, SubnetConfig

SCHEMA = "mutualnet3d.bundle"
SCHEMA_VERSION = 1
DESCRIPTION, TABLE, SUMS, CHECKPOINT = "bundle.json", "query_table.json", "SHA256SUMS", "checkpoint.pyth"


@dataclass(frozen=True)
class BundledNetwork:
    """One sub-network of a bundle.

    Args:
        gflops: 1e9 multiply-adds of a clip; params: parameters.
        inputs: the clip of each pathway.
        files: the path in the bundle of each format, "onnx", "openvino", "openvino-int8", "pt2".
        differences: of each format, the largest difference of logits from the eager network's, relative to the largest.
    """

    gflops: float
    params: int
    inputs: tuple[ClipShape, ...]
    files: Mapping[str, str]
    differences: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "gflops": self.gflops,
            "params": self.params,
            "inputs": [[each.frames, each.size, each.size, 3] for each in self.inputs],
            "files": dict(self.files),
            "differences": dict(self.differences),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> BundledNetwork:
        inputs = tuple(ClipShape(frames, size) for frames, size, _, _ in values["inputs"])
        return cls(values["gflops"], values["params"], inputs, values["files"], values["differences"])


class Bundle:
    """A bundle that was read; a `NetworkStore`.

    Args:
        path: the folder.
        networks: by sub-network.
        has_checkpoint: whether PyTorch's checkpoint is in it.
        about: model, checkpoint (hash), versions.
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

    @classmethod
    def load(cls, path: str) -> Bundle:
        """Read a bundle, and all its files once, to see that they are what was written.

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
            except ValueError as error:
                raise ValueError(f"{description}: not a JSON file: {error}") from error
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"{description}: not the description of a bundle of mutualnet3d")
        if content.get("version") != SCHEMA_VERSION:
            raise ValueError(f"{description}: version {content.get('version')}; this release reads {SCHEMA_VERSION}")
        table_path = os.path.join(path, TABLE)
        return cls(
            path,
            {SubnetConfig.parse(key): BundledNetwork.from_json(each) for key, each in content["networks"].items()},
            Preprocessing.from_json(content["preprocessing"], description),
            tuple(content["class_names"]),
            QueryTable.load(table_path) if os.path.isfile(table_path) else None,
            os.path.isfile(os.path.join(path, CHECKPOINT)),
            content["about"],
        )

    @property
    def configs(self) -> tuple[SubnetConfig, ...]:
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
        if self._model is None:
            self._model = read_checkpoint(os.path.join(self.path, CHECKPOINT), find_table=False).network()
        return self._model

    def program(self, config: SubnetConfig) -> Any:
        return torch.export.load(self._file(config, "pt2"))

    def onnx(self, config: SubnetConfig) -> str:
        return self._file(config, "onnx")

    def openvino(self, config: SubnetConfig, int8: bool = False) -> Any:
        return openvino_core().read_model(self._file(config, "openvino-int8" if int8 else "openvino"))

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
        path: a folder that is not there yet.
        content: class_names, preprocessing and about, for bundle.json.
        fill: writes the networks' files into the folder that it is given, and says which.

    Raises:
        FileExistsError: something is at `path`.
    """
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already; a bundle is written to a new folder")
    parent, name = os.path.split(os.path.abspath(path))
    os.makedirs(parent, exist_ok=True)
    # Of a name that is free, whatever a killed export has left; inside it, as this folder is for its owner alone.
    hidden = tempfile.mkdtemp(prefix=f".{name}.", suffix=".tmp", dir=parent)
    temporary = os.path.join(hidden, name)
    try:
        os.makedirs(os.path.join(temporary, "networks"))
        networks = fill(temporary)
        whole = {
            "schema": SCHEMA,
            "version": SCHEMA_VERSION,
            **content,
            "networks": {str(config): each.to_json() for config, each in networks.items()},
        }
        with open(os.path.join(temporary, DESCRIPTION), "w", encoding="utf-8") as file:
            file.write(simplejson.dumps(whole, indent=1) + "\n")
        if table is not None:
            table.save(os.path.join(temporary, TABLE))
        _write_sums(temporary)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _files(path: str) -> list[str]:
    """All files in a bundle but the list of their sums, relative to it."""
    found = [
        os.path.relpath(os.path.join(folder, name), path).replace(os.sep, "/")
        for folder, _, names in os.walk(path)
        for name in names
    ]
    return sorted(set(found) - {SUMS})


def _sum(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_sums(path: str) -> None:
    lines = [f"{_sum(os.path.join(path, name))}  {name}\n" for name in _files(path)]
    for name in _files(path):
        _sync(os.path.join(path, name))
    with open(os.path.join(path, SUMS), "w", encoding="utf-8") as file:
        file.writelines(lines)
    _sync(os.path.join(path, SUMS))


def _sync(path: str) -> None:
    """On the disk, before the folder gets its name."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_sums(path: str) -> None:
    """Refuse a bundle of which a file is not what was written.

    Raises:
        ValueError: it is missing, damaged, or not in the list.
    """
    sums = os.path.join(path, SUMS)
    if not os.path.isfile(sums):
        raise ValueError(f"{path}: {SUMS} is missing, the list of what the bundle's files have to be")
    wanted: dict[str, str] = {}
    with open(sums, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            match = re.fullmatch(r"([0-9a-f]{64})  (.+)\n", line)
            if not match:
                raise ValueError(f"{sums}, line {number}: {line!r}; expected a SHA-256 sum, two spaces and a file name")
            wanted[match[2]] = match[1]
    found = _files(path)
    for name in sorted(set(wanted) ^ set(found)):
        raise ValueError(f"{path}: {name} is {'missing' if name in wanted else f'not in {SUMS}'}")
    for name, each in wanted.items():
        if _sum(os.path.join(path, name)) != each:
            raise ValueError(
                f"{path}: {name} is not what was written: its SHA-256 sum is another than in {SUMS}. It was damaged or "
                "changed; export or copy the bundle again"
            )

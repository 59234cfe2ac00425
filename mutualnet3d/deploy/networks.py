"""Networks of a Predictor: cut out of a model file when they are needed, or ready in a bundle."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Protocol

import torch

from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy.clip_network import CONVERSION, export_program, input_names, output_names
from mutualnet3d.extras import require
from mutualnet3d.log import printable
from mutualnet3d.models import SlimmableNet, costs
from mutualnet3d.models.features import vector_length
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.shapes import ClipShape, SubnetConfig

# Packages that make ONNX models, which OpenVINO's are made from.
CONVERTERS = ("onnx", "onnxscript")


class NetworkStore(Protocol):
    """Networks of many costs, in the formats that the back ends take.

    Attributes:
        path: path of the file or folder, for messages.
        preprocessing: values that clips are made with.
        class_names: names of the classifier's outputs.
        table: costs and accuracy of the networks; None: unknown.
        num_pathways: number of inputs of a network.
    """

    path: str
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    table: QueryTable | None
    num_pathways: int

    @property
    def configs(self) -> tuple[SubnetConfig, ...]:
        """All sub-networks that can be run, the most expensive first."""
        ...

    def formats(self, config: SubnetConfig) -> frozenset[str]:
        """Return the sub-network's formats, of "pytorch", "pt2", "openvino", "openvino-int8", "onnx"."""
        ...

    def modules(self, format: str) -> tuple[str, ...]:
        """Return the packages for making a network of that format, beside the library that runs it."""
        ...

    def shapes(self, config: SubnetConfig) -> tuple[ClipShape, ...]:
        """Return the clip of each pathway."""
        ...

    def gflops(self, config: SubnetConfig) -> float:
        """Return the multiply-adds of a clip, in 1e9."""
        ...

    def network(self) -> SlimmableNet:
        """Return the network of all widths, the same object every time."""
        ...

    def vector_length(self, config: SubnetConfig, format: str) -> int | None:
        """Return the length of the pooled vectors that the network of that format can give.

        None for a network that gives logits alone.
        """
        ...

    def program(self, config: SubnetConfig, features: bool = False) -> Any:
        """Return torch.export's program, with the pooled vectors as second output if `features` is True."""
        ...

    def onnx(self, config: SubnetConfig, features: bool = False) -> bytes | str:
        """Return an ONNX model, or the path of its file, with outputs as for `program`."""
        ...

    def openvino(self, config: SubnetConfig, int8: bool = False, features: bool = False) -> Any:
        """Return OpenVINO's model, of any batch size, with outputs as for `program`."""
        ...

    def file_of(self, config: SubnetConfig, format: str) -> str | None:
        """Return the path of the file of the network; None for a network that is made here."""
        ...


class CheckpointNetworks:
    """Sub-networks of a trained model.

    Args:
        path: path of the model file.
        model: network with the statistics of its sub-networks.
        preprocessing: values that clips are made with.
        class_names: names of the classifier's outputs.
        table: query table of the model; None: unknown.
    """

    def __init__(
        self,
        path: str,
        model: SlimmableNet,
        preprocessing: Preprocessing,
        class_names: tuple[str, ...],
        table: QueryTable | None,
    ):
        self.path, self.preprocessing, self.class_names, self.table = path, preprocessing, class_names, table
        self.num_pathways = model.num_pathways
        self._model = model.eval()
        self._gflops: dict[SubnetConfig, float] = {}
        # Two back ends ask for the same one after the other.
        self._last_onnx: tuple[tuple[SubnetConfig, bool], bytes] | None = None

    def __repr__(self) -> str:
        """Return a line with path and numbers of sub-networks and classes."""
        text = f"{self.path}: {len(self.configs)} sub-networks, {len(self.class_names)} classes"
        return f"<CheckpointNetworks: {printable(text)}>"

    @property
    def configs(self) -> tuple[SubnetConfig, ...]:
        """Calibrated sub-networks, or else the full network, the most expensive first."""
        in_table = [row.config for row in self.table.rows] if self.table else []
        candidates = dict.fromkeys([*in_table, *self._model.statistics])
        runnable = [config for config in candidates if self._model.can_evaluate(config)] or [self._model.full]
        return tuple(sorted(runnable, key=lambda config: (-self.gflops(config), str(config))))

    def formats(self, config: SubnetConfig) -> frozenset[str]:
        """Return "pytorch", "openvino" and "onnx" for a sub-network that can be evaluated."""
        return frozenset(("pytorch", "openvino", "onnx")) if self._model.can_evaluate(config) else frozenset()

    def modules(self, format: str) -> tuple[str, ...]:
        """Return the packages that convert to ONNX, if the format needs them."""
        return CONVERTERS if format in ("openvino", "onnx") else ()

    def shapes(self, config: SubnetConfig) -> tuple[ClipShape, ...]:
        """Return the clip of each pathway, by the network."""
        return self._model.input_shapes(config)

    def gflops(self, config: SubnetConfig) -> float:
        """Return the multiply-adds of a clip in 1e9, counted at the first call."""
        if config not in self._gflops:
            self._gflops[config] = costs(self._model, config)[0] / 1e9
        return self._gflops[config]

    def network(self) -> SlimmableNet:
        """Return the network of the model file."""
        return self._model

    def vector_length(self, config: SubnetConfig, format: str) -> int | None:
        """Return the length of the pooled vectors, the same in all formats."""
        return vector_length(self._model, config)

    def program(self, config: SubnetConfig, features: bool = False) -> Any:
        """Export the sub-network."""
        return export_program(self._model, config, self.preprocessing, features)

    def onnx(self, config: SubnetConfig, features: bool = False) -> bytes:
        """Convert the sub-network to ONNX, or return the last model if it is the same."""
        last = self._last_onnx  # another thread may replace it meanwhile
        if last is None or last[0] != (config, features):
            content = to_onnx(self.program(config, features), self.num_pathways, features)
            last = self._last_onnx = (config, features), content
        return last[1]

    def openvino(self, config: SubnetConfig, int8: bool = False, features: bool = False) -> Any:
        """Convert the sub-network to ONNX and read it with OpenVINO."""
        assert not int8, "a model file has none"
        return openvino_core().read_model(self.onnx(config, features), b"")

    def file_of(self, config: SubnetConfig, format: str) -> str | None:
        """Return None: all networks are made here."""
        return None


def to_onnx(program: Any, num_pathways: int, features: bool = False) -> bytes:
    """Return a program of `export_program` as an ONNX model.

    The model contains nothing of the machine that it was made on, such as paths of source files.

    Args:
        program: program of torch.export.
        num_pathways: number of the program's inputs.
        features: True for a program with the pooled vectors as second output.

    Raises:
        ModuleNotFoundError: onnx or onnxscript is not installed.
    """
    for module in CONVERTERS:
        require(module)
    quiet = quiet_loggers("torch.onnx", "onnxscript", "onnx_ir")  # nothing in what the exporter logs is for its users
    with CONVERSION, quiet, warnings.catch_warnings(action="ignore"):
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=input_names(num_pathways),
            output_names=output_names(features),
            verbose=False,
            optimize=True,
        )
    assert exported is not None
    model = exported.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # the exporter's notes: names of modules, and stack traces with paths
    return bytes(model.SerializeToString())


@contextmanager
def quiet_loggers(*names: str) -> Iterator[None]:
    """Let the loggers `names` log errors alone in the context."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@lru_cache(maxsize=1)
def openvino_core() -> Any:
    """Return OpenVINO's core, which reads models from ONNX; `openvino.convert_model` would send usage statistics.

    Raises:
        ModuleNotFoundError: OpenVINO is not installed.
    """
    return require("openvino").Core()

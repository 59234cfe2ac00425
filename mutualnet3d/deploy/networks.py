"""Where a Predictor's networks come from: a checkpoint, out of which each is cut when it is wanted, or a bundle, where
they lie ready."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Protocol

import torch

from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy.clip_network import export_program, input_names
from mutualnet3d.extras import require
from mutualnet3d.models import SlimmableNet, costs
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.shapes import ClipShape, SubnetConfig

# What makes ONNX models, which OpenVINO's are made from.
CONVERTERS = ("onnx", "onnxscript")


class NetworkStore(Protocol):
    """Networks of many costs, in the forms that the back ends take.

    Attributes:
        path: the file or folder, for messages.
        preprocessing: how clips are made for them.
        class_names: of the classifier's outputs.
        table: what each costs and how good it is; None: not known.
        num_pathways: inputs of each.
    """

    path: str
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    table: QueryTable | None
    num_pathways: int

    @property
    def configs(self) -> tuple[SubnetConfig, ...]:
        """All that can be run, the most expensive first."""
        ...

    def formats(self, config: SubnetConfig) -> frozenset[str]:
        """Of "pytorch", "pt2", "openvino", "openvino-int8" and "onnx", those in which it has the sub-network."""
        ...

    def modules(self, format: str) -> tuple[str, ...]:
        """What has to be installed to have a network in that form, beside what runs it."""
        ...

    def shapes(self, config: SubnetConfig) -> tuple[ClipShape, ...]:
        """The clip of each pathway."""
        ...

    def gflops(self, config: SubnetConfig) -> float:
        """1e9 multiply-adds of a clip."""
        ...

    def network(self) -> SlimmableNet:
        """The network of all widths; the same object every time."""
        ...

    def program(self, config: SubnetConfig) -> Any:
        """torch.export's."""
        ...

    def onnx(self, config: SubnetConfig) -> bytes | str:
        """An ONNX model, or the path of its file."""
        ...

    def openvino(self, config: SubnetConfig, int8: bool = False) -> Any:
        """OpenVINO's model, of any batch size."""
        ...


class CheckpointNetworks:
    """The sub-networks of a checkpoint of a test run.

    Args:
        model: with the statistics of all that were tested.
        table: the test's, of this checkpoint.
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
        self._last_onnx: tuple[SubnetConfig, bytes] | None = None  # two back ends ask for the same one after the other

    @property
    def configs(self) -> tuple[SubnetConfig, ...]:
        of_table = [row.config for row in self.table.rows] if self.table else []
        known = dict.fromkeys([*of_table, *self._model.statistics])
        runnable = [config for config in known if self._model.can_evaluate(config)] or [self._model.full]
        return tuple(sorted(runnable, key=lambda config: (-self.gflops(config), str(config))))

    def formats(self, config: SubnetConfig) -> frozenset[str]:
        return frozenset(("pytorch", "openvino", "onnx")) if self._model.can_evaluate(config) else frozenset()

    def modules(self, format: str) -> tuple[str, ...]:
        return CONVERTERS if format in ("openvino", "onnx") else ()

    def shapes(self, config: SubnetConfig) -> tuple[ClipShape, ...]:
        return self._model.input_shapes(config)

    def gflops(self, config: SubnetConfig) -> float:
        if config not in self._gflops:
            self._gflops[config] = costs(self._model, config)[0] / 1e9
        return self._gflops[config]

    def network(self) -> SlimmableNet:
        return self._model

    def program(self, config: SubnetConfig) -> Any:
        return export_program(self._model, config, self.preprocessing)

    def onnx(self, config: SubnetConfig) -> bytes:
        if self._last_onnx is None or self._last_onnx[0] != config:
            self._last_onnx = config, to_onnx(self.program(config), self.num_pathways)
        return self._last_onnx[1]

    def openvino(self, config: SubnetConfig, int8: bool = False) -> Any:
        assert not int8, "a checkpoint has none"
        return openvino_core().read_model(self.onnx(config), b"")


def to_onnx(program: Any, num_pathways: int) -> bytes:
    """What `export_program` gave as an ONNX model.

    Raises:
        ModuleNotFoundError: onnx or onnxscript is not installed.
    """
    for module in CONVERTERS:
        require(module)
    with _quiet():
        names = input_names(num_pathways)
        exported = torch.onnx.export(
            program, dynamo=True, input_names=names, output_names=["logits"], verbose=False, optimize=True
        )
    assert exported is not None
    return bytes(exported.model_proto.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of itself: nothing in it is for who exports."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


@lru_cache(maxsize=1)
def openvino_core() -> Any:
    """OpenVINO's entry. Models are read from ONNX by it, as `openvino.convert_model` sends usage statistics.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    return require("openvino").Core()

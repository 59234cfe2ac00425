"""Sub-networks in int8 for OpenVINO, quantised by NNCF after training, with some training clips.

    model = quantize(networks.openvino(config), batches)
    Predictor(QuantizedNetworks(networks, {config: model}), backend="openvino-int8")

All convolutions but those of SE and the classifier are quantised. CPUs with VNNI or AMX gain speed, others little, and
tiny networks nothing.

The settings were chosen on the trained demo network (X3D; five sub-networks, 160 training clips, 240 test clips). With
NNCF's own settings the mean loss of top-1 was 1.75 points, with these it is 0.4, and the best class was that of float32
for 95.9 % and is for 98.3 % of the clips:

- Ranges of activations reach from the smallest to the largest value of all clips. NNCF takes the mean of the clips'
  ranges, which cuts off values that few clips have: logits then differed by up to 0.66 of the largest, now by 0.16.
- Ranges of activations need not be symmetric ("mixed"). With symmetric ones the median difference was 0.02, now 0.01,
  and 1.2 points were lost.
- Logits are not rounded. NNCF rounds the input of a mean, so of the one after the classifier, to 256 levels: several
  clips in a hundred then had two best classes, and top-1 was luck.
- Depthwise convolutions are quantised too. OpenVINO computes them in float32 (those in 3D have no kernel in int8), but
  less data go between the layers: X3D-M was as fast as without, and accuracy the same.
- Slower bias correction changes nothing here; NNCF's default stays.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from mutualnet3d.deploy.networks import CheckpointNetworks, quiet_loggers
from mutualnet3d.extras import require
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.shapes import SubnetConfig


class QuantizedNetworks(CheckpointNetworks):
    """Sub-networks of a checkpoint, some of them in int8 too.

    Args:
        networks: sub-networks of the checkpoint.
        models: quantised OpenVINO models, by sub-network.
        table: query table with the accuracy of `models` too; None: the checkpoint's table.
    """

    def __init__(
        self, networks: CheckpointNetworks, models: Mapping[SubnetConfig, Any], table: QueryTable | None = None
    ):
        super().__init__(
            networks.path,
            networks.network(),
            networks.preprocessing,
            networks.class_names,
            table or networks.table,
        )
        self._models = dict(models)

    def formats(self, config: SubnetConfig) -> frozenset[str]:
        """Return the checkpoint's formats, and "openvino-int8" if the sub-network is quantised."""
        formats = super().formats(config)
        return formats | {"openvino-int8"} if config in self._models else formats

    def vector_length(self, config: SubnetConfig, format: str) -> int | None:
        """Return the length of the pooled vectors; None for int8, which gives logits alone."""
        return None if format == "openvino-int8" else super().vector_length(config, format)

    def openvino(self, config: SubnetConfig, int8: bool = False, features: bool = False) -> Any:
        """Return a copy of the quantised model, or the checkpoint's model."""
        assert not (int8 and features), "int8 networks give logits alone"
        return self._models[config].clone() if int8 else super().openvino(config, features=features)


def quantize(model: Any, batches: Iterable[Sequence[torch.Tensor]]) -> Any:
    """Return an OpenVINO model in int8, the same for the same model and clips.

    Args:
        model: model with inputs uint8 (B, T, S, S, 3), any batch size B; it does not change.
        batches: training clips, uint8 (B, T, S, S, 3), one tensor for each input. All of them are held in memory.

    Raises:
        ModuleNotFoundError: nncf is not installed.
        ValueError: there is no clip, or clips have another shape or type than the model's inputs.
    """
    nncf = load_nncf()
    clips = [
        [clip_BTHWC[number : number + 1].numpy() for clip_BTHWC in batch]
        for batch in batches
        for number in range(_check(model, batch))
    ]
    if not clips:
        raise ValueError("no clips to calibrate int8 with; give some training clips")
    advanced = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=importlib.import_module(
            "nncf.quantization.range_estimator"
        ).RangeEstimatorParametersSet.MINMAX
    )
    with _quiet():
        return nncf.quantize(
            model.clone(),
            nncf.Dataset(clips),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(clips),
            ignored_scope=nncf.IgnoredScope(names=[*_after_the_classifier(model), *_squeeze_excitations(model)]),
            advanced_parameters=advanced,
        )


def _after_the_classifier(model: Any) -> list[str]:
    """Return the names of the nodes from the logits back to the classifier's product, without the product."""
    node = model.get_results()[0]
    names = []
    while (node := node.input(0).get_source_output().get_node()).get_type_name() not in ("MatMul", "Convolution"):
        names.append(node.get_friendly_name())
    return names


def _squeeze_excitations(model: Any) -> list[str]:
    """Return the names of the nodes of SE, from its mean to its product.

    NNCF leaves out blocks with one mean by itself, but not those with a mean in two steps (clip_network.py).
    """
    names = []
    for node in model.get_ops():
        shape = node.get_output_partial_shape(0) if node.get_type_name() == "Sigmoid" else []
        if len(shape) != 5 or [str(side) for side in shape][2:] != ["1", "1", "1"]:
            continue
        names += [target.get_node().get_friendly_name() for target in node.output(0).get_target_inputs()]
        while node.get_type_name() != "AvgPool":
            names.append(node.get_friendly_name())
            node = node.input(0).get_source_output().get_node()
        names.append(node.get_friendly_name())
    return names


def _check(model: Any, batch: Sequence[torch.Tensor]) -> int:
    """Return the number of clips in `batch`.

    Raises:
        ValueError: the clips have another shape or type than the inputs of `model`.
    """
    input_shapes = [list(port.get_partial_shape().get_min_shape()[1:]) for port in model.inputs]
    clip_shapes = [list(clip.shape[1:]) for clip in batch]
    if clip_shapes != input_shapes or any(clip.dtype != torch.uint8 for clip in batch):
        expected = ", ".join(f"uint8 (B, {', '.join(map(str, shape))})" for shape in input_shapes)
        got = ", ".join(f"{str(clip.dtype).removeprefix('torch.')} {tuple(clip.shape)}" for clip in batch)
        raise ValueError(f"the model takes clips {expected}; got {got}")
    return len(batch[0])


def load_nncf() -> Any:
    """Return the module nncf, and keep it from changing the class of all loggers.

    Raises:
        ModuleNotFoundError: nncf is not installed; the message says what to install.
    """
    logger_class = logging.getLoggerClass()
    try:
        return require("nncf")
    finally:
        logging.setLoggerClass(logger_class)


class _NoStatistics:
    """Stand-in for the sender of usage statistics that sends nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep NNCF from sending usage statistics (it may have been imported before), progress bars and log lines."""
    decorator: Any = importlib.import_module("nncf.telemetry.decorator")
    console: Any = importlib.import_module("rich").get_console()
    before = decorator.telemetry, console.quiet
    decorator.telemetry, console.quiet = _NoStatistics(), True
    try:
        with quiet_loggers("nncf", "torch.utils.cpp_extension"):
            yield
    finally:
        decorator.telemetry, console.quiet = before

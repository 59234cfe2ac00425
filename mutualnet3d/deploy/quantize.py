"""Sub-networks in int8 for OpenVINO: quantised after training by NNCF, which looks at some training clips.

    model = quantize(source.openvino(config), batches)
    Predictor(QuantizedNetworks(source, {config: model}), backend="openvino-int8")

All convolutions but those of SE and the classifier are quantised. CPUs with VNNI or AMX gain, others little, and tiny
networks nothing.

How it is done was chosen on the trained demo network (X3D; five sub-networks, 160 training clips, 240 test clips). In
NNCF's own way they lost 1.75 points of top-1 in the mean, now 0.4, and the best class is that of float32 for 98.3 % of
the clips, then 95.9 %:

- Ranges of activations reach from the smallest to the largest value of all clips. NNCF takes the mean of what each clip
  has, which cuts off what few clips need: logits then differed by up to 0.66 of the largest, now by 0.16.
- Ranges of activations need not be symmetric ("mixed"). With symmetric ones the median difference was 0.02, now 0.01,
  and 1.2 points were lost.
- Logits are not rounded. NNCF rounds what goes into a mean, so into that behind the classifier, to 256 levels: several
  clips in a hundred then had two best classes, and top-1 was luck.
- Depthwise convolutions are quantised too. OpenVINO computes them in float32 (those in 3D have no kernel in int8), but
  less goes between the layers: X3D-M was as fast as without, and accuracy the same.
- Slower bias correction changes nothing here; NNCF's default stays.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from mutualnet3d.deploy.networks import CheckpointNetworks
from mutualnet3d.extras import require
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.shapes import SubnetConfig


class QuantizedNetworks(CheckpointNetworks):
    """A checkpoint's sub-networks, some of them in int8 too.

    Args:
        source: the checkpoint.
        models: quantised OpenVINO models.
        table: where it says more than the source's (accuracies of `models`).
    """

    def __init__(self, source: CheckpointNetworks, models: Mapping[SubnetConfig, Any], table: QueryTable | None = None):
        super().__init__(source.path, source.network(), source.preprocessing, source.class_names, table or source.table)
        self._models = dict(models)

    def formats(self, config: SubnetConfig) -> frozenset[str]:
        found = super().formats(config)
        return found | {"openvino-int8"} if config in self._models else found

    def openvino(self, config: SubnetConfig, int8: bool = False) -> Any:
        return self._models[config].clone() if int8 else super().openvino(config)


def quantize(model: Any, batches: Iterable[Sequence[torch.Tensor]]) -> Any:
    """An OpenVINO model in int8; the same whenever model and clips are.

    Args:
        model: of inputs uint8 (B, T, S, S, 3), any batch size B; it stays as it is.
        batches: training clips, uint8 (B, T, S, S, 3), one tensor for each input. All are held in memory.

    Raises:
        ModuleNotFoundError: nncf is not installed.
        ValueError: there is no clip, or clips are not what the model takes.
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
            ignored_scope=nncf.IgnoredScope(names=[*_behind_the_classifier(model), *_squeeze_excitations(model)]),
            advanced_parameters=advanced,
        )


def _behind_the_classifier(model: Any) -> list[str]:
    """Names of the nodes that logits go through, down to the classifier's product, which is not among them."""
    node = model.get_results()[0]
    names = []
    while (node := node.input(0).get_source_output().get_node()).get_type_name() not in ("MatMul", "Convolution"):
        names.append(node.get_friendly_name())
    return names


def _squeeze_excitations(model: Any) -> list[str]:
    """Names of the nodes of SE, from its mean to its product. NNCF leaves them alone where it sees what they are; with
    a mean in two steps (clip_network.py) it does not."""
    names = []
    for node in model.get_ops():
        shape = node.get_output_partial_shape(0) if node.get_type_name() == "Sigmoid" else []
        if len(shape) != 5 or [str(each) for each in shape][2:] != ["1", "1", "1"]:
            continue
        names += [each.get_node().get_friendly_name() for each in node.output(0).get_target_inputs()]
        while node.get_type_name() != "AvgPool":
            names.append(node.get_friendly_name())
            node = node.input(0).get_source_output().get_node()
        names.append(node.get_friendly_name())
    return names


def _check(model: Any, batch: Sequence[torch.Tensor]) -> int:
    """The number of clips in `batch`.

    Raises:
        ValueError: they are not what `model` takes.
    """
    wanted = [port.get_partial_shape().get_min_shape()[1:] for port in model.inputs]
    got = [list(clip.shape[1:]) for clip in batch]
    if got != [list(shape) for shape in wanted] or any(clip.dtype != torch.uint8 for clip in batch):
        said = ", ".join(f"{str(clip.dtype).removeprefix('torch.')} {tuple(clip.shape)}" for clip in batch)
        expected = ", ".join(f"uint8 (B, {', '.join(map(str, shape))})" for shape in wanted)
        raise ValueError(f"the model takes clips {expected}; got {said}")
    return len(batch[0])


def load_nncf() -> Any:
    """The module nncf, which makes everyone's loggers its own kind: not here.

    Raises:
        ModuleNotFoundError: it is not installed; one line that says what to install.
    """
    logger_class = logging.getLoggerClass()
    try:
        return require("nncf")
    finally:
        logging.setLoggerClass(logger_class)


class _NoStatistics:
    """In the place of what sends them."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


@contextmanager
def _quiet() -> Iterator[None]:
    """NNCF without its statistics (it may have been imported by somebody else), progress bars and news."""
    sends: Any = importlib.import_module("nncf.telemetry.decorator")
    console: Any = importlib.import_module("rich").get_console()
    loggers = [logging.getLogger(name) for name in ("nncf", "torch.utils.cpp_extension")]
    before = sends.telemetry, console.quiet, [each.level for each in loggers]
    sends.telemetry, console.quiet = _NoStatistics(), True
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        yield
    finally:
        sends.telemetry, console.quiet, levels = before
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)

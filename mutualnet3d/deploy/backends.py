"""Back ends, which run sub-networks: PyTorch, OpenVINO or ONNX Runtime, by one call.

PyTorch has one set of weights and switches between sub-networks. The others compile each sub-network separately, with
weights of its own, when it is first needed; after that, a change of the sub-network is a look-up in a dictionary.

Legend: V views, T frames, S side of the square, K classes, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch

from mutualnet3d.deploy.backend import Backend, Forward
from mutualnet3d.deploy.clip_network import normalize_of
from mutualnet3d.deploy.forked import is_forked
from mutualnet3d.deploy.networks import openvino_core
from mutualnet3d.extras import require
from mutualnet3d.models import SlimmableNet
from mutualnet3d.models.features import check_layer, layer_maps, pooled_vectors
from mutualnet3d.shapes import SubnetConfig

# Places of an exported network's outputs.
_LOGITS, _FEATURES = 0, 1

# (network that is switched, its float clips) -> values of each clip.
_ValuesOf: TypeAlias = Callable[[SlimmableNet, list[torch.Tensor]], torch.Tensor]


class PyTorch(Backend):
    """Back end that switches the slimmable network, with one set of weights for all sub-networks."""

    name, format, devices = "pytorch", "pytorch", ("cpu", "cuda")
    _precision: torch.dtype | None = None

    def _make(self, config: SubnetConfig, features: bool = False) -> Forward:
        return self._running(config, pooled_vectors if features else _logits)

    def map_forward(self, config: SubnetConfig, layer: str) -> Forward:
        """Return the forward pass that gives the maps of a layer of the switched network."""
        check_layer(self.networks.network(), config, layer)
        return self._running(config, lambda model, inputs: layer_maps(model, inputs, layer))

    def _running(self, config: SubnetConfig, values_of: _ValuesOf) -> Forward:
        """Return the forward pass that gives some values of the switched network."""
        model = self.networks.network()
        # The faster format for single clips: benchmarks/switched_inference.py.
        model.to(self.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        normalize = normalize_of(self.networks.preprocessing, torch.channels_last_3d).to(self.device)

        def run(clips: Sequence[torch.Tensor]) -> torch.Tensor:
            inputs = [normalize(clip.permute(0, 1, 4, 2, 3).to(self.device)) for clip in clips]
            with torch.no_grad(), torch_threads(self.threads), model.active(config), self._autocast():
                return values_of(model, inputs).float().cpu().contiguous()

        return run

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self._precision, enabled=self._precision is not None)


class PyTorchBf16(PyTorch):
    """PyTorch in bfloat16, on devices that compute with it."""

    name, exact = "pytorch-bf16", False
    _precision = torch.bfloat16

    @classmethod
    def _unsupported(cls, device: torch.device) -> str | None:
        supported = torch.cuda.is_bf16_supported(False) if device.type == "cuda" else _cpu_has_bf16()
        return None if supported else f"this {device.type} does not compute with bfloat16"


class ExportedProgram(Backend):
    """PyTorch with programs of `torch.export`, for bundles without a checkpoint.

    A .pt2 file is code: torch unpickles its constants and evaluates its expressions. Load only files from people that
    you trust.
    """

    name, format, runs_files = "pt2", "pt2", True

    def _make(self, config: SubnetConfig, features: bool = False) -> Forward:
        module = self.networks.program(config, features).module()

        def run(clips: Sequence[torch.Tensor]) -> torch.Tensor:
            with torch.no_grad(), torch_threads(self.threads):
                outputs = module(*clips)
            if isinstance(outputs, torch.Tensor):
                outputs = (outputs,)
            return outputs[_FEATURES if features else _LOGITS].float()

        return run


class OpenVINO(Backend):
    """OpenVINO on the CPU, in float32."""

    name, module, format = "openvino", "openvino", "openvino"
    _precision, _int8 = "f32", False

    def _model(self, config: SubnetConfig, features: bool) -> Any:
        return self.networks.openvino(config, self._int8, features)

    def _make(self, config: SubnetConfig, features: bool = False) -> Forward:
        model = self._model(config, features)
        # One view after the other: on a CPU a batch is no faster, and with its size known the kernels are the best.
        model.reshape(
            {port: [1, *port.get_partial_shape().get_min_shape()[1:]] for port in model.inputs}  # the rest is known
        )
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": self._precision, "PERFORMANCE_HINT": "LATENCY"}
        if self.threads is not None:
            settings["INFERENCE_NUM_THREADS"] = self.threads
        compiled = openvino_core().compile_model(model, "CPU", settings)
        request, output = compiled.create_infer_request(), compiled.outputs[_FEATURES if features else _LOGITS]

        def run(clips: Sequence[torch.Tensor]) -> torch.Tensor:
            values = []
            for view in range(len(clips[0])):
                inputs = [clip[view : view + 1].contiguous().numpy() for clip in clips]
                result = request.infer(inputs, share_inputs=True)[output]
                values.append(torch.from_numpy(result.copy()))
            return torch.cat(values)

        return run


class OpenVINOBf16(OpenVINO):
    """OpenVINO in bfloat16, on CPUs that compute with it, with logits in float32.

    With logits in bfloat16 some clips have two best classes, and the label is luck: for nine trained sub-networks and
    240 clips (docs/RESULTS_INFERENCE.md) the class differed from float32's in 16 cases, and does in 5 with these.
    """

    name, _precision, exact = "openvino-bf16", "bf16", False

    def _model(self, config: SubnetConfig, features: bool) -> Any:
        model = super()._model(config, features)
        _sum_up_logits(model)
        return model

    @classmethod
    def _unsupported(cls, device: torch.device) -> str | None:
        supported = "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return None if supported else "this cpu does not compute with bfloat16"


class OpenVINOInt8(OpenVINO):
    """OpenVINO with the quantised networks of a bundle; layers that are not quantised are in float32."""

    name, format, _int8, exact, own_accuracy = "openvino-int8", "openvino-int8", True, False, True


class OnnxRuntime(Backend):
    """ONNX Runtime on the CPU, in float32."""

    name, module, format = "onnxruntime", "onnxruntime", "onnx"

    def _make(self, config: SubnetConfig, features: bool = False) -> Forward:
        runtime = require("onnxruntime")
        options = runtime.SessionOptions()
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        session = runtime.InferenceSession(
            self.networks.onnx(config, features), sess_options=options, providers=["CPUExecutionProvider"]
        )
        names = [port.name for port in session.get_inputs()]
        output = session.get_outputs()[_FEATURES if features else _LOGITS].name

        def run(clips: Sequence[torch.Tensor]) -> torch.Tensor:
            inputs = {name: clip.contiguous().numpy() for name, clip in zip(names, clips, strict=True)}
            return torch.from_numpy(session.run([output], inputs)[0])

        return run


_ALL: tuple[type[Backend], ...] = (
    OpenVINO,
    OpenVINOBf16,
    OpenVINOInt8,
    OnnxRuntime,
    PyTorch,
    PyTorchBf16,
    ExportedProgram,
)
BACKENDS: dict[str, type[Backend]] = {kind.name: kind for kind in _ALL}

# Candidates where no back end is named. "auto" computes in float32, as the query table was measured; "fast" may take
# another precision, where it is faster and agrees.
CHOICES: dict[str, tuple[str, ...]] = {
    "auto": tuple(name for name, kind in BACKENDS.items() if kind.exact),
    "fast": tuple(BACKENDS),
}


def _logits(model: SlimmableNet, inputs: list[torch.Tensor]) -> torch.Tensor:
    return model(inputs)


def _sum_up_logits(model: Any) -> None:
    """Replace an OpenVINO model's classifier by a product and a sum.

    In bfloat16 OpenVINO leaves the layers after the last convolution or matrix product in float32; no setting for a
    single layer was found.
    """
    ops = require("openvino.opset13")
    last = [node for node in model.get_ordered_ops() if node.get_type_name() == "MatMul"][-1]
    features, weight = last.input_value(0), last.input_value(1)  # (..., C); (C, K), or (K, C) if transposed
    if not last.get_attributes()["transpose_b"]:
        weight = ops.transpose(weight, [1, 0])
    logits = ops.reduce_sum(ops.multiply(ops.unsqueeze(features, [-2]), weight), [-1])
    for target in last.output(0).get_target_inputs():
        target.replace_source_output(logits.output(0))


def _cpu_has_bf16() -> bool:
    is_supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(is_supported and is_supported())


@contextmanager
def torch_threads(number: int | None) -> Iterator[None]:
    """Give PyTorch `number` threads inside the block; do nothing for None, or in a forked process."""
    before = torch.get_num_threads()
    if number is None or number == before or is_forked():
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)

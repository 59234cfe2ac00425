"""Back ends, which run sub-networks: PyTorch, OpenVINO or ONNX Runtime, behind one call.

PyTorch has one set of weights and switches between sub-networks. The others compile each sub-network by itself, with
weights of its own, when it is first needed; after that, a change to another one is a look into a dictionary.

Legend: V views, T frames, S side of the square, K classes.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from mutualnet3d.deploy.clip_network import normalize_of
from mutualnet3d.deploy.forked import is_forked
from mutualnet3d.deploy.networks import NetworkStore, openvino_core
from mutualnet3d.extras import hint, installed, require
from mutualnet3d.shapes import SubnetConfig

# Forward pass of a sub-network: uint8 clips (V, T, S, S, 3), one for each pathway -> float32 logits (V, K) on the CPU.
Forward = Callable[[Sequence[torch.Tensor]], torch.Tensor]


class Backend(ABC):
    """Sub-networks on one library and precision; itself a call (sub-network, clips) -> logits.

    Args:
        networks: store of the sub-networks.
        device: device to run on; None: `default_device`.
        threads: threads of the CPU; None: as many as the library takes by itself.

    Attributes:
        name: name of library and precision, as users and query tables have it.
        module: library that has to be installed; "" where it always is.
        extra: extra that the library is of.
        format: form of network that it takes (`NetworkStore.formats`).
        devices: types of devices that it runs on.
        exact: True if logits are those of PyTorch in float32 but for rounding.
        own_accuracy: True if its accuracy has to be tested, as its logits differ too much from those of float32.
        runs_files: True if a file of its format is code, which runs when it is loaded. Such a back end is taken only
            where a user names it.
    """

    name: str
    module, extra = "", "deploy"
    format: str
    devices: tuple[str, ...] = ("cpu",)
    exact = True
    own_accuracy = False
    runs_files = False

    def __init__(self, networks: NetworkStore, device: torch.device | None, threads: int | None):
        self.networks, self.device, self.threads = networks, device or self.default_device(), threads
        self._forwards: dict[SubnetConfig, Forward] = {}

    def forward(self, config: SubnetConfig) -> Forward:
        """Return the forward pass of a sub-network, which is made ready when it is first asked for."""
        if config not in self._forwards:
            file = self.networks.file_of(config, self.format)
            self._forwards[config] = self._make(config) if file is None else self._of_file(config, file)
        return self._forwards[config]

    def __call__(self, config: SubnetConfig, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the logits (V, K) of a sub-network for uint8 clips (V, T, S, S, 3), one for each pathway."""
        return self.forward(config)(clips)

    def _of_file(self, config: SubnetConfig, file: str) -> Forward:
        """Return the forward pass of a network in a file, which may be damaged, or made to do harm.

        Raises:
            ValueError: the library cannot read or compile it; the forward pass raises it where the network cannot run,
                or gives no logits of the classes.
        """
        num_classes = len(self.networks.class_names)
        with _errors_of(file, self.name):
            forward = self._make(config)

        def run(clips: Sequence[torch.Tensor]) -> torch.Tensor:
            with _errors_of(file, self.name):
                logits = forward(clips)
            if logits.shape != (len(clips[0]), num_classes):
                raise ValueError(
                    f"{file}: the network gives {tuple(logits.shape)} for {len(clips[0])} views; expected logits of "
                    f"{num_classes} classes of each"
                )
            return logits

        return run

    @abstractmethod
    def _make(self, config: SubnetConfig) -> Forward: ...

    @classmethod
    def default_device(cls) -> torch.device:
        """Return a GPU, where there is one and the library can use it; else the CPU."""
        return torch.device("cuda" if "cuda" in cls.devices and torch.cuda.is_available() else "cpu")

    @classmethod
    def why_not(cls, networks: NetworkStore, config: SubnetConfig, device: torch.device | None) -> str | None:
        """Return the reason why it cannot run `config` in this process, in a line; None: it can."""
        device = device or cls.default_device()
        if device.type not in cls.devices:
            return f"{cls.name} does not run on {device.type}, but on {' and '.join(cls.devices)}"
        if cls.format not in networks.formats(config):
            return f"{networks.path} has no {cls.format} network of {config}"
        for module in (cls.module, *networks.modules(cls.format)):
            if module and not installed(module):
                return hint(module, cls.extra)
        return cls._unsupported(device)

    @classmethod
    def _unsupported(cls, device: torch.device) -> str | None:
        return None


class PyTorch(Backend):
    """Slimmable network, switched: one set of weights for all sub-networks."""

    name, format, devices = "pytorch", "pytorch", ("cpu", "cuda")
    _precision: torch.dtype | None = None

    def _make(self, config: SubnetConfig) -> Forward:
        model = self.networks.network()
        # The faster format for single clips: benchmarks/switched_inference.py.
        model.to(self.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        normalize = normalize_of(self.networks.preprocessing, torch.channels_last_3d).to(self.device)

        def run(clips: Sequence[torch.Tensor]) -> torch.Tensor:
            inputs = [normalize(clip.permute(0, 1, 4, 2, 3).to(self.device)) for clip in clips]
            with torch.no_grad(), torch_threads(self.threads), model.active(config), self._autocast():
                return model(inputs).float().cpu()

        return run

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self._precision, enabled=self._precision is not None)


class PyTorchBf16(PyTorch):
    """PyTorch in bfloat16, where the device computes with it."""

    name, exact = "pytorch-bf16", False
    _precision = torch.bfloat16

    @classmethod
    def _unsupported(cls, device: torch.device) -> str | None:
        supported = torch.cuda.is_bf16_supported(False) if device.type == "cuda" else _cpu_has_bf16()
        return None if supported else f"this {device.type} does not compute with bfloat16"


class ExportedProgram(Backend):
    """PyTorch running what `torch.export` wrote, for bundles without a checkpoint.

    A .pt2 file is code: torch unpickles its constants and evaluates its expressions. Load only those of people that you
    trust.
    """

    name, format, runs_files = "pt2", "pt2", True

    def _make(self, config: SubnetConfig) -> Forward:
        module = self.networks.program(config).module()

        def run(clips: Sequence[torch.Tensor]) -> torch.Tensor:
            with torch.no_grad(), torch_threads(self.threads):
                return module(*clips).float()

        return run


class OpenVINO(Backend):
    """OpenVINO on the CPU, in float32."""

    name, module, format = "openvino", "openvino", "openvino"
    _precision, _int8 = "f32", False

    def _model(self, config: SubnetConfig) -> Any:
        return self.networks.openvino(config, self._int8)

    def _make(self, config: SubnetConfig) -> Forward:
        model = self._model(config)
        # One view after the other: on a CPU a batch is no faster, and with its size known the kernels are the best.
        model.reshape(
            {port: [1, *port.get_partial_shape().get_min_shape()[1:]] for port in model.inputs}  # the rest is known
        )
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": self._precision, "PERFORMANCE_HINT": "LATENCY"}
        if self.threads is not None:
            settings["INFERENCE_NUM_THREADS"] = self.threads
        request = openvino_core().compile_model(model, "CPU", settings).create_infer_request()

        def run(clips: Sequence[torch.Tensor]) -> torch.Tensor:
            logits = []
            for view in range(len(clips[0])):
                inputs = [clip[view : view + 1].contiguous().numpy() for clip in clips]
                (result,) = request.infer(inputs, share_inputs=True).values()
                logits.append(torch.from_numpy(result.copy()))
            return torch.cat(logits)

        return run


class OpenVINOBf16(OpenVINO):
    """OpenVINO in bfloat16, where the CPU computes with it; logits are float32.

    Logits in bfloat16 have two best classes at times, and the label is then luck: of nine trained sub-networks and 240
    clips (docs/RESULTS.md) float32's class is another one for 5 now, and was for 16.
    """

    name, _precision, exact = "openvino-bf16", "bf16", False

    def _model(self, config: SubnetConfig) -> Any:
        model = super()._model(config)
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

    def _make(self, config: SubnetConfig) -> Forward:
        runtime = require("onnxruntime")
        options = runtime.SessionOptions()
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        session = runtime.InferenceSession(
            self.networks.onnx(config), sess_options=options, providers=["CPUExecutionProvider"]
        )
        names = [port.name for port in session.get_inputs()]

        def run(clips: Sequence[torch.Tensor]) -> torch.Tensor:
            inputs = {name: clip.contiguous().numpy() for name, clip in zip(names, clips, strict=True)}
            return torch.from_numpy(session.run(None, inputs)[0])

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


def _sum_up_logits(model: Any) -> None:
    """Put a product and a sum in the place of an OpenVINO model's classifier.

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


@contextmanager
def _errors_of(file: str, name: str) -> Iterator[None]:
    """Turn the errors of a library about `file` into a ValueError of one line that names it.

    Args:
        file: path of the network's file.
        name: name of the back end.
    """
    try:
        yield
    except ModuleNotFoundError:  # says what to install
        raise
    except Exception as error:  # the libraries know no common type
        if isinstance(error, ValueError) and os.path.dirname(file) in str(error):
            raise
        cause = " ".join(str(error).split())
        text = f"{file}: {name} cannot run it, it may be damaged: {type(error).__name__}: {cause:.300}"
        raise ValueError(text) from error


def _cpu_has_bf16() -> bool:
    is_supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(is_supported and is_supported())


@contextmanager
def torch_threads(number: int | None) -> Iterator[None]:
    """Give PyTorch `number` threads inside the block; None, or in a forked process: leave it as it is."""
    before = torch.get_num_threads()
    if number is None or number == before or is_forked():
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)

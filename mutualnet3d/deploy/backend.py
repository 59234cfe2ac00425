"""Base of the back ends, which run sub-networks on one library and precision, compiled when first needed.

Legend: V views, T frames, S side of the square, K classes, C channels.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from mutualnet3d.deploy.networks import NetworkStore
from mutualnet3d.extras import hint, installed
from mutualnet3d.shapes import SubnetConfig

# Forward pass of a sub-network: uint8 clips (V, T, S, S, 3), one for each pathway -> float32 on the CPU: logits (V, K),
# pooled vectors (V, C) or the maps of a layer (V, ...).
Forward = Callable[[Sequence[torch.Tensor]], torch.Tensor]


class Backend(ABC):
    """Sub-networks on one library and precision; a function from a sub-network and clips to logits.

    Args:
        networks: store of the sub-networks.
        device: device that the networks run on; None: `default_device`.
        threads: number of threads of the CPU; None: the library's own number.

    Attributes:
        name: name of library and precision, for users and query tables.
        module: library that has to be installed; "" for PyTorch, which always is.
        extra: extra of the package with the library.
        format: format of the networks that it takes (`NetworkStore.formats`).
        devices: types of devices, "cpu" and "cuda".
        exact: True for logits that equal those of PyTorch in float32 but for rounding.
        own_accuracy: True for a back end whose accuracy has to be tested, since its logits differ too much from
            float32's.
        runs_files: True for a format whose files are code, which runs when it is loaded. Such a back end is used only
            if a user names it.
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
        self._forwards: dict[tuple[SubnetConfig, bool], Forward] = {}

    def forward(self, config: SubnetConfig, features: bool = False) -> Forward:
        """Return the forward pass of a sub-network, compiled at the first call.

        Args:
            config: sub-network.
            features: True for a pass that gives the pooled vectors (V, C) instead of the logits.

        Raises:
            ValueError: the network gives no pooled vectors; the message names the networks that do.
        """
        key = config, features
        if key not in self._forwards:
            length = self.vector_length(config) if features else len(self.networks.class_names)
            file = self.networks.file_of(config, self.format)
            if file is None:
                self._forwards[key] = self._make(config, features)
            else:
                self._forwards[key] = self._of_file(config, file, features, length)
        return self._forwards[key]

    def map_forward(self, config: SubnetConfig, layer: str) -> Forward:
        """Return the forward pass that gives the maps of a layer.

        Args:
            config: sub-network.
            layer: name of the layer in the network.

        Raises:
            ValueError: there is no such layer, or this library's networks have only the exported outputs.
        """
        raise ValueError(f"back end {self.name} gives no maps of layers; PyTorch does: back end pytorch")

    def vector_length(self, config: SubnetConfig) -> int:
        """Return the length of the pooled vectors of a sub-network.

        Args:
            config: sub-network.

        Raises:
            ValueError: the network gives none; the message names the networks that do.
        """
        length = self.networks.vector_length(config, self.format)
        if length is None:
            others = ", or take back end pytorch" if "pytorch" in self.networks.formats(config) else ""
            raise ValueError(
                f"{self.networks.path}: its {self.format} network of {config} gives logits alone, no features; export "
                f"with --features (`mutualnet3d export --features`; int8 networks never give any){others}"
            )
        return length

    def __call__(self, config: SubnetConfig, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the logits (V, K) of a sub-network for uint8 clips (V, T, S, S, 3), one for each pathway."""
        return self.forward(config)(clips)

    def _of_file(self, config: SubnetConfig, file: str, features: bool, length: int) -> Forward:
        """Return the forward pass of a network in a file, which may be damaged or malicious.

        Args:
            config: sub-network.
            file: path of the file.
            features: True for pooled vectors.
            length: number of values that the network must give for each view.

        Raises:
            ValueError: the library cannot read or compile the file. The forward pass raises it if the network cannot
                run, or gives another number of values.
        """
        with _errors_of(file, self.name):
            forward = self._make(config, features)
        expected = f"features of length {length}" if features else f"logits of {length} classes"

        def run(clips: Sequence[torch.Tensor]) -> torch.Tensor:
            with _errors_of(file, self.name):
                values = forward(clips)
            if values.shape != (len(clips[0]), length):
                raise ValueError(
                    f"{file}: the network gives {tuple(values.shape)} for {len(clips[0])} views; expected {expected} "
                    "of each"
                )
            return values

        return run

    @abstractmethod
    def _make(self, config: SubnetConfig, features: bool = False) -> Forward: ...

    @classmethod
    def default_device(cls) -> torch.device:
        """Return a GPU if there is one and the library can use it; else the CPU."""
        return torch.device("cuda" if "cuda" in cls.devices and torch.cuda.is_available() else "cpu")

    @classmethod
    def why_not(cls, networks: NetworkStore, config: SubnetConfig, device: torch.device | None) -> str | None:
        """Return the reason, in a line, against a run of `config` in this process; None without any."""
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

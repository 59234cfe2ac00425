"""The network that runs at many costs: pytorchvideo's blocks with slimmable layers, and the switch between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from mutualnet3d.ops import Moments, SlimBatchNorm3d, SlimConv3d, SlimLinear, round_channels
from mutualnet3d.shapes import ClipShape, SubnetConfig

Statistics = dict[str, tuple[torch.Tensor, torch.Tensor]]  # batch norm's name -> its mean and variance, each (C,)


class SlimmableNet(nn.Module):
    """A single-pathway network whose leading channels make smaller networks.

    Its state dict has pytorchvideo's names. Called on its own it is the full network with its tracked statistics, like
    any network; inside `active` it is a sub-network. It returns logits in training and in evaluation alike.

    Args:
        blocks: the converted blocks, applied one after the other.
        native: the clip shape that the full network is built for.

    Shape: a list of one float tensor (B, C, T, H, W) per pathway -> logits (B, K).
    """

    def __init__(self, blocks: nn.ModuleList, native: ClipShape):
        super().__init__()
        self.blocks = blocks
        self.native = native
        self.statistics: dict[SubnetConfig, Statistics] = {}
        self._active: SubnetConfig | None = None
        self._collecting = False
        # Found once: a switch is a few hundred assignments, far under a millisecond.
        self._norms = list(self.norms())
        self._slimming: list[tuple[SlimConv3d | SlimLinear, int]] = []
        for module in self.modules():
            if isinstance(module, SlimConv3d) and module.slim_output:
                self._slimming.append((module, module.out_channels))
            elif isinstance(module, SlimLinear) and module.slim_output:
                self._slimming.append((module, module.out_features))

    @property
    def full(self) -> SubnetConfig:
        """The full network as a config: width 1 at the native clip shape."""
        return SubnetConfig(width=1.0, size=self.native.size, frames=self.native.frames)

    def input_shapes(self, config: SubnetConfig) -> tuple[ClipShape, ...]:
        """The clip shape that each pathway needs under `config`."""
        return (config.clip_shape,)

    def forward(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        self._check(clips)
        x = clips[0]
        for block in self.blocks:
            x = block(x)
        return x

    def _check(self, clips: Sequence[torch.Tensor]) -> None:
        if not isinstance(clips, list | tuple) or len(clips) != 1:
            came = f"{len(clips)} of them" if isinstance(clips, list | tuple) else type(clips).__name__
            raise ValueError(f"the network takes a list of 1 clip tensor (B, C, T, H, W), got {came}")
        if clips[0].ndim != 5:
            raise ValueError(f"a clip tensor is (B, C, T, H, W), got shape {tuple(clips[0].shape)}")
        config = self._active
        if config is None:
            return
        wanted = (config.frames, config.size, config.size)
        if tuple(clips[0].shape[2:]) != wanted:
            raise ValueError(f"sub-network {config} takes clips of (T, H, W) {wanted}, got {tuple(clips[0].shape[2:])}")
        if not self.training and not self._collecting and not self.can_evaluate(config):
            raise ValueError(
                f"sub-network {config} has no batch-norm statistics. Calibrate it first: mutualnet3d.mutual.calibrate("
                "model, [config], batches, prepare), or name it in TEST.SUBNETS of a test run"
            )

    def can_evaluate(self, config: SubnetConfig) -> bool:
        """Whether `config` has statistics: calibrated ones, or, being the full network, the tracked ones."""
        return config in self.statistics or config == self.full

    @contextmanager
    def active(self, config: SubnetConfig) -> Iterator[SlimmableNet]:
        """Be the sub-network `config` inside the block; the previous state comes back at its end, whatever happens.

        Nothing is tracked inside: a sub-network trains with batch statistics and evaluates with its calibrated ones.
        """
        previous = self._active
        self._switch(config)
        try:
            yield self
        finally:
            self._switch(previous)

    @contextmanager
    def collecting(self, moments: dict[str, Moments]) -> Iterator[None]:
        """Add the batch statistics of every batch norm to `moments`, by its name, and normalise with them."""
        for name, norm in self._norms:
            norm.moments = moments.setdefault(name, Moments())
        self._collecting = True
        try:
            yield
        finally:
            self._collecting = False
            for _, norm in self._norms:
                norm.moments = None

    def norms(self) -> Iterator[tuple[str, SlimBatchNorm3d]]:
        """All batch norms with their names."""
        for name, module in self.named_modules():
            if isinstance(module, SlimBatchNorm3d):
                yield name, module

    def set_statistics(self, config: SubnetConfig, statistics: Statistics) -> None:
        """Store the statistics that `config` evaluates with.

        Raises:
            ValueError: they are not of this network's batch norms.
        """
        norms = dict(self.norms())
        if set(statistics) != set(norms):
            odd = sorted(set(statistics) ^ set(norms))
            raise ValueError(f"statistics of {config} are not of this network's batch norms: {', '.join(odd[:5])}")
        for name, (mean, variance) in statistics.items():
            if not len(mean) == len(variance) <= norms[name].num_features:
                raise ValueError(
                    f"statistics of {config} at {name} have {len(mean)} and {len(variance)} channels; "
                    f"the layer has {norms[name].num_features}"
                )
        device = next(self.parameters()).device
        self.statistics[config] = {
            name: (mean.to(device), variance.to(device)) for name, (mean, variance) in statistics.items()
        }
        self._switch(self._active)

    def _switch(self, config: SubnetConfig | None) -> None:
        """Every layer's state follows from `config` alone, so switching back is switching."""
        width = 1.0 if config is None else config.width
        for layer, full_width in self._slimming:
            layer.out_width = round_channels(width, full_width)
        own = self.statistics.get(config) if config is not None else None
        is_full = config == self.full
        for name, norm in self._norms:
            norm.in_subnet = config is not None
            if own is not None:
                norm.statistics = own[name]
            elif is_full and norm.running_mean is not None and norm.running_var is not None:
                norm.statistics = (norm.running_mean, norm.running_var)
            else:
                norm.statistics = None
        self._active = config

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> SlimmableNet:
        """Statistics move with the parameters (`.to`, `.cuda`, `.half`)."""
        super()._apply(fn, recurse)
        self.statistics = {
            config: {name: (fn(mean), fn(variance)) for name, (mean, variance) in of_norm.items()}
            for config, of_norm in self.statistics.items()
        }
        self._switch(self._active)
        return self

"""The network that runs at many costs: pytorchvideo's blocks with slimmable layers, and the switch between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from mutualnet3d.models.extract import extract
from mutualnet3d.models.interpolate import interpolated
from mutualnet3d.models.network import VideoNet
from mutualnet3d.ops import BatchStatistics, SlimBatchNorm3d, SlimConv3d, SlimLinear, round_channels
from mutualnet3d.shapes import ClipShape, SubnetConfig

Statistics = dict[str, tuple[torch.Tensor, torch.Tensor]]  # batch norm's name -> its mean and variance, each (C,)


class SlimmableNet(VideoNet):
    """A network whose leading channels make smaller networks; this one of a single pathway.

    Its state dict has pytorchvideo's names. Called on its own it is the full network with its tracked statistics, like
    any network; inside `active` it is a sub-network. It returns logits in training and in evaluation alike.

    Args:
        blocks: the converted blocks, applied one after the other.
        full_clip: the clip shape that the full network is built for.
        min_frames: the shortest clip that the network's strides leave something of.

    Shape: a list of one float tensor (B, C, T, H, W) per pathway -> logits (B, K).
    """

    # What `extract` builds.
    extracted_class: type[VideoNet] = VideoNet

    def __init__(self, blocks: nn.ModuleList, full_clip: ClipShape, min_frames: int = 1):
        super().__init__(blocks)
        self.full_clip, self.min_frames = full_clip, min_frames
        self.statistics: dict[SubnetConfig, Statistics] = {}
        self.interpolated: set[SubnetConfig] = set()  # those whose statistics are not from data
        # Points of top-1 that interpolated statistics were measured to cost, at most, by size and frames.
        self.interpolation_losses: dict[ClipShape, float] = {}
        # Whether the full network inside `active` has pytorchvideo's bits, by slower kernels than other sub-networks'.
        self.exact_full = True
        self._active: SubnetConfig | None = None
        self._collecting = False
        # Found once: a switch is a few hundred assignments, far under a millisecond.
        self._norms = list(self.norms())
        self._convs = [module for module in self.modules() if isinstance(module, SlimConv3d)]
        self._slimming: list[tuple[SlimConv3d | SlimLinear, int]] = []
        for module in self.modules():
            if isinstance(module, SlimConv3d) and module.slim_output:
                self._slimming.append((module, module.out_channels))
            elif isinstance(module, SlimLinear) and module.slim_output:
                self._slimming.append((module, module.out_features))

    @property
    def full(self) -> SubnetConfig:
        """The full network as a config: width 1 at the full network's clip shape."""
        return SubnetConfig(width=1.0, size=self.full_clip.size, frames=self.full_clip.frames)

    def input_shapes(self, config: SubnetConfig) -> tuple[ClipShape, ...]:
        """The clip shape that each pathway needs under `config`.

        Raises:
            ValueError: the network cannot run on so few frames.
        """
        if config.frames < self.min_frames:
            raise ValueError(f"sub-network {config}: this network needs clips of at least {self.min_frames} frames")
        return (config.clip_shape,)

    def forward(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        self._check(clips)
        return super().forward(clips)

    def _check(self, clips: Sequence[torch.Tensor]) -> None:
        if not isinstance(clips, list | tuple) or len(clips) != self.num_pathways:
            came = f"{len(clips)} of them" if isinstance(clips, list | tuple) else type(clips).__name__
            tensors = "1 clip tensor" if self.num_pathways == 1 else f"{self.num_pathways} clip tensors"
            raise ValueError(f"the network takes a list of {tensors} (B, C, T, H, W), got {came}")
        for clip in clips:
            if clip.ndim != 5:
                raise ValueError(f"a clip tensor is (B, C, T, H, W), got shape {tuple(clip.shape)}")
            if len(clip) != len(clips[0]):
                raise ValueError(f"the pathways' clips are of {len(clips[0])} and {len(clip)} videos")
        config = self._active
        if config is None:
            return
        for index, (clip, shape) in enumerate(zip(clips, self.input_shapes(config), strict=True)):
            wanted = (shape.frames, shape.size, shape.size)
            if tuple(clip.shape[2:]) != wanted:
                pathway = "" if self.num_pathways == 1 else f" on pathway {index}"
                raise ValueError(
                    f"sub-network {config} takes clips of (T, H, W) {wanted}{pathway}, got {tuple(clip.shape[2:])}"
                )
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
    def shared_fast_features(self) -> Iterator[None]:
        """All forwards inside the block are of one batch; a network that has something in common to all its
        sub-networks computes that once (SlowFast's Fast pathway). Backward passes are complete at the block's end."""
        yield

    @contextmanager
    def collecting(self, moments: dict[str, BatchStatistics]) -> Iterator[None]:
        """Add the batch statistics of every batch norm to `moments`, by its name, and normalise with them."""
        for name, norm in self._norms:
            norm.moments = moments.setdefault(name, BatchStatistics())
        self._collecting = True
        try:
            yield
        finally:
            self._collecting = False
            for _, norm in self._norms:
                norm.moments = None

    def extract(self, config: SubnetConfig, fold_norms: bool = False) -> VideoNet:
        """The sub-network `config` as an ordinary network of its own weights: `mutualnet3d.models.extract.extract`."""
        return extract(self, config, fold_norms)

    def tracked_statistics(self) -> Statistics:
        """The full network's own, tracked in training.

        Raises:
            ValueError: a batch norm tracks none.
        """
        statistics = {}
        for name, norm in self._norms:
            if norm.running_mean is None or norm.running_var is None:
                raise ValueError(f"batch norm {name} tracks no statistics")
            statistics[name] = (norm.running_mean.clone(), norm.running_var.clone())
        return statistics

    def interpolate_statistics(self, *configs: SubnetConfig, max_loss: float = 0.5) -> None:
        """Give `configs` statistics without data, between those of the calibrated widths on the two sides of each, of
        the same size and frames.

        Args:
            configs: sub-networks without statistics.
            max_loss: most points of top-1 that this may have cost where it was measured: at the calibrated widths
                between others of that size and frames, in a test run with TEST.MEASURE_INTERPOLATION.

        Raises:
            ValueError: it has cost more, was not measured, or there are no such widths.
        """
        statistics = {config: interpolated(self, config) for config in configs}
        for config in configs:
            loss = self.interpolation_losses.get(config.clip_shape)
            if loss is None:
                raise ValueError(
                    f"what interpolated statistics of {config} cost has not been measured at size {config.size} with "
                    f"{config.frames} frames: test with TEST.MEASURE_INTERPOLATION True and three widths or more, or "
                    "calibrate"
                )
            if loss > max_loss:
                raise ValueError(
                    f"interpolated statistics cost {loss:.2f} points of top-1 at size {config.size} with "
                    f"{config.frames} frames, more than the {max_loss:g} that are allowed: calibrate {config} instead"
                )
        for config, each in statistics.items():
            self.set_statistics(config, each)
            self.interpolated.add(config)

    @property
    def calibrated(self) -> list[SubnetConfig]:
        """The sub-networks whose statistics are from data."""
        return [config for config in self.statistics if config not in self.interpolated]

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
        self.interpolated.discard(config)
        self.statistics[config] = {
            name: (mean.to(device), variance.to(device)) for name, (mean, variance) in statistics.items()
        }
        self._switch(self._active)

    def _switch(self, config: SubnetConfig | None) -> None:
        """Every layer's state follows from `config` alone, so switching back is switching.

        Written straight into the layers' dictionaries: `nn.Module`'s own assignment looks for parameters and modules
        first, and took 1.8 ms for X3D-M's layers where this takes a twentieth.
        """
        width = 1.0 if config is None else config.width
        for layer, full_width in self._slimming:
            layer.__dict__["out_width"] = round_channels(width, full_width)
        own = self.statistics.get(config) if config is not None else None
        is_full = config == self.full
        exact_bits = config is None or (is_full and self.exact_full)
        for conv in self._convs:
            conv.__dict__["exact_bits"] = exact_bits
        for name, norm in self._norms:
            state = norm.__dict__
            state["in_subnet"] = config is not None
            if own is not None:
                state["statistics"] = own[name]
            elif is_full and norm.running_mean is not None and norm.running_var is not None:
                state["statistics"] = (norm.running_mean, norm.running_var)
            else:
                state["statistics"] = None
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

"""Base of slimmable networks: the switch between sub-networks, and the checks of a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from mutualnet3d.models.channel_flow import ChannelFlow
from mutualnet3d.models.dropout import DropoutSwitch
from mutualnet3d.models.fork_safe_lock import ForkSafeLock
from mutualnet3d.models.network import VideoNet
from mutualnet3d.models.statistics import NormStatistics, SubnetStatistics
from mutualnet3d.ops import (
    BatchStatistics,
    SlimBatchNorm3d,
    SlimConv3d,
    SlimLinear,
    WidthRule,
    split_is_in_the_tensor,
)
from mutualnet3d.shapes import ClipShape, SubnetConfig


class SlimmableBase(VideoNet):
    """Network whose leading channels make smaller networks, of one pathway; base of `SlimmableNet`.

    Args:
        content: converted blocks, applied one after the other, or a converted network of another structure.
        full_clip: clip shape that the full network is built for.
        min_frames: frames of the shortest clip that the network can run on.
        flow: flow of channels through it; None for a network without layers.

    Attributes:
        statistics: batch-norm statistics of its sub-networks. Loading other weights clears them; code that changes
            weights in another way must clear them itself.
        channel_flow: flow of channels through it.
        lock: lock of its switch. A forward pass holds it, and so does a block of `active`: blocks of several threads
            wait for each other.

    Shape: a list of one float tensor (B, C, T, H, W) per pathway -> logits (B, K).
    """

    # Class of an extracted sub-network.
    extracted_class: type[VideoNet] = VideoNet

    def __init__(self, content: nn.Module, full_clip: ClipShape, min_frames: int = 1, flow: ChannelFlow | None = None):
        super().__init__(content)  # type: ignore[arg-type]
        self.full_clip, self.min_frames = full_clip, min_frames
        self.channel_flow = flow or ChannelFlow()
        # Found once: a switch is a few hundred assignments, far under a millisecond.
        self._norms = list(self.norms())
        slim = [module for module in self.modules() if isinstance(module, SlimConv3d | SlimLinear)]
        self._slimming = [(layer, layer.out_rule) for layer in slim if layer.slim_output]
        # Layers that read a concatenation whose parts cannot be told by their input's number of channels.
        self._joining: list[tuple[nn.Module, tuple[WidthRule, ...]]] = [
            (layer, layer.in_rules) for layer in slim if not split_is_in_the_tensor(layer.in_rules)
        ]
        self._joining += [(norm, norm.rules) for _, norm in self._norms if len(norm.rules) > 1]
        self.statistics = SubnetStatistics(dict(self._norms))
        self._dropout = DropoutSwitch(self, self.last_block)
        self.lock = ForkSafeLock()
        self._read_version = 0
        self._active: SubnetConfig | None = None
        self._collecting = False
        self.register_load_state_dict_post_hook(_forget_statistics)

    @property
    def dropout(self) -> DropoutSwitch:
        """Switch of the network's dropout."""
        return self._dropout

    @property
    def full(self) -> SubnetConfig:
        """The full network as a config: width 1 at the full network's clip shape."""
        return SubnetConfig(width=1.0, size=self.full_clip.size, frames=self.full_clip.frames)

    def input_shapes(self, config: SubnetConfig) -> tuple[ClipShape, ...]:
        """Return the clip shape that each pathway needs under `config`.

        Args:
            config: sub-network.

        Raises:
            ValueError: the network cannot run on as few frames.
        """
        if config.frames < self.min_frames:
            raise ValueError(f"sub-network {config}: this network needs clips of at least {self.min_frames} frames")
        return (config.clip_shape,)

    def forward(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the logits (B, K) of one clip tensor per pathway, by the sub-network that is active."""
        with self._exclusive():
            self._check(clips)
            if self.statistics.version != self._read_version:
                self._switch(self._active)
            return self.dropout.logits(super().forward(clips), lambda: self._untracked_logits(clips))

    def _untracked_logits(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the logits of a pass that changes nothing: batch norms take the batch's statistics and track none."""
        states = [(norm.__dict__, norm.in_subnet) for _, norm in self._norms]
        for state, _ in states:
            state["in_subnet"] = True
        try:
            return super().forward(clips)
        finally:
            for state, in_subnet in states:
                state["in_subnet"] = in_subnet

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Keep other threads from switching or running the network in the context."""
        with self.lock:
            if self.lock.depth == 1 and self._active is not None:
                self._switch(None)  # this process was forked while another thread had switched it
            yield

    def _check(self, clips: Sequence[torch.Tensor]) -> None:
        _check_clips(self, clips)

    def can_evaluate(self, config: SubnetConfig) -> bool:
        """Return True if `config` has statistics: stored ones, or, for the full network, the tracked ones."""
        return config in self.statistics or config == self.full

    @contextmanager
    def active(self, config: SubnetConfig) -> Iterator[SlimmableBase]:
        """Switch to the sub-network `config` inside the block.

        The previous state comes back at its end, after an exception too.

        Nothing is tracked inside: a sub-network trains with batch statistics and evaluates with its calibrated ones.
        Other threads that switch the network or run it wait for the block's end.
        """
        with self._exclusive():
            previous = self._active
            self._switch(config)
            try:
                yield self
            finally:
                self._switch(previous)

    @contextmanager
    def shared_fast_features(self) -> Iterator[None]:
        """Compute parts that all sub-networks have in common once for the forward passes inside the block.

        All of them are on one batch, and backward passes are complete at the block's end. SlowFast shares its Fast
        pathway; other networks share nothing.
        """
        yield

    @contextmanager
    def collecting(self, batch_statistics: dict[str, BatchStatistics]) -> Iterator[None]:
        """Add the statistics that every batch norm takes of its batch to `batch_statistics`, by its name.

        The batch norms normalise with the batch's own statistics in the block.
        """
        with self._exclusive():
            for name, norm in self._norms:
                norm.batch_statistics = batch_statistics.setdefault(name, BatchStatistics())
            self._collecting = True
            try:
                yield
            finally:
                self._collecting = False
                for _, norm in self._norms:
                    norm.batch_statistics = None

    def tracked_statistics(self) -> NormStatistics:
        """Return the full network's own statistics, tracked in training.

        Raises:
            ValueError: a batch norm tracks no statistics.
        """
        statistics = {}
        for name, norm in self._norms:
            if norm.running_mean is None or norm.running_var is None:
                raise ValueError(f"batch norm {name} tracks no statistics")
            statistics[name] = (norm.running_mean.clone(), norm.running_var.clone())
        return statistics

    def norms(self) -> Iterator[tuple[str, SlimBatchNorm3d]]:
        """Yield all batch norms with their names."""
        for name, module in self.named_modules():
            if isinstance(module, SlimBatchNorm3d):
                yield name, module

    def _switch(self, config: SubnetConfig | None) -> None:
        """Set every layer's state, which depends on `config` alone.

        The state is written straight into the layers' dictionaries: `nn.Module`'s own assignment looks for parameters
        and modules first, and took 1.8 ms for X3D-M's layers, twenty times as long.
        """
        width = 1.0 if config is None else config.width
        for layer, rule in self._slimming:
            layer.__dict__["out_width"] = rule.at(width)
        for joining, rules in self._joining:
            joining.__dict__["in_widths"] = tuple(rule.at(width) for rule in rules)
        stored = self.statistics.get(config) if config is not None else None
        is_full = config == self.full
        for name, norm in self._norms:
            state = norm.__dict__
            state["in_subnet"], state["in_full"] = config is not None, config is None or is_full
            if stored is not None:
                state["statistics"] = stored[name]
            elif is_full and norm.running_mean is not None and norm.running_var is not None:
                state["statistics"] = (norm.running_mean, norm.running_var)
            else:
                state["statistics"] = None
        self._active, self._read_version = config, self.statistics.version

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> SlimmableBase:
        """Move statistics with the parameters (`.to`, `.cuda`, `.half`)."""
        with self._exclusive():
            super()._apply(fn, recurse)
            self.statistics.apply(fn)
            self._switch(self._active)
        return self


def _forget_statistics(network: nn.Module, _: Any) -> None:
    """Clear the statistics of a network that other weights were loaded into."""
    assert isinstance(network, SlimmableBase)
    network.statistics.clear()


def _check_clips(network: SlimmableBase, clips: Sequence[torch.Tensor]) -> None:
    """Refuse clips that the active sub-network does not take, or a sub-network without statistics."""
    _check_tensors(clips, network.num_pathways)
    config = network._active
    if config is None:
        return
    for index, (clip, shape) in enumerate(zip(clips, network.input_shapes(config), strict=True)):
        expected = (shape.frames, shape.size, shape.size)
        if tuple(clip.shape[2:]) != expected:
            pathway = "" if network.num_pathways == 1 else f" on pathway {index}"
            raise ValueError(
                f"sub-network {config} takes clips of (T, H, W) {expected}{pathway}, got {tuple(clip.shape[2:])}"
            )
    if not network.training and not network._collecting and not network.can_evaluate(config):
        raise ValueError(
            f"sub-network {config} has no batch-norm statistics. Calibrate it first: mutualnet3d.mutual.calibrate("
            "model, [config], batches, prepare), or name it in TEST.SUBNETS of a test run"
        )


def _check_tensors(clips: Sequence[torch.Tensor], num_pathways: int) -> None:
    """Refuse anything but a list of one clip tensor for each pathway, of as many videos.

    Args:
        clips: argument of a forward pass.
        num_pathways: number of tensors that the network takes.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(clips, list | tuple) or len(clips) != num_pathways:
        came = f"{len(clips)} of them" if isinstance(clips, list | tuple) else type(clips).__name__
        tensors = "1 clip tensor" if num_pathways == 1 else f"{num_pathways} clip tensors"
        raise ValueError(f"the network takes a list of {tensors} (B, C, T, H, W), got {came}")
    for clip in clips:
        if clip.ndim != 5:
            raise ValueError(f"a clip tensor is (B, C, T, H, W), got shape {tuple(clip.shape)}")
        if len(clip) != len(clips[0]):
            raise ValueError(f"the pathways' clips are of {len(clips[0])} and {len(clip)} videos")

"""The flow of channels through a network: layers that share channels, and layers that read a concatenation.

`channel_trace` finds it by a run of the network; names play no part.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import nn

from mutualnet3d.ops import WidthRule
from mutualnet3d.ops.width import DIVISOR


class ChannelConflict(ValueError):
    """Conflict of runs of channels that meet, and cannot have the same number at every width."""


class Channels:
    """Run of `size` channels: every tensor that holds it has them in the same order.

    Args:
        size: number of channels.
        is_fixed: True for a run that comes whole at every width.
        leader: run that this one follows, with `size / leader.size` channels for each channel of the leader.
    """

    def __init__(self, size: int, is_fixed: bool = False, leader: Channels | None = None):
        self.size = size
        self._leader = leader
        self._is_fixed = is_fixed
        self._divisor = DIVISOR
        self._same: Channels | None = None

    def root(self) -> Channels:
        """Return the run that stands for all runs that turned out to be the same."""
        return self if self._same is None else self._same.root()

    @property
    def leader(self) -> Channels | None:
        """Run that this one follows, and that follows no other; None for a run that follows none."""
        if self.root()._leader is None:
            return None
        leader = self.root()._leader.root()  # type: ignore[union-attr]
        return leader.leader or leader

    @property
    def is_fixed(self) -> bool:
        """True for a run that comes whole at every width."""
        root = self.root()
        return root._is_fixed or (root.leader is not None and root.leader.is_fixed)

    def fix(self) -> None:
        """Make the run come whole at every width."""
        root = self.root()
        root._is_fixed = True
        if root.leader is not None:
            root.leader.fix()

    def keep_multiple(self, divisor: int) -> None:
        """Keep a multiple of `divisor` channels at every width.

        Args:
            divisor: number whose multiples are allowed.

        Raises:
            ChannelConflict: the run follows another one that cannot.
        """
        root = self.root()
        if root.leader is None:
            root._divisor = math.lcm(root._divisor, divisor)
        elif divisor > 1:
            if root.size % root.leader.size:
                raise ChannelConflict(f"groups of {divisor} channels, of {root.size} that follow {root.leader.size}")
            root.leader.keep_multiple(divisor)

    def unite(self, other: Channels) -> None:
        """Make both runs the same run.

        Args:
            other: run that meets this one.

        Raises:
            ChannelConflict: the runs cannot have the same number of channels at every width.
        """
        first, second = self.root(), other.root()
        if first is second:
            return
        if first.size != second.size:
            raise ChannelConflict(f"{first.size} and {second.size} channels meet")
        if first.leader is second:
            first, second = second, first
        if second.leader not in (None, first):
            if first.leader is None:
                first, second = second, first
            else:
                first.leader.unite(second.leader)  # type: ignore[arg-type]
        second._same = first
        if second._is_fixed:
            first.fix()
        first.keep_multiple(second._divisor if second._divisor != DIVISOR else 1)

    def rule(self) -> WidthRule:
        """Return the rule for the number of channels at every width."""
        root = self.root()
        if root.is_fixed:
            return WidthRule(root.size, slims=False)
        if root.leader is None:
            return WidthRule(root.size, divisor=root._divisor)
        rule = root.leader.rule()
        return WidthRule(root.size, base=rule.base or rule.full, divisor=rule.divisor)


Runs = tuple[Channels, ...]


@dataclass
class ChannelFlow:
    """Inputs and outputs of each layer with channels, by its name.

    Attributes:
        reads: runs that make up the layer's input, in order.
        gives: runs of its output: a run of its own, or, for a batch norm and a depthwise convolution, the runs that
            they read.
        norm_of: name of the batch norm that alone reads a convolution's output, by the convolution's name.
        logits: runs that make up the network's output.
    """

    reads: dict[str, Runs] = field(default_factory=dict)
    gives: dict[str, Runs] = field(default_factory=dict)
    norm_of: dict[str, str] = field(default_factory=dict)
    logits: Runs = ()

    def in_parts(self, name: str) -> tuple[int, ...]:
        """Return the channels of each run that the layer reads."""
        return tuple(run.size for run in self.reads[name])

    def in_rules(self, name: str) -> tuple[WidthRule, ...]:
        """Return the rule for the channels of each run that the layer reads."""
        return tuple(run.rule() for run in self.reads[name])

    def makers(self, run: Channels) -> list[str]:
        """Return the names of the layers that make a run, in the order in which they ran."""
        return [
            name
            for name, runs in self.gives.items()
            if self.gives[name] is not self.reads[name] and any(made.root() is run.root() for made in runs)
        ]

    def classifiers(self) -> list[str]:
        """Return the names of the layers that give the logits: several where a network adds them up."""
        return list(dict.fromkeys(name for run in self.logits for name in self.makers(run)))


def is_depthwise(layer: nn.Module) -> bool:
    """Return True for a convolution with one group for each channel."""
    return isinstance(layer, nn.Conv3d) and 1 < layer.groups == layer.in_channels == layer.out_channels


def unite(parts: Iterable[Runs]) -> Runs:
    """Unite, run by run, the channels of tensors that are added or multiplied channel by channel.

    Args:
        parts: runs of each tensor.

    Returns:
        The united runs.

    Raises:
        ChannelConflict: the runs of the tensors have different numbers of channels.
    """
    first, *others = parts
    for runs in others:
        if [run.size for run in first] != [run.size for run in runs]:
            raise ChannelConflict(f"{_sizes(first)} and {_sizes(runs)} channels meet")
        for run, other in zip(first, runs, strict=True):
            run.unite(other)
    return first


def _sizes(runs: Runs) -> str:
    return "+".join(str(run.size) for run in runs)

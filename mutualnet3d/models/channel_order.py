"""Channels sorted by importance, so that a narrow slice of an ordinarily trained network holds the important ones.

A sub-network takes the leading channels of every layer. Mutual training makes the leading channels the important ones;
in a static checkpoint they are arbitrary. Reordering channels does not change the full network's function if all layers
that share them take the new order, as the two branches of a residual block do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from mutualnet3d.models.channel_flow import Channels, is_depthwise
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.ops import SlimBatchNorm3d, SlimConv3d, SlimLinear


@dataclass
class _ChannelGroup:
    """Layers that share a run of channels.

    Attributes:
        size: number of channels.
        rows: layers whose outputs are the run: convolutions and linear layers (their rows), batch norms (their values).
        columns: layers that read the run, each with the place of its first channel among the layer's inputs.
        fixed: True where the order must stay as it is.
    """

    size: int
    rows: list[nn.Module] = field(default_factory=list)
    columns: list[tuple[nn.Module, int]] = field(default_factory=list)
    fixed: bool = False


@dataclass(frozen=True)
class ChannelOrder:
    """New order of a run of channels, in every tensor that has them.

    Args:
        order: present number of the channel at each new place, int64.
        rows: names of the tensors that have a row for each channel.
        columns: names of the weights that have a column for each channel, with the first of these columns.
    """

    order: torch.Tensor
    rows: tuple[str, ...]
    columns: tuple[tuple[str, int], ...]

    @torch.no_grad()
    def apply(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Reorder tensors in place: those of a state dict, or others of the same names and shapes, such as momenta.

        Tensors that are missing are left out.
        """
        for name in self.rows:
            if name in tensors:
                tensors[name].copy_(tensors[name][self.order.to(tensors[name].device)])
        for name, start in self.columns:
            if name in tensors:
                columns = tensors[name][:, start : start + len(self.order)]
                columns.copy_(columns[:, self.order.to(columns.device)])


def sort_channels(model: SlimmableNet) -> int:
    """Put the important channels of every layer that slims first; return the number of sorted groups of layers.

    The full network's function stays the same, but for the order of additions. The sub-networks change: their
    statistics, and the measured costs of interpolation, are cleared.
    """
    orders = important_first(model)
    for order in orders:
        order.apply(model.state_dict())
    model.statistics.clear()
    return len(orders)


@torch.no_grad()
def important_first(model: SlimmableNet) -> list[ChannelOrder]:
    """Return the order of the channels of every group of layers that slim, the important ones first.

    A channel's importance is its part in the next features: the sum of the absolute weights that it meets in the layers
    that read it, times |scale| + |shift| of the batch norm before it. (Once-for-All, arXiv 1908.09791, section 3.3,
    sorts by the first factor.)
    """
    names = {layer: name for name, layer in model.named_modules()}
    return [
        ChannelOrder(
            order=torch.argsort(_importance(group), descending=True, stable=True).cpu(),
            rows=tuple(f"{names[layer]}.{tensor}" for layer in group.rows for tensor in _per_channel(layer)),
            columns=tuple((f"{names[layer]}.weight", start) for layer, start in group.columns),
        )
        for group in _groups(model)
    ]


def _groups(model: SlimmableNet) -> list[_ChannelGroup]:
    """Return the runs of channels that may be reordered, with the layers that share them."""
    flow = model.channel_flow
    group_of: dict[Channels, _ChannelGroup] = {}
    for name, runs in flow.reads.items():
        layer = model.get_submodule(name)
        if isinstance(layer, SlimBatchNorm3d) or is_depthwise(layer):
            if len(runs) > 1:
                for run in runs:
                    group_of.setdefault(run.root(), _ChannelGroup(run.size)).fixed = True
            else:
                group_of.setdefault(runs[0].root(), _ChannelGroup(runs[0].size)).rows.append(layer)
            continue
        start = 0
        for run in runs:
            group = group_of.setdefault(run.root(), _ChannelGroup(run.size))
            group.columns.append((layer, start))
            group.fixed |= _is_grouped(layer)
            start += run.size
        (output,) = flow.gives[name]
        made = group_of.setdefault(output.root(), _ChannelGroup(output.size))
        made.rows.append(layer)
        made.fixed |= _is_grouped(layer)
    for run, group in list(group_of.items()):
        if run.leader is not None:  # its channels follow those of the other run one by one
            group.fixed = True
            group_of.setdefault(run.leader, _ChannelGroup(run.leader.size)).fixed = True
        group.fixed |= run.is_fixed
    # A run that no layer makes is the clip's own colours.
    made_by_layers = {run.root() for name, runs in flow.gives.items() for run in runs if _makes(model, name)}
    return [group for run, group in group_of.items() if run in made_by_layers and not group.fixed]


def _makes(model: SlimmableNet, name: str) -> bool:
    layer = model.get_submodule(name)
    return isinstance(layer, SlimConv3d | SlimLinear) and not is_depthwise(layer)


def _is_grouped(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv3d) and layer.groups > 1


def _per_channel(layer: nn.Module) -> list[str]:
    """Return the names of the layer's tensors that have a row per output channel."""
    names = ("weight", "bias", "running_mean", "running_var")
    return [name for name in names if isinstance(getattr(layer, name, None), torch.Tensor)]


def _importance(group: _ChannelGroup) -> torch.Tensor:
    importance = torch.zeros(())
    for layer, start in group.columns:
        assert isinstance(layer, nn.Conv3d | nn.Linear)
        columns = layer.weight[:, start : start + group.size].double()  # sums must not depend on the order
        importance = importance + columns.abs().transpose(0, 1).flatten(1).sum(1)
    norms = [layer for layer in group.rows if isinstance(layer, SlimBatchNorm3d) and layer.affine]
    if norms:
        importance = importance * torch.stack([norm.weight.abs() + norm.bias.abs() for norm in norms]).sum(0)
    return importance

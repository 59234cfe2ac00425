"""Slimmable network with the calls that users need: switch to a sub-network, extract it, interpolate its statistics."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mutualnet3d.models.extract import extract
from mutualnet3d.models.interpolate import interpolate
from mutualnet3d.models.network import OwnNet, VideoNet
from mutualnet3d.models.slimmable_base import SlimmableBase
from mutualnet3d.shapes import SubnetConfig


class SlimmableNet(SlimmableBase):
    """Network with slimmable layers; outside of its subclasses, one of pytorchvideo's blocks.

    Its state dict has the names of the network that it was made of. Called outside `active` it is the full network with
    its tracked statistics, like any network; inside `active` it is a sub-network. It returns logits in training and in
    evaluation alike.

    Arguments, attributes and shape are those of `SlimmableBase`, with these in addition:

    Attributes:
        builder: name of the function that built it, in `models.build.BUILDERS`; "" for any other.
        arguments: values of the function's arguments, by name, for a file to build the network again.
        class_names: names of the classifier's outputs, from loaded weights; empty where they have none.
    """

    builder: str = ""
    arguments: Mapping[str, Any] = MappingProxyType({})
    class_names: tuple[str, ...] = ()

    def extract(self, config: SubnetConfig, fold_norms: bool = False) -> VideoNet:
        """Return the sub-network `config` as an ordinary network with weights of its own: see `models.extract`."""
        return extract(self, config, fold_norms)

    def interpolate_statistics(self, *configs: SubnetConfig, max_loss: float = 0.5) -> None:
        """Give `configs` statistics without data, between those of calibrated widths: see `models.interpolate`."""
        interpolate(self, configs, max_loss)


class SlimmableOwnNet(SlimmableNet, OwnNet):
    """Network of any structure with slimmable layers, of one pathway: see `models.own_network`."""

    extracted_class = OwnNet
    reserved = frozenset({"statistics", "lock", "full_clip", "min_frames", "channel_flow"})

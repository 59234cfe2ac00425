from __future__ import annotations

import inspect

from torch import nn

from mutualnet3d.models import SlimmableNet
from mutualnet3d.models.recipe import remembered_as
from mutualnet3d.shapes import ClipShape


@remembered_as("none")
def build_none(*, full_clip: ClipShape, min_frames: int = 2) -> SlimmableNet:
    """Build a network without layers."""
    return SlimmableNet(nn.ModuleList(), full_clip, min_frames)


def test_a_network_remembers_builder_and_arguments_defaults_among_them():
    network = build_none(full_clip=ClipShape(4, 32))
    assert network.builder == "none"
    assert network.arguments == {"full_clip": ClipShape(4, 32), "min_frames": 2}
    assert list(inspect.signature(build_none).parameters) == ["full_clip", "min_frames"]
    assert build_none.__doc__ == "Build a network without layers."


def test_a_network_of_no_builder_remembers_nothing():
    network = SlimmableNet(nn.ModuleList(), ClipShape(4, 32))
    assert (network.builder, dict(network.arguments)) == ("", {})

"""Choice of the layer whose feature map is looked at."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mutualnet3d as m3
from mutualnet3d.models.last_map import map_layer
from mutualnet3d.models.torchvision_networks import build_torchvision
from mutualnet3d.shapes import ClipShape, SubnetConfig
from tests.deploy.networks import SMALL, short


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("x3d", "blocks.5.pool.pre_act"),
        ("slow", "blocks.4"),
        pytest.param("slowfast", "blocks.4.multipathway_blocks.0", marks=pytest.mark.slow),
    ],
)
def test_it_is_the_last_one_before_the_classifiers_pooling(family, expected):
    model = short(family)
    assert map_layer(model, SMALL).name == expected
    # Five strides of 2 leave one pixel of 32: everything passes the stage before on its way.
    assert map_layer(model, SubnetConfig(1.0, 32, 4)).name == expected.replace("5.pool.pre_act", "3").replace("4", "3")
    assert not model.training


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "expected"), [("r3d_18", "layer4"), ("s3d", "features")])
def test_of_torchvisions_networks(kind, expected):
    with torch.device("meta"):
        model = build_torchvision(kind=kind, full_clip=ClipShape(16, 64), num_classes=3)
    assert map_layer(model, SubnetConfig(0.63, 64, 16)).name == expected


@pytest.mark.slow
def test_layers_of_a_name_and_the_centres_of_their_maps():
    model = short("slowfast")
    slow, fast = (map_layer(model, SMALL, f"blocks.4.multipathway_blocks.{pathway}") for pathway in (0, 1))
    assert slow == map_layer(model, SMALL)
    # Five strides of 2 with a padding of 1; the Fast pathway has its own clip.
    assert (slow.centres.start, slow.centres.step, slow.centres.clip) == ((0, 0, 0), (1, 32, 32), (2, 48, 48))
    assert (fast.centres.start, fast.centres.step, fast.centres.clip) == ((0, 0, 0), (1, 32, 32), (16, 64, 64))
    with pytest.raises(ValueError, match=r"layer blocks gives no feature map in w0\.5-s48-t2"):
        map_layer(model, SMALL, "blocks")


class Residual(nn.Module):
    """Branches that not everything passes, a pooling in the middle, an operation in place, pooling by arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv3d(3, 8, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        self.middle = nn.AvgPool3d((1, 2, 2))
        self.branch = nn.Conv3d(8, 8, (3, 3, 3), padding=1)
        self.shortcut = nn.Conv3d(8, 8, 1)
        self.activation = nn.ReLU(inplace=True)
        self.classifier = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.middle(self.stem(x))
        x = self.activation(self.branch(x) + self.shortcut(x))
        return self.classifier(x.mean(dim=(2, 3, 4)))


def test_of_any_structure_it_is_a_place_that_everything_passes():
    model = m3.make_slimmable(Residual(), ClipShape(2, 16))
    assert map_layer(model, model.full).name == "activation"
    # With one pixel left after the middle, the map before the pooling is the last.
    assert map_layer(model, SubnetConfig(1.0, 4, 2)).name == "stem"
    with pytest.raises(ValueError, match=r"no layer that everything passes gives maps .* for w1\.0-s2-t2"):
        map_layer(model, SubnetConfig(1.0, 2, 2))

"""Slimmable networks of torchvision, of one pathway.

R3D-18, MC3-18, R(2+1)D-18 (Tran et al., arXiv 1711.11248), S3D (Xie et al., arXiv 1712.04851).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torchvision.models import video
from torchvision.models.video.resnet import BasicBlock

from mutualnet3d.models.own_network import make_slimmable
from mutualnet3d.models.recipe import remembered_as
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.shapes import ClipShape

# Function of torchvision by its name, which is also that of MODEL.ARCH.
TORCHVISION: dict[str, Callable[..., nn.Module]] = {
    "r3d_18": video.r3d_18,
    "mc3_18": video.mc3_18,
    "r2plus1d_18": video.r2plus1d_18,
    "s3d": video.s3d,
}


@remembered_as("torchvision")
def build_torchvision(
    *,
    kind: str,
    full_clip: ClipShape,
    num_classes: int,
    dropout_rate: float = 0.5,
    zero_init_final_bn: bool = False,
) -> SlimmableNet:
    """Return a network of torchvision, converted; its weights have torchvision's names.

    Args:
        kind: name of the network, of `TORCHVISION`.
        full_clip: clip shape of the full network; the network itself takes any.
        num_classes: outputs of the classifier.
        dropout_rate: fraction of the features dropped before the classifier (torchvision: 0.2 in S3D, else 0).
        zero_init_final_bn: True to start every residual block as its shortcut alone (the scale of its last batch norm
            is 0). S3D has no such blocks.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in TORCHVISION:
        raise ValueError(f"unknown network of torchvision {kind!r}; allowed: {', '.join(TORCHVISION)}")
    network: Any
    if kind == "s3d":
        network = TORCHVISION[kind](num_classes=num_classes, dropout=dropout_rate)
    else:
        network = TORCHVISION[kind](num_classes=num_classes)
        # Before the classifier, in a place that changes no name of a weight.
        network.avgpool = nn.Sequential(network.avgpool, nn.Dropout(dropout_rate))
    if zero_init_final_bn:
        for block in network.modules():
            if isinstance(block, BasicBlock):
                nn.init.zeros_(block.conv2[1].weight)
    return make_slimmable(network, full_clip)

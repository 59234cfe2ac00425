"""X3D (Feichtenhofer, arXiv 2004.04730), slimmable."""

from __future__ import annotations

import operator

from pytorchvideo.models.resnet import ResBlock
from pytorchvideo.models.x3d import create_x3d

from mutualnet3d.models.convert import convert_blocks
from mutualnet3d.models.recipe import remembered_as
from mutualnet3d.models.resnet import start_blocks
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.shapes import ClipShape


@remembered_as("x3d")
def build_x3d(
    *,
    full_clip: ClipShape,
    num_classes: int,
    dropout_rate: float = 0.5,
    width_factor: float = 2.0,
    depth_factor: float = 2.2,
    bottleneck_factor: float = 2.25,
    dim_c1: int = 12,
    dim_c5: int = 2048,
    bn_lin5: bool = False,
    zero_init_final_bn: bool = True,
) -> SlimmableNet:
    """Return pytorchvideo's X3D, converted; the defaults are X3D-M's and X3D-S's.

    Args:
        full_clip: clip shape of the full network; the network itself takes any.
        num_classes: outputs of the classifier.
        dropout_rate: fraction of the features dropped before the classifier.
        width_factor: factor of the channels.
        depth_factor: factor of the number of blocks of each stage.
        bottleneck_factor: factor of a block's inner channels over its outer ones.
        dim_c1: channels of the stem before `width_factor`.
        dim_c5: channels between pooling and classifier; no width slims them.
        bn_lin5: True for a batch norm before the classifier.
        zero_init_final_bn: True to start every block as its shortcut alone (the scale of its last batch norm is 0),
            which suits long schedules; short ones learn faster with the blocks in use from the first step.

    Raises:
        ValueError: the network's strides leave nothing of the clip.
    """
    if full_clip.size < 32:
        raise ValueError(f"X3D halves the picture five times: its clips need at least 32 x 32 pixels, got {full_clip}")
    network = create_x3d(
        input_clip_length=full_clip.frames,
        input_crop_size=full_clip.size,
        model_num_class=num_classes,
        dropout_rate=dropout_rate,
        width_factor=width_factor,
        depth_factor=depth_factor,
        bottleneck_factor=bottleneck_factor,
        stem_dim_in=dim_c1,
        head_dim_out=dim_c5,
        head_bn_lin5_on=bn_lin5,
        head_activation=None,
    )
    for block in network.modules():
        if isinstance(block, ResBlock):
            block.branch_fusion = operator.add  # pytorchvideo's lambda, which does not pickle, does the same
    start_blocks(network, zero_init_final_bn)
    blocks, flow = convert_blocks(network, full_clip)
    return SlimmableNet(blocks, full_clip, flow=flow)

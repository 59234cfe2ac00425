"""ResNets over one clip, slimmable, as PySlowFast and pytorchvideo have them.

Slow (Feichtenhofer et al., arXiv 1812.03982), C2D (Wang et al., arXiv 1711.07971) and I3D (Carreira and Zisserman,
arXiv 1705.07750).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytorchvideo.models.resnet import BottleneckBlock, create_resnet
from torch import nn

from mutualnet3d.models.convert import convert_blocks
from mutualnet3d.models.recipe import remembered_as
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.shapes import ClipShape

# Blocks of each stage, by the number of layers.
STAGE_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


@dataclass(frozen=True)
class _Kind:
    """Lengths of the temporal kernels, in frames: of the stem, and of each stage's blocks in turn.

    With `halves_time`, a pooling after the first stage halves time.
    """

    stem: int
    stages: tuple[tuple[int, ...], ...]
    halves_time: bool = False


KINDS = {
    "slow": _Kind(1, ((1,), (1,), (3,), (3,))),
    "c2d": _Kind(1, ((1,), (1,), (1,), (1,)), halves_time=True),
    "slow_c2d": _Kind(1, ((1,), (1,), (1,), (1,))),
    "i3d": _Kind(5, ((3,), (3, 1), (3, 1), (1, 3)), halves_time=True),
    "slow_i3d": _Kind(5, ((3,), (3, 1), (3, 1), (1, 3))),
}


@remembered_as("resnet")
def build_resnet(
    *,
    kind: str,
    full_clip: ClipShape,
    num_classes: int,
    dropout_rate: float = 0.5,
    depth: int = 50,
    width_per_group: int = 64,
    num_block_temp_kernel: Sequence[int] | None = None,
    zero_init_final_bn: bool = True,
) -> SlimmableNet:
    """Return pytorchvideo's ResNet, converted.

    Args:
        kind: slow, c2d or i3d (slow_c2d and slow_i3d: without the pooling that halves time).
        full_clip: clip shape of the full network; the network itself takes any.
        num_classes: outputs of the classifier.
        dropout_rate: fraction of the features dropped before the classifier.
        depth: layers, 50, 101 or 152.
        width_per_group: channels of the stem; all others are multiples of it.
        num_block_temp_kernel: number of blocks of each stage that have the temporal kernels of `kind`; later blocks see
            one frame. Default: all.
        zero_init_final_bn: True to start every block as its shortcut alone (the scale of its last batch norm is 0).

    Raises:
        ValueError: the kind or depth is unknown, or the network's strides leave nothing of the clip.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of ResNet {kind!r}; known: {', '.join(KINDS)}")
    check_resnet(depth, full_clip)
    shape = KINDS[kind]
    min_frames = 2 if shape.halves_time else 1
    if full_clip.frames < min_frames:
        raise ValueError(f"{kind} halves time: its clips need at least {min_frames} frames, got {full_clip}")
    network = create_resnet(
        model_depth=depth,
        model_num_class=num_classes,
        dropout_rate=dropout_rate,
        stem_dim_out=width_per_group,
        stem_conv_kernel_size=(shape.stem, 7, 7),
        stage1_pool=nn.MaxPool3d if shape.halves_time else None,
        stage_conv_a_kernel_size=temporal_kernels(shape.stages, STAGE_DEPTHS[depth], num_block_temp_kernel),
        head_pool_kernel_size=(full_clip.frames // min_frames, full_clip.size // 32, full_clip.size // 32),
    )
    start_blocks(network, zero_init_final_bn)
    blocks, flow = convert_blocks(network, full_clip)
    return SlimmableNet(blocks, full_clip, min_frames, flow)


def check_resnet(depth: int, full_clip: ClipShape) -> None:
    """Refuse a depth or a clip that no ResNet can have.

    Args:
        depth: number of layers, 50, 101 or 152.
        full_clip: clip shape of the full network.

    Raises:
        ValueError: the depth is not allowed, or the picture is too small.
    """
    if depth not in STAGE_DEPTHS:
        raise ValueError(f"a ResNet has {', '.join(map(str, STAGE_DEPTHS))} layers, got {depth!r}")
    if full_clip.size < 32:
        raise ValueError(
            f"a ResNet halves the picture five times: its clips need at least 32 x 32 pixels, got {full_clip}"
        )


def temporal_kernels(
    stages: Sequence[Sequence[int]], depths: Sequence[int], num_blocks: Sequence[int] | None
) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    """Return the kernel of the first convolution of every block, by PySlowFast's rule.

    A stage's temporal lengths serve in turn for its first `num_blocks` blocks; the others see one frame.

    Args:
        stages: temporal lengths of each stage, frames.
        depths: number of blocks of each stage.
        num_blocks: number of blocks of each stage with temporal kernels; None: all.

    Returns:
        Kernel (T, H, W) of each block of each stage.

    Raises:
        ValueError: not one number of blocks per stage, or more blocks than there are.
    """
    counts = tuple(depths if num_blocks is None else num_blocks)
    if len(counts) != len(depths) or any(not 0 <= count <= depth for count, depth in zip(counts, depths, strict=True)):
        raise ValueError(f"temporal kernels: {counts} blocks of the stages, which have {tuple(depths)} blocks")
    return tuple(
        tuple((lengths[block % len(lengths)] if block < count else 1, 1, 1) for block in range(depth))
        for lengths, depth, count in zip(stages, depths, counts, strict=True)
    )


def start_blocks(network: nn.Module, as_shortcuts: bool) -> None:
    """Set the scale of every block's last batch norm: 0 where blocks start as their shortcut alone, else 1.

    Pytorchvideo starts with 0.
    """
    if as_shortcuts:
        return
    for block in network.modules():
        if isinstance(block, BottleneckBlock):
            nn.init.ones_(block.norm_c.weight)

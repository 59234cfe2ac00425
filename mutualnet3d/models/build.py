"""From a name or a config to a network. One of the places that read `cfg`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fvcore.common.config import CfgNode

from mutualnet3d.models.resnet import KINDS, build_resnet
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.models.slowfast import build_slowfast
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.shapes import ClipShape


def _x3d(cfg: CfgNode) -> SlimmableNet:
    return build_x3d(
        full_clip=full_clip_of(cfg),
        num_classes=cfg.MODEL.NUM_CLASSES,
        dropout_rate=cfg.MODEL.DROPOUT_RATE,
        width_factor=cfg.X3D.WIDTH_FACTOR,
        depth_factor=cfg.X3D.DEPTH_FACTOR,
        bottleneck_factor=cfg.X3D.BOTTLENECK_FACTOR,
        dim_c1=cfg.X3D.DIM_C1,
        dim_c5=cfg.X3D.DIM_C5,
        bn_lin5=cfg.X3D.BN_LIN5,
        zero_init_final_bn=cfg.RESNET.ZERO_INIT_FINAL_BN,
    )


def _resnet(cfg: CfgNode) -> SlimmableNet:
    return build_resnet(
        kind=cfg.MODEL.ARCH,
        full_clip=full_clip_of(cfg),
        num_classes=cfg.MODEL.NUM_CLASSES,
        dropout_rate=cfg.MODEL.DROPOUT_RATE,
        depth=cfg.RESNET.DEPTH,
        width_per_group=cfg.RESNET.WIDTH_PER_GROUP,
        num_block_temp_kernel=_of_pathway(cfg.RESNET.NUM_BLOCK_TEMP_KERNEL, 0),
        zero_init_final_bn=cfg.RESNET.ZERO_INIT_FINAL_BN,
    )


def _slowfast(cfg: CfgNode) -> SlimmableNet:
    blocks = cfg.RESNET.NUM_BLOCK_TEMP_KERNEL
    return build_slowfast(
        full_clip=full_clip_of(cfg),
        alpha=cfg.SLOWFAST.ALPHA,
        num_classes=cfg.MODEL.NUM_CLASSES,
        dropout_rate=cfg.MODEL.DROPOUT_RATE,
        depth=cfg.RESNET.DEPTH,
        width_per_group=cfg.RESNET.WIDTH_PER_GROUP,
        beta_inv=cfg.SLOWFAST.BETA_INV,
        fusion_conv_channel_ratio=cfg.SLOWFAST.FUSION_CONV_CHANNEL_RATIO,
        fusion_kernel_size=cfg.SLOWFAST.FUSION_KERNEL_SZ,
        num_block_temp_kernel=(_of_pathway(blocks, 0), _of_pathway(blocks, 1)),
        zero_init_final_bn=cfg.RESNET.ZERO_INIT_FINAL_BN,
    )


# MODEL.ARCH -> a function from cfg to a network. A new family is entered here.
FAMILIES: dict[str, Callable[[CfgNode], SlimmableNet]] = {
    "x3d": _x3d,
    "slowfast": _slowfast,
    **dict.fromkeys(KINDS, _resnet),
}


def full_clip_of(cfg: CfgNode) -> ClipShape:
    """The clip of the full network that sub-networks shorten and shrink: SlowFast's is the Slow pathway's."""
    frames = cfg.DATA.NUM_FRAMES // cfg.SLOWFAST.ALPHA if cfg.MODEL.ARCH == "slowfast" else cfg.DATA.NUM_FRAMES
    return ClipShape(frames=frames, size=cfg.DATA.TRAIN_CROP_SIZE)


def _of_pathway(per_stage: list[list[int]], pathway: int) -> list[int]:
    """One pathway's value for each stage; a single value is both pathways'."""
    return [values[min(pathway, len(values) - 1)] for values in per_stage]


def _named() -> dict[str, tuple[Callable[..., SlimmableNet], dict[str, Any]]]:
    """Published networks by name: their builder and what sets them apart (X3D paper, table 4; PySlowFast's and
    pytorchvideo's model zoos)."""
    named: dict[str, tuple[Callable[..., SlimmableNet], dict[str, Any]]] = {
        "x3d_xs": (build_x3d, {"full_clip": ClipShape(frames=4, size=160)}),
        "x3d_s": (build_x3d, {"full_clip": ClipShape(frames=13, size=160)}),
        "x3d_m": (build_x3d, {"full_clip": ClipShape(frames=16, size=224)}),
        "x3d_l": (build_x3d, {"full_clip": ClipShape(frames=16, size=312), "depth_factor": 5.0}),
    }
    for depth in (50, 101):
        for frames, rate in ((4, 16), (8, 8)):
            clip = {"full_clip": ClipShape(frames, 224), "depth": depth}
            # The 8x8 networks of 50 layers have longer laterals than all others.
            fusion = {"alpha": 32 // frames, "fusion_kernel_size": 7 if (frames, depth) == (8, 50) else 5}
            named[f"slow_{frames}x{rate}_r{depth}"] = (build_resnet, {"kind": "slow", **clip})
            named[f"slowfast_{frames}x{rate}_r{depth}"] = (build_slowfast, {**fusion, **clip})
        for kind in ("c2d", "i3d"):
            named[f"{kind}_8x8_r{depth}"] = (
                build_resnet,
                {"kind": kind, "full_clip": ClipShape(8, 224), "depth": depth},
            )
    return named


_NAMED = _named()


def list_models() -> list[str]:
    """Names that `create_model` takes."""
    return sorted(_NAMED)


def create_model(name: str, num_classes: int = 400, dropout_rate: float = 0.5) -> SlimmableNet:
    """A published network, slimmable, with fresh weights.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    if name not in _NAMED:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(list_models())}")
    build, settings = _NAMED[name]
    return build(num_classes=num_classes, dropout_rate=dropout_rate, **settings)


def build_model(cfg: CfgNode) -> SlimmableNet:
    """The network that `cfg` describes (`MODEL.*`, `RESNET.*`, `SLOWFAST.*`, `X3D.*`, the clip of `DATA.*`).

    Raises:
        ValueError: `MODEL.ARCH` is none of the known families.
    """
    if cfg.MODEL.ARCH not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ValueError(f"unknown model: MODEL.ARCH is {cfg.MODEL.ARCH!r}; known: {known}")
    return FAMILIES[cfg.MODEL.ARCH](cfg)

"""From a name or a config to a network. One of the places that read `cfg`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fvcore.common.config import CfgNode
from fvcore.common.registry import Registry

from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.shapes import ClipShape

# MODEL.ARCH -> a function from cfg to a network. A new family registers itself here.
FAMILIES: Any = Registry("MODEL.ARCH")


@FAMILIES.register()
def x3d(cfg: CfgNode) -> SlimmableNet:
    return build_x3d(
        native=ClipShape(frames=cfg.DATA.NUM_FRAMES, size=cfg.DATA.TRAIN_CROP_SIZE),
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


# Published networks by name: their builder and what sets them apart (X3D paper, table 4).
_NAMED: dict[str, tuple[Callable[..., SlimmableNet], dict[str, Any]]] = {
    "x3d_xs": (build_x3d, {"native": ClipShape(frames=4, size=160)}),
    "x3d_s": (build_x3d, {"native": ClipShape(frames=13, size=160)}),
    "x3d_m": (build_x3d, {"native": ClipShape(frames=16, size=224)}),
    "x3d_l": (build_x3d, {"native": ClipShape(frames=16, size=312), "depth_factor": 5.0}),
}


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
    """The network that `cfg` describes (`MODEL.*`, `X3D.*`, the clip shape of `DATA.*`).

    Raises:
        ValueError: `MODEL.ARCH` is none of the known families.
    """
    if cfg.MODEL.ARCH not in FAMILIES:
        known = ", ".join(sorted(name for name, _ in FAMILIES))
        raise ValueError(f"unknown model: MODEL.ARCH is {cfg.MODEL.ARCH!r}; known: {known}")
    return FAMILIES.get(cfg.MODEL.ARCH)(cfg)

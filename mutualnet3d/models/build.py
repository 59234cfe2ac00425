"""Building of networks by name or by config. One of the places that read `cfg`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from fvcore.common.config import CfgNode

from mutualnet3d.models.published import published_weights
from mutualnet3d.models.recipe import remembered_as
from mutualnet3d.models.resnet import KINDS, build_resnet
from mutualnet3d.models.size_limit import limited_size
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.models.slowfast import build_slowfast
from mutualnet3d.models.torchvision_networks import TORCHVISION, build_torchvision
from mutualnet3d.models.weights import load_weights
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.shapes import ClipShape

# Functions that build networks, by the names that their networks remember (`models.recipe`).
BUILDERS: dict[str, Callable[..., SlimmableNet]] = {
    "x3d": build_x3d,
    "resnet": build_resnet,
    "slowfast": build_slowfast,
    "torchvision": build_torchvision,
}

# Largest networks that are built: 32 GB of weights, twice; the largest published one has 0.1 % of that.
MAX_VALUES, MAX_TENSORS = 1 << 34, 20_000

# Name of a builder, and its arguments.
Recipe = tuple[str, dict[str, Any]]


def _x3d(cfg: CfgNode) -> Recipe:
    return "x3d", {
        "width_factor": cfg.X3D.WIDTH_FACTOR,
        "depth_factor": cfg.X3D.DEPTH_FACTOR,
        "bottleneck_factor": cfg.X3D.BOTTLENECK_FACTOR,
        "dim_c1": cfg.X3D.DIM_C1,
        "dim_c5": cfg.X3D.DIM_C5,
        "bn_lin5": cfg.X3D.BN_LIN5,
    }


def _resnet(cfg: CfgNode) -> Recipe:
    return "resnet", {
        "kind": cfg.MODEL.ARCH,
        "depth": cfg.RESNET.DEPTH,
        "width_per_group": cfg.RESNET.WIDTH_PER_GROUP,
        "num_block_temp_kernel": _of_pathway(cfg.RESNET.NUM_BLOCK_TEMP_KERNEL, 0),
    }


def _slowfast(cfg: CfgNode) -> Recipe:
    blocks = cfg.RESNET.NUM_BLOCK_TEMP_KERNEL
    return "slowfast", {
        "alpha": cfg.SLOWFAST.ALPHA,
        "depth": cfg.RESNET.DEPTH,
        "width_per_group": cfg.RESNET.WIDTH_PER_GROUP,
        "beta_inv": cfg.SLOWFAST.BETA_INV,
        "fusion_conv_channel_ratio": cfg.SLOWFAST.FUSION_CONV_CHANNEL_RATIO,
        "fusion_kernel_size": cfg.SLOWFAST.FUSION_KERNEL_SZ,
        "num_block_temp_kernel": (_of_pathway(blocks, 0), _of_pathway(blocks, 1)),
    }


def _torchvision(cfg: CfgNode) -> Recipe:
    return "torchvision", {"kind": cfg.MODEL.ARCH}


# MODEL.ARCH -> a function from cfg to a builder and the arguments that its family alone has. A new family is entered
# here.
FAMILIES: dict[str, Callable[[CfgNode], Recipe]] = {
    "x3d": _x3d,
    "slowfast": _slowfast,
    **dict.fromkeys(KINDS, _resnet),
    **dict.fromkeys(TORCHVISION, _torchvision),
}

# Arguments that every family takes, if its builder has them.
_COMMON_ARGUMENTS = {"full_clip", "num_classes", "dropout_rate", "zero_init_final_bn"}


def register_network(name: str) -> Callable[[Callable[..., SlimmableNet]], Callable[..., SlimmableNet]]:
    """Return a decorator that registers the builder of a user's own network, for `MODEL.ARCH` and model files.

    The function takes some of `full_clip` (a `ClipShape`), `num_classes`, `dropout_rate` and `zero_init_final_bn` by
    name, with annotations, and returns the result of `make_slimmable`. A program that reads a model file of the network
    registers it first.

    Args:
        name: name of the network.

    Raises:
        ValueError: the name is taken, or the function has an argument that the config does not give.
    """
    if name in BUILDERS or name in FAMILIES:
        raise ValueError(f"a network is registered as {name!r} already")

    def register(build: Callable[..., SlimmableNet]) -> Callable[..., SlimmableNet]:
        arguments = set(inspect.signature(build).parameters)
        if not arguments <= _COMMON_ARGUMENTS & set(get_type_hints(build)):
            raise ValueError(
                f"network {name!r}: its function takes {', '.join(sorted(arguments))}; allowed, each with its "
                f"annotation: {', '.join(sorted(_COMMON_ARGUMENTS))}"
            )
        BUILDERS[name] = remembered_as(name)(build)
        FAMILIES[name] = lambda cfg: (name, {})
        return BUILDERS[name]

    return register


# Argument of a builder -> the key that it is read from.
_KEYS = {
    "num_classes": "MODEL.NUM_CLASSES",
    "dropout_rate": "MODEL.DROPOUT_RATE",
    "zero_init_final_bn": "RESNET.ZERO_INIT_FINAL_BN",
    "width_factor": "X3D.WIDTH_FACTOR",
    "depth_factor": "X3D.DEPTH_FACTOR",
    "bottleneck_factor": "X3D.BOTTLENECK_FACTOR",
    "dim_c1": "X3D.DIM_C1",
    "dim_c5": "X3D.DIM_C5",
    "bn_lin5": "X3D.BN_LIN5",
    "kind": "MODEL.ARCH",
    "depth": "RESNET.DEPTH",
    "width_per_group": "RESNET.WIDTH_PER_GROUP",
    "num_block_temp_kernel": "RESNET.NUM_BLOCK_TEMP_KERNEL",
    "alpha": "SLOWFAST.ALPHA",
    "beta_inv": "SLOWFAST.BETA_INV",
    "fusion_conv_channel_ratio": "SLOWFAST.FUSION_CONV_CHANNEL_RATIO",
    "fusion_kernel_size": "SLOWFAST.FUSION_KERNEL_SZ",
}


def recipe_of(cfg: CfgNode) -> Recipe:
    """Return the builder and the arguments of the network that `cfg` describes.

    They follow from `MODEL.*`, `RESNET.*`, `SLOWFAST.*`, `X3D.*` and the clip of `DATA.*`.

    Args:
        cfg: config of a run.

    Raises:
        ValueError: `MODEL.ARCH` is none of the known families.
    """
    if cfg.MODEL.ARCH not in FAMILIES:
        raise ValueError(f"unknown model: MODEL.ARCH is {cfg.MODEL.ARCH!r}; known: {', '.join(sorted(FAMILIES))}")
    builder, arguments = FAMILIES[cfg.MODEL.ARCH](cfg)
    common = {
        "full_clip": full_clip_of(cfg),
        "num_classes": cfg.MODEL.NUM_CLASSES,
        "dropout_rate": cfg.MODEL.DROPOUT_RATE,
        "zero_init_final_bn": cfg.RESNET.ZERO_INIT_FINAL_BN,
    }
    parameters = inspect.signature(BUILDERS[builder]).parameters
    return builder, {**{name: value for name, value in common.items() if name in parameters}, **arguments}


def build_model(cfg: CfgNode) -> SlimmableNet:
    """Return the network that `cfg` describes, with fresh weights.

    Args:
        cfg: config of a run.

    Raises:
        ValueError: an error of `recipe_of`, or values that no network can have.
    """
    builder, arguments = recipe_of(cfg)
    try:
        return build_network(builder, arguments)
    except ValueError as error:
        values = ", ".join(f"{_KEYS[name]} {value!s:.60}" for name, value in arguments.items() if name in _KEYS)
        clip = f"DATA.NUM_FRAMES {cfg.DATA.NUM_FRAMES}, DATA.TRAIN_CROP_SIZE {cfg.DATA.TRAIN_CROP_SIZE}"
        raise ValueError(f"{error} (the config: {values}, {clip})") from error


def build_network(
    builder: str, arguments: Mapping[str, Any], max_values: int = MAX_VALUES, max_tensors: int = MAX_TENSORS
) -> SlimmableNet:
    """Return the network that a builder makes of `arguments`, with fresh weights.

    Args:
        builder: name of the builder, of `BUILDERS`.
        arguments: the builder's arguments by name.
        max_values: largest number of weights, including those of layers that are replaced while the network is built.
        max_tensors: largest number of tensors of weights, including those of replaced layers.

    Raises:
        ValueError: the builder is unknown, an argument is unknown or missing, no network can have the values, or the
            network is too large.
    """
    if not isinstance(builder, str) or builder not in BUILDERS:
        raise ValueError(
            f"unknown builder {builder!r}; allowed: {', '.join(sorted(BUILDERS))}, and networks that the program has "
            "registered (register_network)"
        )
    signature = inspect.signature(BUILDERS[builder])
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ValueError(f"builder {builder}: {error}; its arguments: {', '.join(signature.parameters)}") from error
    kinds = get_type_hints(BUILDERS[builder])
    for name, value in arguments.items():
        if not _has_type(value, kinds[name]):
            raise ValueError(f"builder {builder}: {name} is {value!r:.60}; it must be {_type_text(kinds[name])}")
    try:
        with limited_size(max_values, max_tensors):
            return BUILDERS[builder](**arguments)
    except (RuntimeError, ArithmeticError, AssertionError, IndexError, MemoryError, TypeError) as error:
        # pytorchvideo's and torch's; TypeError is torch's for sizes beyond 64 bits
        cause = " ".join(str(error).split())
        raise ValueError(f"builder {builder} cannot build a network of these arguments: {cause}") from error


# Integers of networks are sizes of something in memory.
_END_OF_INTEGERS = 1 << 31


def _has_type(value: Any, kind: Any) -> bool:
    """Return True for an argument of its annotation's type: a number, a text, a clip shape, or integers in lists."""
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, int | float) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and abs(value) < _END_OF_INTEGERS
    if isinstance(kind, type):
        return isinstance(value, kind)
    return value is None or _is_list_of_integers(value)


def _is_list_of_integers(value: Any) -> bool:
    """Return True for a list of integers, or of such lists."""
    return isinstance(value, list | tuple) and all(_has_type(part, int) or _is_list_of_integers(part) for part in value)


def _type_text(kind: Any) -> str:
    texts = {
        int: "an integer below 2**31",
        float: "a finite number",
        bool: "True or False",
        str: "a text",
        ClipShape: "a clip shape",
    }
    return texts.get(kind, "a list of integers, or None")


def full_clip_of(cfg: CfgNode) -> ClipShape:
    """Return the full network's clip, which sub-networks shorten and shrink; of SlowFast the Slow pathway's."""
    frames = cfg.DATA.NUM_FRAMES // cfg.SLOWFAST.ALPHA if cfg.MODEL.ARCH == "slowfast" else cfg.DATA.NUM_FRAMES
    return ClipShape(frames=frames, size=cfg.DATA.TRAIN_CROP_SIZE)


def space_of(cfg: CfgNode) -> dict[str, tuple[Any, ...]]:
    """Return the space of sub-networks that `cfg` trains and tests.

    These are the arguments of `SubnetSpace`, and `tested_sizes`, the sizes that the sub-networks are tested at
    (`TEST.SIZES`). Empty lists of the config mean the full network's own value.
    """
    full_clip = full_clip_of(cfg)
    sizes = tuple(cfg.MUTUAL.SIZES) or (full_clip.size,)
    scale = cfg.DATA.TEST_CROP_SIZE / cfg.DATA.TRAIN_CROP_SIZE
    return {
        "width_range": tuple(cfg.MUTUAL.WIDTH_RANGE),
        "sizes": sizes,
        "frames": tuple(cfg.MUTUAL.FRAMES) or (full_clip.frames,),
        "tested_sizes": tuple(cfg.TEST.SIZES) or tuple(round(size * scale) for size in sizes),
    }


def _of_pathway(per_stage: list[list[int]], pathway: int) -> list[int]:
    """Return a pathway's value for each stage; a single value is both pathways'."""
    return [values[min(pathway, len(values) - 1)] for values in per_stage]


def _published() -> dict[str, Recipe]:
    """Return the builder and the arguments of each published network, by its name.

    Sources: X3D paper, table 4; the model zoos of PySlowFast and pytorchvideo; torchvision.
    """
    networks: dict[str, Recipe] = {
        "x3d_xs": ("x3d", {"full_clip": ClipShape(frames=4, size=160)}),
        "x3d_s": ("x3d", {"full_clip": ClipShape(frames=13, size=160)}),
        "x3d_m": ("x3d", {"full_clip": ClipShape(frames=16, size=224)}),
        "x3d_l": ("x3d", {"full_clip": ClipShape(frames=16, size=312), "depth_factor": 5.0}),
    }
    for depth in (50, 101):
        for frames, rate in ((4, 16), (8, 8)):
            clip = {"full_clip": ClipShape(frames, 224), "depth": depth}
            # The 8x8 networks of 50 layers have longer laterals than all others.
            fusion = {"alpha": 32 // frames, "fusion_kernel_size": 7 if (frames, depth) == (8, 50) else 5}
            networks[f"slow_{frames}x{rate}_r{depth}"] = ("resnet", {"kind": "slow", **clip})
            networks[f"slowfast_{frames}x{rate}_r{depth}"] = ("slowfast", {**fusion, **clip})
        for kind in ("c2d", "i3d"):
            networks[f"{kind}_8x8_r{depth}"] = (
                "resnet",
                {"kind": kind, "full_clip": ClipShape(8, 224), "depth": depth},
            )
    for kind in TORCHVISION:
        # Sizes of torchvision's weights; S3D's are of 224 pixels and any number of frames from 14 on.
        clip_shape = ClipShape(16, 224 if kind == "s3d" else 112)
        networks[kind] = ("torchvision", {"kind": kind, "full_clip": clip_shape})
    return networks


_PUBLISHED = _published()


def list_models() -> list[str]:
    """Return the names that `create_model` takes."""
    return sorted(_PUBLISHED)


def create_model(
    name: str, num_classes: int = 400, dropout_rate: float = 0.5, pretrained: bool | str = False
) -> SlimmableNet:
    """Return a published network, slimmable.

    Args:
        name: name of the network, one of `list_models()`.
        num_classes: number of the classifier's outputs; a classifier of another number than that of the published
            weights starts with fresh weights.
        dropout_rate: fraction of the features that dropout before the classifier sets to 0 in training, in [0, 1).
        pretrained: True for published weights, or the name of their data set, such as "kinetics400". They are
            downloaded once, and bring their class names (`class_names`). False: fresh weights.

    Raises:
        ValueError: the name is unknown or has no published weights; the message lists the allowed names.
        DownloadError: the weights cannot be downloaded; the message says where to put them by hand.

    Examples:
        >>> model = m3.create_model("x3d_xs", num_classes=5)
        >>> with model.active(m3.SubnetConfig(width=0.63, size=64, frames=2)):
        ...     logits_BK = model([torch.zeros(2, 3, 2, 64, 64)])  # a list of pathways, of X3D one
        >>> logits_BK.shape
        torch.Size([2, 5])
    """
    if name not in _PUBLISHED:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(list_models())}")
    weights = published_weights(name, "" if pretrained is True else pretrained) if pretrained else None
    builder, arguments = _PUBLISHED[name]
    network = build_network(builder, {"num_classes": num_classes, "dropout_rate": dropout_rate, **arguments})
    if weights is not None:
        load_weights(network, weights.address)
    return network

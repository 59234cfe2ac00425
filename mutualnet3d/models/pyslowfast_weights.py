"""Translation of PySlowFast's names in state dicts into pytorchvideo's, which this project's networks have."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from pytorchvideo.models.net import MultiPathWayWithFuse
from pytorchvideo.models.resnet import ResStage

from mutualnet3d.models.network import OwnNet
from mutualnet3d.models.slimmable_net import SlimmableNet

# PySlowFast's name of a layer within its block -> pytorchvideo's.
_IN_BLOCK = {
    "branch1": "branch1_conv",
    "branch1_bn": "branch1_norm",
    "branch2.a": "branch2.conv_a",
    "branch2.a_bn": "branch2.norm_a",
    "branch2.b": "branch2.conv_b",
    "branch2.b_bn": "branch2.norm_b",
    "branch2.c": "branch2.conv_c",
    "branch2.c_bn": "branch2.norm_c",
    # X3D: normalisation and squeeze-and-excitation are one module in pytorchvideo.
    "branch2.se.fc1": "branch2.norm_b.1.block.0",
    "branch2.se.fc2": "branch2.norm_b.1.block.2",
}
_IN_STEM = {
    "conv": "conv",
    "bn": "norm",
}
# X3D's stem: first over the picture, then over time. pytorchvideo calls the first conv_t, the second conv_xy.
_IN_X3D_STEM = {
    "conv_xy": "conv.conv_t",
    "conv": "conv.conv_xy",
    "bn": "norm",
}
_IN_FUSION = {
    "conv_f2s": "conv_fast_to_slow",
    "bn": "norm",
}
_IN_HEAD = {
    "projection": "proj",
    "conv_5": "pool.pre_conv",
    "conv_5_bn": "pool.pre_norm",
    "lin_5": "pool.post_conv",
    "lin_5_bn": "pool.post_norm",
}


def has_pyslowfast_names(state: Mapping[str, torch.Tensor]) -> bool:
    """Return True for a state dict with the names of PySlowFast's own networks."""
    return any(re.match(r"s\d+\.pathway\d", name) for name in state)


def rename_pyslowfast(
    state: Mapping[str, torch.Tensor], model: SlimmableNet
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Return a state dict with pytorchvideo's names in the place of PySlowFast's, and the foreign names.

    Foreign names are those that no SlowFast, ResNet or X3D of PySlowFast has.

    Args:
        state: state dict with PySlowFast's names.
        model: network that the weights are for; the places of its stages are read from it.
    """
    if isinstance(model, OwnNet):
        return {}, list(state)
    several = isinstance(model.blocks[0], MultiPathWayWithFuse)
    is_x3d = "s1.pathway0_stem.conv_xy.weight" in state
    stages = [index for index, block in enumerate(model.blocks) if several or isinstance(block, ResStage)]
    if several:
        stages = stages[1:-2]  # without stem, pooling and head
    own = set(model.state_dict())
    renamed, unknown = {}, []
    for name, value in state.items():
        layer, _, leaf = name.rpartition(".")
        new = None
        if match := re.fullmatch(r"s1\.pathway(\d)_stem\.(.+)", layer):
            inside = (_IN_X3D_STEM if is_x3d else _IN_STEM).get(match[2])
            new = inside and _in_pathway("blocks.0", match[1], inside, several)
        elif match := re.fullmatch(r"s(\d)\.pathway(\d)_res(\d+)\.(.+)", layer):
            inside = _IN_BLOCK.get(match[4])
            stage = int(match[1]) - 2
            if inside and 0 <= stage < len(stages):
                start = f"blocks.{stages[stage]}"
                new = _in_pathway(start, match[2], f"res_blocks.{match[3]}.{inside}", several)
                if match[4] == "branch2.b_bn" and f"{new}.0.{leaf}" in own:
                    new = f"{new}.0"  # before squeeze-and-excitation, see above
        elif match := re.fullmatch(r"s(\d)_fuse\.(.+)", layer):
            inside = _IN_FUSION.get(match[2])
            block = [0, *stages][int(match[1]) - 1] if int(match[1]) <= len(stages) else None
            if inside and block is not None:
                new = f"blocks.{block}.multipathway_fusion.{inside}"
        elif layer.startswith("head."):
            inside = _IN_HEAD.get(layer.removeprefix("head."))
            new = inside and f"blocks.{len(model.blocks) - 1}.{inside}"
        if new:
            renamed[f"{new}.{leaf}"] = value
        else:
            unknown.append(name)
    return renamed, unknown


def _in_pathway(block: str, pathway: str, inside: str, several: bool) -> str:
    return f"{block}.multipathway_blocks.{pathway}.{inside}" if several or pathway != "0" else f"{block}.{inside}"


def fold_shortcut_norms(state: dict[str, torch.Tensor], model: SlimmableNet) -> None:
    """Fold the batch norms on shortcuts that `state` has and the model has not into other layers, for evaluation.

    PySlowFast's X3D has one in its first stage, where the shortcut's convolution keeps the number of channels;
    pytorchvideo's has the convolution alone. Its scale goes into that convolution, its shift into the batch norm at the
    end of the other branch, which is added to it: the block's function in evaluation is the same, in any slice.
    """
    own = set(model.state_dict())
    for name in [name for name in state if name.endswith(".branch1_norm.running_var") and name not in own]:
        block = name.removesuffix(".branch1_norm.running_var")
        conv, shift = f"{block}.branch1_conv.weight", f"{block}.branch2.norm_c.bias"
        norm = {
            leaf: state.get(f"{block}.branch1_norm.{leaf}")
            for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        }
        weight, bias, mean, variance, _ = norm.values()
        if (
            weight is None
            or bias is None
            or mean is None
            or variance is None
            or conv not in state
            or shift not in state
            or state[conv].ndim != 5
            or any(value.shape != state[conv].shape[:1] for value in (weight, bias, mean, variance, state[shift]))
        ):
            continue  # the check of what fits names them
        scale_C = weight.double() * (variance.double() + 1e-5).rsqrt()
        state[shift] = (state[shift].double() + bias - mean * scale_C).to(state[shift].dtype)
        state[conv] = (state[conv].double() * scale_C[:, None, None, None, None]).to(state[conv].dtype)
        for leaf in norm:
            state.pop(f"{block}.branch1_norm.{leaf}", None)

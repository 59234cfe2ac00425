"""Networks of any structure made slimmable: a user's own, torchvision's (docs/OWN_NETWORK.md)."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Collection, Sequence

from pytorchvideo.models.net import Net
from torch import nn

from mutualnet3d.models.convert import convert, convert_blocks
from mutualnet3d.models.dry_run import dry_run
from mutualnet3d.models.network import OwnNet
from mutualnet3d.models.pooling import clip_pooling
from mutualnet3d.models.slimmable_net import SlimmableNet, SlimmableOwnNet
from mutualnet3d.ops import SlimBatchNorm3d, SlimConv3d, SlimLinear
from mutualnet3d.shapes import ClipShape, SubnetConfig

# Widths at which a new network is run, without arithmetic, and its layers are looked at.
_CHECKED_WIDTHS = (0.5, 0.3)


def make_slimmable(network: nn.Module, clip: ClipShape | Sequence[int], fixed: Collection[str] = ()) -> SlimmableNet:
    """Return a slimmable copy of a 3D convolutional network of any structure.

    Its state dict has the names of `network`, and at width 1 it computes the same. A run on a clip without arithmetic
    shows the flow of channels, so `network` may be any Python code over layers and operations of torch. Poolings whose
    kernel is larger than a small clip's map are clipped to it.

    Args:
        network: network that takes a clip (B, 3, T, H, W) and returns logits (B, K); it does not change.
        clip: frames and size of the full network's clips.
        fixed: names of layers, or of modules with all that is in them, that keep all their outputs at every width. Any
            operation is allowed in them; its inputs keep their channels too.

    Raises:
        ValueError: a layer or an operation cannot be followed, the network does not run on the clip or does not return
            logits (the message names the place and a way out), or no layer has a name of `fixed`.
    """
    if not isinstance(clip, ClipShape):
        clip = ClipShape(*clip)
    network = copy.deepcopy(network)
    _check_names(network, fixed)
    if isinstance(network, Net):
        blocks, flow = convert_blocks(network, clip)
        model = SlimmableNet(blocks, clip, flow=flow)
    else:
        clip_pooling(network)
        flow = convert(OwnNet(network), [clip], fixed)
        _check_norms(network)
        model = SlimmableOwnNet(network, clip, flow=flow)
    model.train(network.training)
    for width in _CHECKED_WIDTHS:
        _check_run(model, SubnetConfig(width, clip.size, clip.frames))
    model.min_frames = _fewest_frames(model)
    return model


def _check_names(network: nn.Module, fixed: Collection[str]) -> None:
    """Refuse names of no module.

    Args:
        network: network.
        fixed: names of modules.

    Raises:
        ValueError: no module has such a name; the message lists similar names.
    """
    names = [name for name, _ in network.named_modules() if name]
    if isinstance(fixed, str):
        raise ValueError(f"fixed is {fixed!r}; it must be a list of names, such as [{fixed!r}]")
    for name in fixed:
        if name not in names:
            similar = difflib.get_close_matches(str(name), names, n=3) or names[:5]
            raise ValueError(f"fixed: the network has no layer {name!r}; similar names: {', '.join(similar)}")


def _check_norms(network: nn.Module) -> None:
    """Refuse batch norms that track the statistics of all sub-networks together.

    Args:
        network: network.

    Raises:
        ValueError: there is such a batch norm; the message names it.
    """
    for name, module in network.named_modules():
        if (
            isinstance(module, nn.modules.batchnorm._BatchNorm)
            and not isinstance(module, SlimBatchNorm3d)
            and module.track_running_stats
        ):
            raise ValueError(
                f"cannot make {name} slimmable: a layer of type {type(module).__name__} has one set of statistics for "
                "all sub-networks; take a BatchNorm3d that every forward pass runs"
            )


def _check_run(model: SlimmableNet, config: SubnetConfig) -> None:
    """Compare the channels of every layer in a sub-network with those of the flow of channels.

    Args:
        model: slimmable network.
        config: sub-network.

    Raises:
        ValueError: they differ, or the sub-network does not run.
    """
    hint = "a number of channels that is written in the network's code? Take it from the tensor's shape"
    try:
        runs = dry_run(model, config)
    except (RuntimeError, ValueError) as error:
        cause = f"{' '.join(str(error).split()):.200} ({', '.join(getattr(error, '__notes__', []))})"
        raise ValueError(f"the network does not run at width {config.width}: {cause}. Is there {hint}") from error
    flow = model.channel_flow
    for run in runs:
        if not isinstance(run.layer, SlimConv3d | SlimLinear | SlimBatchNorm3d):
            continue
        axis = -1 if isinstance(run.layer, SlimLinear) else 1
        for runs_of_layer, shape, verb in (
            (flow.reads[run.name], run.input_shape, "reads"),
            (flow.gives[run.name], run.output_shape, "gives"),
        ):
            expected = sum(part.rule().at(config.width) for part in runs_of_layer)
            if shape[axis] != expected:
                raise ValueError(
                    f"cannot make {run.name} slimmable: at width {config.width} it {verb} {shape[axis]} channels, "
                    f"{expected} were expected. Is there {hint}"
                )


def _fewest_frames(model: SlimmableNet) -> int:
    """Return the frames of the shortest clip that the network runs on."""
    full = model.full_clip
    for frames in range(1, full.frames):
        try:
            dry_run(model, SubnetConfig(1.0, full.size, frames))
        except (RuntimeError, ValueError):
            continue
        return frames
    return full.frames

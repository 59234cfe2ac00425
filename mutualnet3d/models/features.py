"""Features of clips: the pooled vectors that a network's classifier reads, and the maps of its layers.

The classifier is the layer that gives the logits, a linear layer or a convolution; the flow of channels shows it. The
pooled vector is its input, averaged over all positions. For a linear layer, and for a convolution of one position whose
logits are averaged afterwards (S3D's), the classifier gives the logits from that vector.

Legend: B clips, C channels, K classes.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from mutualnet3d.models.dry_run import BATCH, dry_run, meta_clips, run_on_meta
from mutualnet3d.models.slimmable_base import SlimmableBase
from mutualnet3d.shapes import SubnetConfig

# Layers that an error lists.
_MOST_LISTED = 20


class FeatureNet(nn.Module):
    """Network that returns its pooled vectors beside its logits.

    Args:
        network: network that takes a list of clips and returns logits.
        classifier: name of the layer that gives the logits.

    Shape: a list of float tensors, one per pathway -> logits (B, K), pooled vectors (B, C).
    """

    def __init__(self, network: nn.Module, classifier: str):
        super().__init__()
        self.network, self.classifier = network, classifier

    def forward(self, clips: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits (B, K) and the pooled vectors (B, C)."""
        classifier = self.network.get_submodule(self.classifier)
        with _captured(classifier, takes_input=True) as values:
            logits_BK = self.network(clips)
        return logits_BK, _mean_over_positions(classifier, _single(values, self.classifier))


def classifier_name(model: SlimmableBase) -> str:
    """Return the name of the layer that gives a network's logits.

    Args:
        model: slimmable network.

    Raises:
        ValueError: there are several, or none.
    """
    names = model.channel_flow.classifiers()
    if len(names) != 1:
        reason = f"{', '.join(names)} give its logits together" if names else "no layer of it is known to give logits"
        raise ValueError(
            f"the network has no pooled vector, the input of one last layer: {reason}; ask for the map of a layer"
        )
    return names[0]


def pooled_vectors(model: SlimmableBase, clips: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the pooled vectors (B, C) of clips, by the sub-network that is active now.

    Args:
        model: network whose lock the caller holds.
        clips: float clips (B, 3, T, H, W), one tensor for each pathway.

    Raises:
        ValueError: several layers give the logits, or none.
    """
    return FeatureNet(model, classifier_name(model))(clips)[1]


def vector_length(model: SlimmableBase, config: SubnetConfig) -> int:
    """Return the length of the pooled vectors of `config`.

    Args:
        model: slimmable network.
        config: sub-network.

    Raises:
        ValueError: several layers give the logits, or none.
    """
    name = classifier_name(model)
    (shape,) = (run.input_shape for run in dry_run(model, config) if run.name == name)
    return shape[-1] if isinstance(model.get_submodule(name), nn.Linear) else shape[1]


def layer_maps(model: SlimmableBase, clips: Sequence[torch.Tensor], layer: str) -> torch.Tensor:
    """Return the output (B, ...) of a layer, by the sub-network that is active now.

    Args:
        model: network whose lock the caller holds.
        clips: float clips (B, 3, T, H, W), one tensor for each pathway.
        layer: name of a layer, one of `map_shapes`.
    """
    with _captured(model.get_submodule(layer), takes_input=False) as values:
        model(clips)
    return _single(values, layer)


def map_shapes(model: SlimmableBase, config: SubnetConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of the map that each layer of `config` gives of a clip, by the layer's name.

    The layers are in the order in which they end. Layers that give several tensors, or run several times, are left out.
    """
    names = {layer: name for name, layer in model.named_modules() if name}
    shapes: dict[str, tuple[int, ...]] = {}
    counts: Counter[str] = Counter()

    def record(layer: nn.Module, args: Any, kwargs: Any, output: object) -> None:
        counts[names[layer]] += 1
        if isinstance(output, torch.Tensor) and output.ndim > 1 and len(output) == BATCH:
            shapes[names[layer]] = tuple(output.shape[1:])

    with torch.no_grad():
        run_on_meta(model, config, meta_clips(model, config), names, record)
    return {name: shape for name, shape in shapes.items() if counts[name] == 1}


def check_layer(model: SlimmableBase, config: SubnetConfig, layer: str) -> None:
    """Refuse the name of a layer that gives no map.

    Args:
        model: slimmable network.
        config: sub-network.
        layer: name of the layer.

    Raises:
        ValueError: no layer has the name, or the layer gives no map; the message lists similar names and the outermost
            layers.
    """
    shapes = map_shapes(model, config)
    if layer in shapes:
        return
    similar = ", ".join(difflib.get_close_matches(layer, shapes, n=3))
    outermost = sorted(shapes, key=lambda name: name.count("."))[:_MOST_LISTED]
    listed = ", ".join(f"{name} ({' x '.join(map(str, shapes[name]))})" for name in shapes if name in outermost)
    more = len(shapes) - len(outermost)
    raise ValueError(
        f"the network has no layer {layer!r} that gives one map of a clip; "
        f"{f'similar names: {similar}; ' if similar else ''}layers of {config}: {listed}"
        f"{f' and {more} inside these' if more else ''}"
    )


@contextmanager
def _captured(layer: nn.Module, takes_input: bool) -> Iterator[list[torch.Tensor]]:
    """Yield a list that fills with a layer's inputs, or outputs, in the forward passes inside the context."""
    values: list[torch.Tensor] = []

    def take_input(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        values.append(args[0])

    def take_output(_: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        values.append(output.detach().clone())  # the next layer may write into it

    hook = layer.register_forward_pre_hook(take_input) if takes_input else layer.register_forward_hook(take_output)
    try:
        yield values
    finally:
        hook.remove()


def _single(values: Sequence[torch.Tensor], layer: str) -> torch.Tensor:
    if len(values) != 1:
        raise ValueError(f"layer {layer} runs {len(values)} times in a forward pass; its features are not one vector")
    return values[0]


def _mean_over_positions(classifier: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return the mean (B, C) of a classifier's input over its positions."""
    channel = x.ndim - 1 if isinstance(classifier, nn.Linear) else 1
    positions = [axis for axis in range(1, x.ndim) if axis != channel]
    return x.mean(dim=positions) if positions else x

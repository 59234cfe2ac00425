"""The shapes that a sub-network's layers see, without any arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import nn
from torch.func import functional_call

from mutualnet3d.models.meta_device import ShapesAlone
from mutualnet3d.models.slimmable_base import SlimmableBase
from mutualnet3d.ops import SlimBatchNorm3d
from mutualnet3d.shapes import SubnetConfig

BATCH = 2  # batch norm in training refuses a single value per channel

# Function that is called after a layer has run: (layer, its arguments, its keyword arguments, its output).
AfterLayer: TypeAlias = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]


class LayerRun(NamedTuple):
    """Run of a layer: its name, and the shapes of its input and output, for a batch of `BATCH` clips."""

    name: str
    layer: nn.Module
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


def dry_run(model: SlimmableBase, config: SubnetConfig) -> list[LayerRun]:
    """Return every layer with channels, in the order in which `config` runs them.

    The run is on torch's meta device: no statistics are needed and none are written.
    """
    names = {layer: name for name, layer in model.named_modules()}
    runs: list[LayerRun] = []

    def record(layer: nn.Module, args: tuple[torch.Tensor, ...], _: dict[str, Any], y: torch.Tensor) -> None:
        runs.append(LayerRun(names[layer], layer, tuple(args[0].shape), tuple(y.shape)))

    recorded = (nn.modules.conv._ConvNd, nn.Linear, SlimBatchNorm3d)  # the slimmable ones among them
    layers = [layer for layer in names if isinstance(layer, recorded)]
    clips = meta_clips(model, config)
    try:
        with torch.no_grad():
            run_on_meta(model, config, clips, layers, record)
    except (RuntimeError, ValueError) as error:
        error.add_note(f"after layer {runs[-1].name}" if runs else "in the first layer")
        raise
    return runs


def meta_clips(model: SlimmableBase, config: SubnetConfig) -> list[torch.Tensor]:
    """Return clips of `config` on torch's meta device, a batch of `BATCH` for each pathway."""
    dtype = next(model.parameters()).dtype
    return [
        torch.empty(BATCH, 3, shape.frames, shape.size, shape.size, dtype=dtype, device="meta")
        for shape in model.input_shapes(config)
    ]


def run_on_meta(
    model: SlimmableBase,
    config: SubnetConfig,
    clips: Sequence[torch.Tensor],
    layers: Iterable[nn.Module],
    after_layer: AfterLayer,
) -> torch.Tensor:
    """Return the logits of a run on torch's meta device, where there is no arithmetic.

    Args:
        model: the network; it stays as it is.
        config: sub-network that runs.
        clips: result of `meta_clips`.
        layers: layers after which `after_layer` is called.
        after_layer: function that records a layer.
    """
    with model.lock:  # its layers have hooks meanwhile, and it is in training mode
        hooks = [layer.register_forward_hook(after_layer, with_kwargs=True) for layer in layers]
        weights = {
            name: value.detach().to("meta") for name, value in [*model.named_parameters(), *model.named_buffers()]
        }
        was_training = model.training
        try:
            # In training no statistics are read, and in `active` none are written.
            model.train()
            with model.active(config), ShapesAlone():
                logits_BK: torch.Tensor = functional_call(model, weights, (clips,))
        finally:
            model.train(was_training)
            for hook in hooks:
                hook.remove()
    return logits_BK

"""The shapes that a sub-network's layers see, without any arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.func import functional_call

from mutualnet3d.models.slimmable_base import SlimmableBase
from mutualnet3d.ops import SlimBatchNorm3d
from mutualnet3d.shapes import SubnetConfig

BATCH = 2  # batch norm in training refuses a single value per channel


class LayerRun(NamedTuple):
    """One layer of a run: its name, and the shapes of its input and output, for a batch of `BATCH` clips."""

    name: str
    layer: nn.Module
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


def dry_run(model: SlimmableBase, config: SubnetConfig) -> list[LayerRun]:
    """Return every layer with channels, in the order in which `config` runs them.

    On torch's meta device: no statistics are needed and none are written.
    """
    names = {layer: name for name, layer in model.named_modules()}
    runs: list[LayerRun] = []

    def record(layer: nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any], y: torch.Tensor) -> None:
        runs.append(LayerRun(names[layer], layer, tuple(args[0].shape), tuple(y.shape)))

    recorded = (nn.modules.conv._ConvNd, nn.Linear, SlimBatchNorm3d)  # the slimmable ones among them
    try:
        run_with_hook(model, config, record, [layer for layer in names if isinstance(layer, recorded)])
    except (RuntimeError, ValueError) as error:
        error.add_note(f"after layer {runs[-1].name}" if runs else "in the first layer")
        raise
    return runs


def run_with_hook(
    model: SlimmableBase, config: SubnetConfig, hook: Callable[..., None], layers: Iterable[nn.Module]
) -> None:
    """Run `config` on a batch of `BATCH` clips without arithmetic.

    Args:
        model: the network.
        config: sub-network.
        hook: (layer, arguments, named arguments, output), called after a layer has run.
        layers: layers that it is called for.
    """
    with model.lock:  # its layers have hooks meanwhile, and it is in training mode
        hooks = [layer.register_forward_hook(hook, with_kwargs=True) for layer in layers]
        weights = {name: value.to("meta") for name, value in [*model.named_parameters(), *model.named_buffers()]}
        dtype = next(model.parameters()).dtype
        was_training = model.training
        try:
            clips = [
                torch.empty(BATCH, 3, shape.frames, shape.size, shape.size, dtype=dtype, device="meta")
                for shape in model.input_shapes(config)
            ]
            # In training no statistics are read, and in `active` none are written.
            model.train()
            with torch.no_grad(), model.active(config):
                functional_call(model, weights, (clips,))
        finally:
            model.train(was_training)
            for handle in hooks:
                handle.remove()

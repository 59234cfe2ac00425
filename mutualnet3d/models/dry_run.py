"""The shapes that a sub-network's layers see, without any arithmetic."""

from __future__ import annotations

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
    with model.lock:  # its layers have hooks meanwhile, and it is in training mode
        return _dry_run(model, config)


def _dry_run(model: SlimmableBase, config: SubnetConfig) -> list[LayerRun]:
    names = {layer: name for name, layer in model.named_modules()}
    runs: list[LayerRun] = []

    def record(layer: nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any], y: torch.Tensor) -> None:
        runs.append(LayerRun(names[layer], layer, tuple(args[0].shape), tuple(y.shape)))

    recorded = (nn.modules.conv._ConvNd, nn.Linear, SlimBatchNorm3d)  # the slimmable ones among them
    hooks = [layer.register_forward_hook(record, with_kwargs=True) for layer in names if isinstance(layer, recorded)]
    weights = {name: value.to("meta") for name, value in [*model.named_parameters(), *model.named_buffers()]}
    dtype = next(model.parameters()).dtype
    clips = [
        torch.empty(BATCH, 3, shape.frames, shape.size, shape.size, dtype=dtype, device="meta")
        for shape in model.input_shapes(config)
    ]
    was_training = model.training
    try:
        # In training no statistics are read, and in `active` none are written.
        model.train()
        with torch.no_grad(), model.active(config):
            functional_call(model, weights, (clips,))
    except (RuntimeError, ValueError) as error:
        error.add_note(f"after layer {runs[-1].name}" if runs else "in the first layer")
        raise
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return runs

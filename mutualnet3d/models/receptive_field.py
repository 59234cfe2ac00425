"""Centres of the receptive fields of a feature map, in the clip that it was made of: arithmetic only.

A convolution of stride 2 with a padding of 1 centres its output i on its input 2 i. After five of them the first place
of the map is therefore centred on the clip's first pixel, not on the middle of the first 32 pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Triple = tuple[float, float, float]
# Layers that may move a feature map's places.
MOVING = (nn.Conv3d, nn.MaxPool3d, nn.AvgPool3d)


@dataclass(frozen=True)
class FieldCentres:
    """Centres of the places of a feature map: place i of an axis is centred on `start + step * i` of the clip.

    Args:
        start: centre of the first place on each axis (T, H, W), frames or pixels from the first one's.
        step: distance between centres on each axis.
        clip: frames, height and width of the clip.
    """

    start: Triple
    step: Triple
    clip: tuple[int, int, int]


def field_centres(
    runs: Iterable[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]], clip: tuple[int, int, int]
) -> FieldCentres:
    """Return the centres after some layers.

    Args:
        runs: layers of `MOVING` in the order in which they ran, with the (T, H, W) of input and output. Of parallel
            layers, which change a length in the same way, the first counts.
        clip: (T, H, W) of the clip.
    """
    start, step = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]
    changes = set()
    for layer, input_THW, output_THW in runs:
        for axis in range(3):
            change = axis, input_THW[axis], output_THW[axis]
            if change in changes or change[1] == change[2]:
                continue
            changes.add(change)
            reach = _on_axis(getattr(layer, "dilation", 1), axis) * (_on_axis(layer.kernel_size, axis) - 1)
            start[axis] += step[axis] * (reach / 2 - _padding(layer, axis, reach))
            step[axis] *= _on_axis(layer.stride, axis)
    return FieldCentres((start[0], start[1], start[2]), (step[0], step[1], step[2]), clip)


def _on_axis(value: Any, axis: int) -> int:
    return int(value if isinstance(value, int) else value[axis])


def _padding(layer: nn.Module, axis: int, reach: int) -> float:
    padding: Any = layer.padding
    if isinstance(padding, str):
        return reach / 2 if padding == "same" else 0.0
    return _on_axis(padding, axis)


def resample_map(map_THW: torch.Tensor, centres: FieldCentres, frames: int, size: int) -> torch.Tensor:
    """Return a map (frames, size, size) with a value in [0, 1] for each pixel of a clip.

    The largest value is 1, unless all are 0.

    Args:
        map_THW: feature map of one channel, at least 0.
        centres: centres of its places.
        frames: frames of the clip, which shows the same as `centres.clip`.
        size: height and width of the clip, pixels.
    """
    num_frames, height, width = centres.clip
    places = (
        torch.linspace(0, num_frames - 1, frames),
        (torch.arange(size) + 0.5) * (height / size) - 0.5,
        (torch.arange(size) + 0.5) * (width / size) - 0.5,
    )
    weights = [
        _weights(map_THW.shape[axis], (places[axis] - centres.start[axis]) / centres.step[axis]).to(map_THW.device)
        for axis in range(3)
    ]
    resampled = torch.einsum("at,bh,cw,thw->abc", *weights, map_THW.float())
    largest = resampled.max()
    return (resampled / largest if largest > 0 else resampled).clamp(0.0, 1.0)


def _weights(number: int, place_N: torch.Tensor) -> torch.Tensor:
    """Return the weights (N, number) of linear interpolation at places that count from the first of `number`."""
    distances = place_N.clamp(0, number - 1)[:, None] - torch.arange(number)
    return (1 - distances.abs()).clamp(min=0)

"""Pooling whose kernel may be larger than the map, so that networks made for one clip shape take smaller clips."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


class ClippedAvgPool3d(nn.AvgPool3d):
    """AvgPool3d whose kernel is at most as large as the map; it equals `torch.nn.AvgPool3d` wherever that runs.

    Shape: (B, C, T, H, W) -> (B, C, T', H', W'), each of T', H', W' at least 1.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool with the clipped kernel."""
        kernel = _clipped(self.kernel_size, x, (0, 0, 0))  # torch takes none that is larger, however it is padded
        padding = tuple(min(pad, length // 2) for pad, length in zip(_triple(self.padding), kernel, strict=True))
        return F.avg_pool3d(
            x, kernel, self.stride, padding, self.ceil_mode, self.count_include_pad, self.divisor_override
        )


class ClippedMaxPool3d(nn.MaxPool3d):
    """MaxPool3d whose kernel is at most as large as the padded map; it equals `torch.nn.MaxPool3d` wherever that runs.

    Shape: (B, C, T, H, W) -> (B, C, T', H', W'), each of T', H', W' at least 1.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool with the clipped kernel."""
        padding, dilation = _triple(self.padding), _triple(self.dilation)
        kernel = _clipped(self.kernel_size, x, padding, dilation)
        return F.max_pool3d(  # type: ignore[call-overload]
            x, kernel, self.stride, padding, dilation, self.ceil_mode, self.return_indices
        )


def clip_pooling(network: nn.Module) -> None:
    """Replace, in place, the poolings of torch in `network` by those that take maps of any size."""
    for parent in network.modules():
        for name, child in parent.named_children():
            if type(child) is nn.AvgPool3d:
                setattr(parent, name, _of_kind(ClippedAvgPool3d, child))
            elif type(child) is nn.MaxPool3d:
                setattr(parent, name, _of_kind(ClippedMaxPool3d, child))


def _of_kind(kind: type[nn.Module], layer: nn.Module) -> nn.Module:
    """Return a layer of `kind` with the settings of `layer`."""
    new = kind.__new__(kind)
    new.__dict__.update(layer.__dict__)
    return new


def _triple(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) * 3 if isinstance(value, int) else tuple(value)


def _clipped(
    kernel: int | Sequence[int], x: torch.Tensor, padding: Sequence[int], dilation: Sequence[int] = (1, 1, 1)
) -> tuple[int, ...]:
    """Return the kernel, at most as large as the padded (T, H, W) of `x`."""
    return tuple(
        min(length, (extent + 2 * pad - 1) // step + 1)
        for length, extent, pad, step in zip(_triple(kernel), x.shape[-3:], padding, dilation, strict=True)
    )

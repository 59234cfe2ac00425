"""Slimmable batch norm."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import distributed as dist
from torch import nn

from mutualnet3d.ops import triton_norm, triton_switch
from mutualnet3d.ops.batch_statistics import BatchStatistics, local_statistics
from mutualnet3d.ops.sync_norm import synced_batch_norm
from mutualnet3d.ops.width import WidthRule, select_columns


class SlimBatchNorm3d(nn.BatchNorm3d):
    """BatchNorm3d for any leading part of its channels; their number is read from the tensor.

    By itself it is `torch.nn.BatchNorm3d`, tracked statistics included. Inside a sub-network (`in_subnet`) it
    normalises with batch statistics in training, leaving the tracked ones as they are, and in evaluation with
    `statistics`, the (mean, variance) of that sub-network, float tensors of the sub-network's channels. With
    `batch_statistics` set it normalises with the batch's own in either mode and adds them to it: calibration.

    With `sync_group` set, training's batch is the joined batch of the group's processes, tracked statistics included;
    all of them then call the layer together, with inputs of one shape. Evaluation and calibration never communicate. A
    copy of the layer, deep or pickled, is of no group.

    With `frozen` set, the full network (`in_full`) trains with the tracked statistics, which stay as they are.

    Where `fuses` says so, training takes Triton's kernels, and `fused` computes what follows the norm along with it.

    Attributes:
        in_rules: channels of each part of a concatenated input at every width; None: one part that slims.
        in_widths: channels of each part in the present sub-network; None: a prefix of the layer's channels.
    """

    frozen: bool = False
    in_full: bool = True
    sync_group: dist.ProcessGroup | None = None
    in_subnet: bool = False
    statistics: tuple[torch.Tensor, torch.Tensor] | None = None
    batch_statistics: BatchStatistics | None = None
    in_rules: tuple[WidthRule, ...] | None = None
    in_widths: tuple[int, ...] | None = None

    @classmethod
    def from_norm(cls, norm: nn.BatchNorm3d) -> SlimBatchNorm3d:
        """Return the slimmable layer of an ordinary one; they share parameters and buffers."""
        slim = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, device="meta")
        slim.weight, slim.bias = norm.weight, norm.bias
        slim.running_mean, slim.running_var = norm.running_mean, norm.running_var
        slim.num_batches_tracked = norm.num_batches_tracked
        return slim

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "sync_group"}  # it cannot be copied

    @property
    def rules(self) -> tuple[WidthRule, ...]:
        """Channels of each part of the input at every width."""
        return self.in_rules or (WidthRule(self.num_features),)

    def sliced(self, channels: int) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Return scale and shift for an input of `channels` channels, views of the parameters.

        Both are None for a layer without them.
        """
        if not self.affine:
            return None, None
        if self.in_widths is None:
            return self.weight[:channels], self.bias[:channels]
        parts = tuple(rule.full for rule in self.rules)
        weight, bias = (
            select_columns(value, parts, channels, self.in_widths, dim=0) for value in (self.weight, self.bias)
        )
        return weight, bias

    def fuses(self, x: torch.Tensor) -> bool:
        """Return whether `fused` may stand for a forward pass of x.

        It may in training by the statistics of this process's batch alone, with kernels that are on and take x.
        """
        if not (triton_switch.is_on() and self.training) or self.batch_statistics is not None:
            return False
        if self.frozen and self.in_full:
            return False
        channels = x.shape[1]
        if self.in_subnet:
            fits = channels <= self.num_features
        else:  # without a momentum the host waits for the number of batches
            fits = channels == self.num_features and self.momentum is not None
        return fits and self._group(x) is None and triton_norm.takes(x, self.weight, self.bias)

    def fused(
        self,
        x: torch.Tensor,
        activation: str = "none",
        shortcut: torch.Tensor | None = None,
        gate: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Return activation(norm(x) + shortcut), or with a gate activation(gate(mean of norm(x)) * norm(x)).

        Args:
            x: features that `fuses` accepts.
            activation: a name of `triton_norm.ACTIVATIONS`.
            shortcut: features like x, or None.
            gate: see `triton_norm.normalize_gate_activate`; or None. There is a shortcut or a gate, not both.
        """
        assert shortcut is None or gate is None
        weight, bias = self.sliced(x.shape[1])
        assert weight is not None
        assert bias is not None
        tracking = None
        if not self.in_subnet and self.track_running_stats and self.running_mean is not None:
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.num_batches_tracked.add_(1)
            tracking = triton_norm.Tracking(self.running_mean, self.running_var, self.momentum)
        if gate is not None:
            return triton_norm.normalize_gate_activate(x, weight, bias, self.eps, gate, activation, tracking)
        return triton_norm.normalize_activate(x, weight, bias, self.eps, activation, shortcut, tracking)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise with the statistics of the present mode; the class describes them."""
        if self.fuses(x):
            return self.fused(x)
        if self.frozen and self.in_full and self.training and self.batch_statistics is None:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        group = self._group(x)
        if not self.in_subnet and self.batch_statistics is None and group is None:
            return super().forward(x)
        channels = x.shape[1]
        if channels > self.num_features:
            raise ValueError(f"input has {channels} channels; this batch norm has {self.num_features}")
        weight, bias = self.sliced(channels)
        if self.batch_statistics is not None:
            mean_C, variance_C = local_statistics(x)
            self.batch_statistics.add(mean_C, variance_C, x.numel() // channels)
            return F.batch_norm(x, mean_C, variance_C, weight, bias, False, 0.0, self.eps)
        if group is not None:
            self._check_input_dim(x)
            y, mean_C, variance_C = synced_batch_norm(x, weight, bias, self.eps, group)
            if not self.in_subnet:
                self._track(mean_C, variance_C, x.numel() // channels * dist.get_world_size(group))
            return y
        if self.training:
            return F.batch_norm(x, None, None, weight, bias, True, 0.0, self.eps)
        if self.statistics is None:
            raise ValueError("this batch norm has no statistics for the active sub-network: calibrate it first")
        return F.batch_norm(x, *self.statistics, weight, bias, False, 0.0, self.eps)

    def _group(self, x: torch.Tensor) -> dist.ProcessGroup | None:
        """Return the processes that share this forward's statistics; None for this process alone."""
        if self.sync_group is None or not self.training or self.batch_statistics is not None:
            return None
        if x.is_meta:  # a dry run: one process alone may ask for shapes
            return None
        return self.sync_group if dist.get_world_size(self.sync_group) > 1 else None

    def _track(self, mean_C: torch.Tensor, variance_C: torch.Tensor, count: int) -> None:
        """Update the tracked statistics as BatchNorm3d does, from a batch's mean and biased variance over `count`."""
        if not self.track_running_stats or self.running_mean is None:
            return
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        # A tensor: BatchNorm3d makes it a number, and the GPU's host has to wait for that.
        factor = self.num_batches_tracked.to(mean_C.dtype).reciprocal() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_C, factor)
        self.running_var.lerp_(variance_C * (count / (count - 1)), factor)

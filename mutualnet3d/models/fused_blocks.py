"""pytorchvideo's blocks, each norm computed together with what follows it by Triton's kernels.

What follows is an activation, squeeze-and-excitation, or a block's last sum. While the kernels are off
(`ops.triton_switch`), and for features and layers that they are not for, these are pytorchvideo's own blocks. They have
its parameters and names.
"""

from __future__ import annotations

import operator

import torch
from pytorchvideo.models.resnet import BottleneckBlock, ResBlock, _trivial_sum
from pytorchvideo.models.stem import ResNetBasicStem
from pytorchvideo.models.x3d import ProjectedPool
from torch import nn

from mutualnet3d.ops import SlimBatchNorm3d, SlimSqueezeExcitation, triton_switch

_ACTIVATIONS: dict[type, str] = {type(None): "none", nn.Identity: "none", nn.ReLU: "relu", nn.SiLU: "swish"}
_SUMS = (operator.add, _trivial_sum)


def normalize_activate(norm: nn.Module | None, activation: nn.Module | None, x: torch.Tensor) -> torch.Tensor:
    """Return activation(norm(x)); the norm may be followed by squeeze-and-excitation in a Sequential."""
    y = _fused(norm, activation, x)
    if y is not None:
        return y
    y = x if norm is None else norm(x)
    return y if activation is None else activation(y)


def _fused(
    norm: nn.Module | None, activation: nn.Module | None, x: torch.Tensor, shortcut: torch.Tensor | None = None
) -> torch.Tensor | None:
    """Return activation(norm(x) + shortcut) of one call; None if these layers are to be called in turn.

    Those are layers of other types, layers with hooks, and such as `SlimBatchNorm3d.fuses` declines.
    """
    layers = list(norm) if type(norm) is nn.Sequential else [norm]
    if not triton_switch.is_on() or any(map(_has_hooks, (norm, activation, *layers))):
        return None
    batch_norm, *rest = (layer for layer in layers if type(layer) is not nn.Identity)
    name = _ACTIVATIONS.get(type(activation))
    if name is None or type(batch_norm) is not SlimBatchNorm3d or not batch_norm.fuses(x):
        return None
    if shortcut is not None and (shortcut.shape, shortcut.dtype) != (x.shape, x.dtype):
        return None
    if not rest:
        return batch_norm.fused(x, name, shortcut)
    if len(rest) > 1 or type(rest[0]) is not SlimSqueezeExcitation or shortcut is not None:
        return None
    return batch_norm.fused(x, name, gate=rest[0].factors)


def _has_hooks(layer: nn.Module | None) -> bool:
    return layer is not None and bool(
        layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    )


class FusedBottleneck(BottleneckBlock):
    """BottleneckBlock of fused norms."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        if not triton_switch.is_on():
            return super().forward(x)
        return normalize_activate(self.norm_c, None, self.before_last_norm(x))

    def before_last_norm(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output of the last convolution."""
        x = normalize_activate(self.norm_a, self.act_a, self.conv_a(x))
        x = normalize_activate(self.norm_b, self.act_b, self.conv_b(x))
        return self.conv_c(x)


class FusedResBlock(ResBlock):
    """ResBlock whose last norm, sum and activation are one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        branch = self.branch2
        if not triton_switch.is_on() or type(branch) is not FusedBottleneck or _has_hooks(branch):
            return super().forward(x)
        shortcut = x
        if self.branch1_conv is not None:
            shortcut = normalize_activate(self.branch1_norm, None, self.branch1_conv(x))
        x = branch.before_last_norm(x)
        if self.branch_fusion in _SUMS and type(self.activation) is not nn.SiLU:
            y = _fused(branch.norm_c, self.activation, x, shortcut)
            if y is not None:
                return y
        x = self.branch_fusion(shortcut, normalize_activate(branch.norm_c, None, x))
        return x if self.activation is None else self.activation(x)


class FusedStem(ResNetBasicStem):
    """ResNetBasicStem of a fused norm."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        x = normalize_activate(self.norm, self.activation, self.conv(x))
        return x if self.pool is None else self.pool(x)


class FusedProjectedPool(ProjectedPool):
    """ProjectedPool, X3D's last layers before the classifier, of fused norms."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        x = self.pool(normalize_activate(self.pre_norm, self.pre_act, self.pre_conv(x)))
        return normalize_activate(self.post_norm, self.post_act, self.post_conv(x))


_FUSED: dict[type[nn.Module], type[nn.Module]] = {
    BottleneckBlock: FusedBottleneck,
    ResBlock: FusedResBlock,
    ResNetBasicStem: FusedStem,
    ProjectedPool: FusedProjectedPool,
}


def fuse_blocks(network: nn.Module) -> None:
    """Make pytorchvideo's blocks in `network` fused ones."""
    for module in network.modules():
        # Not by a constructor: pytorchvideo's set the class of what they make.
        module.__class__ = _FUSED.get(type(module), type(module))

"""Slimmable 3D convolution: dense, grouped and depthwise, over one input or a concatenation of several."""

from __future__ import annotations

import torch
from torch import nn

from mutualnet3d.ops.kernels import conv3d
from mutualnet3d.ops.width import WidthRule, check_parts, first_slims, select_columns


class SlimConv3d(nn.Conv3d):
    """Conv3d whose leading channels make a smaller Conv3d of the same weights.

    The input width is read from the tensor; the output width, `out_width`, is the layer's state. A grouped convolution
    (depthwise included) keeps whole groups, and its output channels follow from the groups of its input.

    Args:
        *args: arguments of `torch.nn.Conv3d`, in its order.
        in_parts: full channels of each part of a concatenated input; the first part slims, the others come whole,
            unless `in_rules` says otherwise. Default: one part.
        slim_output: False for a layer that keeps all its outputs at every width (a classifier, X3D's last convolution).
        **kwargs: arguments of `torch.nn.Conv3d`, by name.

    Attributes:
        in_rules: channels of each part at every width.
        out_rule: channels of the output at every width.
        in_widths: channels of each part in the present sub-network; None where the input's number of channels
            determines them.

    Shape: (B, C_in, T, H, W) -> (B, C_out, T', H', W'), C_in any width that the parts allow.

    Raises:
        ValueError: at construction, a padding mode other than zeros, parts that do not make up the input, or parts of a
            grouped convolution; in forward, an input with channels that the layer cannot meet.
    """

    def __init__(
        self, *args: object, in_parts: tuple[int, ...] | None = None, slim_output: bool = True, **kwargs: object
    ):
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        if self.padding_mode != "zeros":
            raise ValueError(f"SlimConv3d: padding_mode must be 'zeros', got {self.padding_mode!r}")
        self.in_parts = in_parts or (self.in_channels,)
        check_parts(self.in_parts, self.in_channels)
        self._is_depthwise = 1 < self.groups == self.in_channels == self.out_channels
        if self.groups > 1 and len(self.in_parts) > 1 and not self._is_depthwise:
            raise ValueError(f"SlimConv3d: a convolution of {self.groups} groups takes one input part, got {in_parts}")
        self.slim_output = slim_output
        self.out_width = self.out_channels
        self.in_rules = first_slims(self.in_parts)
        self.out_rule = WidthRule(self.out_channels, slim_output)
        self.in_widths: tuple[int, ...] | None = None

    @classmethod
    def from_conv(
        cls, conv: nn.Conv3d, in_parts: tuple[int, ...] | None = None, slim_output: bool = True
    ) -> SlimConv3d:
        """Return the slimmable layer of an ordinary one; they share their parameters."""
        slim = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            stride=conv.stride,
            padding=conv.padding,
            dilation=conv.dilation,
            groups=conv.groups,
            bias=conv.bias is not None,
            padding_mode=conv.padding_mode,
            device="meta",
            in_parts=in_parts,
            slim_output=slim_output,
        )
        slim.weight, slim.bias = conv.weight, conv.bias
        return slim

    def sliced(self, in_width: int, out_width: int) -> tuple[torch.Tensor, torch.Tensor | None, int]:
        """Return weight, bias and groups of the convolution from `in_width` to `out_width` channels.

        A grouped convolution maps to as many whole groups as came in. The tensors are views of the parameters, or the
        parameters themselves at full width.
        """
        weight, groups = self.weight, self.groups
        if self._is_depthwise and len(self.in_parts) > 1:
            weight = select_columns(weight, self.in_parts, in_width, self.in_widths, dim=0)
            bias = self.bias
            if bias is not None:
                bias = select_columns(bias, self.in_parts, in_width, self.in_widths, dim=0)
            return weight, bias, in_width
        if groups > 1:
            in_per_group, out_per_group = self.in_channels // groups, self.out_channels // groups
            if in_width % in_per_group or not 0 < in_width <= self.in_channels:
                raise ValueError(
                    f"input has {in_width} channels; a convolution of {groups} groups takes 1 to {groups} whole groups "
                    f"of {in_per_group}"
                )
            groups = in_width // in_per_group
            out_width = groups * out_per_group
        else:
            weight = select_columns(weight, self.in_parts, in_width, self.in_widths)
        if out_width != self.out_channels:
            weight = weight[:out_width]
        bias = self.bias if self.bias is None or out_width == self.out_channels else self.bias[:out_width]
        return weight, bias, groups

    def forward(self, x: torch.Tensor, out_width: int | None = None) -> torch.Tensor:
        """Slice and convolve; `out_width` overrides the layer's own for this call."""
        weight, bias, groups = self.sliced(x.shape[1], self.out_width if out_width is None else out_width)
        return conv3d(x, weight, bias, self.stride, self.padding, self.dilation, groups, self.training)

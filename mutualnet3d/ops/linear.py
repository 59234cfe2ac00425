"""Slimmable linear layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from mutualnet3d.ops.width import WidthRule, check_parts, first_slims, select_columns


class SlimLinear(nn.Linear):
    """Linear layer whose leading features make a smaller Linear of the same weights.

    The input width is read from the tensor; the output width, `out_width`, is the layer's state.

    Args:
        *args: arguments of `torch.nn.Linear`, in its order.
        in_parts: full features of each part of a concatenated input; the first slims, the others come whole, unless
            `in_rules` says otherwise.
        slim_output: False for a layer that keeps all its outputs at every width, as classifiers do.
        **kwargs: arguments of `torch.nn.Linear`, by name.

    The attributes `in_rules`, `out_rule` and `in_widths` are those of `SlimConv3d`.

    Shape: (..., F_in) -> (..., F_out), F_in any width that the parts allow (else a ValueError).
    """

    def __init__(
        self, *args: object, in_parts: tuple[int, ...] | None = None, slim_output: bool = True, **kwargs: object
    ):
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.in_parts = in_parts or (self.in_features,)
        check_parts(self.in_parts, self.in_features)
        self.slim_output = slim_output
        self.out_width = self.out_features
        self.in_rules = first_slims(self.in_parts)
        self.out_rule = WidthRule(self.out_features, slim_output)
        self.in_widths: tuple[int, ...] | None = None

    @classmethod
    def from_linear(
        cls, linear: nn.Linear, in_parts: tuple[int, ...] | None = None, slim_output: bool = True
    ) -> SlimLinear:
        """Return the slimmable layer of an ordinary one; they share their parameters."""
        slim = cls(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            device="meta",
            in_parts=in_parts,
            slim_output=slim_output,
        )
        slim.weight, slim.bias = linear.weight, linear.bias
        return slim

    def sliced(self, in_width: int, out_width: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return weight and bias of the layer that maps `in_width` features to `out_width`; views of the parameters."""
        weight = select_columns(self.weight, self.in_parts, in_width, self.in_widths)
        if out_width == self.out_features:
            return weight, self.bias
        return weight[:out_width], None if self.bias is None else self.bias[:out_width]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Slice the parameters by the input's width and `out_width`, and multiply."""
        return F.linear(x, *self.sliced(x.shape[-1], self.out_width))

"""Slimmable squeeze-and-excitation."""

from __future__ import annotations

import torch
from fvcore.nn.squeeze_excitation import SqueezeExcitation
from torch import nn

from mutualnet3d.ops.conv import SlimConv3d


class SlimSqueezeExcitation(nn.Module):
    """Squeeze-and-excitation (Hu et al., arXiv 1709.01507) for any leading part of its channels.

    The reduced width is the `out_width` of its first convolution; the second has as many outputs as the block has
    inputs. Names of parameters are those of fvcore's `SqueezeExcitation`.

    Shape: (B, C, T, H, W) -> the same.
    """

    def __init__(self, reduce: SlimConv3d, activation: nn.Module, expand: SlimConv3d, gate: nn.Module):
        super().__init__()
        self.block = nn.Sequential(reduce, activation, expand, gate)

    @classmethod
    def from_squeeze_excitation(cls, layer: SqueezeExcitation) -> SlimSqueezeExcitation:
        """Return the slimmable layer of fvcore's layer; they share their parameters.

        Args:
            layer: fvcore's layer for clips.

        Returns:
            Layer of the same outputs.

        Raises:
            ValueError: the layer is made for pictures (2D).
        """
        if not layer.is_3d:
            raise ValueError("SlimSqueezeExcitation: the layer must be 3D (is_3d=True)")
        reduce, activation, expand, gate = layer.block
        return cls(SlimConv3d.from_conv(reduce), activation, SlimConv3d.from_conv(expand), gate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale the channels of `x` by its squeezed and excited mean."""
        return torch.mul(x, self.factors(x.mean(dim=[2, 3, 4], keepdim=True)))

    def factors(self, mean: torch.Tensor) -> torch.Tensor:
        """Return the factors of features (B, C, T, H, W) from their mean (B, C, 1, 1, 1), in its shape."""
        reduce, activation, expand, gate = self.block
        return gate(expand(activation(reduce(mean)), out_width=mean.shape[1]))

"""Adaptive fusion: Fast's features resized to those of the Slow pathway's clip (TPAMI 2022, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.fx
import torch.nn.functional as F
from pytorchvideo.models.slowfast import FuseFastToSlow
from torch import nn

from mutualnet3d.models.fused_blocks import normalize_activate


class AdaptiveFusion(nn.Module):
    """Lateral connection from Fast to Slow for clips of different lengths and sizes.

    The lateral's convolution is never slimmed; its output is resized to Slow's (T, H, W) and concatenated after Slow's
    channels. Names of parameters are those of pytorchvideo's `FuseFastToSlow`, and where the shapes agree so is the
    result, to the bit.

    Shape: [slow (B, C, T, H, W), fast (B, C', T', H', W')] -> [(B, C + lateral, T, H, W), fast]
    """

    def __init__(self, conv_fast_to_slow: nn.Module, norm: nn.Module | None, activation: nn.Module | None):
        super().__init__()
        self.conv_fast_to_slow, self.norm, self.activation = conv_fast_to_slow, norm, activation

    @classmethod
    def from_fusion(cls, fusion: FuseFastToSlow) -> AdaptiveFusion:
        """Return the adaptive form of pytorchvideo's; they share their layers."""
        return cls(fusion.conv_fast_to_slow, fusion.norm, fusion.activation)

    def lateral(self, fast: torch.Tensor) -> torch.Tensor:
        """Return the features for the Slow pathway before they are resized, the same for every sub-network."""
        return normalize_activate(self.norm, self.activation, self.conv_fast_to_slow(fast))

    def forward(self, pathways: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return Slow's features with the lateral's after them, and Fast's as they came."""
        slow, fast = pathways
        return [fuse(slow, self.lateral(fast)), fast]


def fuse(slow: torch.Tensor, lateral: torch.Tensor) -> torch.Tensor:
    """Return `lateral`, resized to Slow's (T, H, W), after Slow's channels."""
    return torch.cat([slow, resize(lateral, slow)], dim=1)


def resize(lateral: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return `lateral` (B, C, T', H', W') at the (T, H, W) of `like`, in its memory format; itself where they agree.

    In time it is linear and keeps the first and last instant: Slow's frames, however many, run from the first instant
    of the span to its last, so that each meets the features of its own instant (frame k of the full pathway meets
    lateral k). In space it is bilinear with pixels as areas, since both clips show the same part of the picture with
    the same centre.
    """
    frames, height, width = like.shape[2:]
    if lateral.shape[2] != frames:
        position_T = torch.linspace(0, lateral.shape[2] - 1, frames, device=lateral.device)
        before_T = position_T.floor().long()
        after_T = (before_T + 1).clamp(max=lateral.shape[2] - 1)
        weight_T11 = (position_T - before_T).to(lateral.dtype)[:, None, None]
        lateral = torch.lerp(lateral[:, :, before_T], lateral[:, :, after_T], weight_T11)
    if lateral.shape[3:] != like.shape[3:]:
        lateral = F.interpolate(lateral, (frames, height, width), mode="trilinear", align_corners=False)
    last = like.is_contiguous(memory_format=torch.channels_last_3d)  # otherwise their concatenation would not be
    return lateral.contiguous(memory_format=torch.channels_last_3d) if last else lateral


# A single step to torch.fx: its operations depend on shapes.
torch.fx.wrap("resize")

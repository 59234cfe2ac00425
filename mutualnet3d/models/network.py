"""Ordinary networks that take a list of clips and return logits; slimmable ones build on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mutualnet3d.models.fusion import AdaptiveFusion, fuse


class GlobalAvgPool3d(nn.Module):
    """Mean over (T, H, W), whatever their lengths: (B, C, T, H, W) -> (B, C, 1, 1, 1).

    It is an average pooling over the whole extent: at the extent of a pytorchvideo head's fixed kernel it equals that
    head to the bit. (`mean` and `AdaptiveAvgPool3d` sum in another order.) The copy for `channels_last_3d` does not
    change the result and is faster than pooling in that format.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean of each channel."""
        return F.avg_pool3d(x.contiguous(), x.shape[2:])


class VideoNet(nn.Module):
    """Blocks applied one after the other to one clip.

    Its state dict has pytorchvideo's names.

    Shape: a list of one float tensor (B, C, T, H, W) -> logits (B, K).
    """

    num_pathways = 1

    def __init__(self, blocks: nn.ModuleList):
        super().__init__()
        self.blocks = blocks

    @property
    def content(self) -> nn.Module:
        """Module that the network is made of: the argument of its class."""
        return self.blocks

    @property
    def last_block(self) -> nn.Module | None:
        """Head, the only block with dropout; None for a network of unknown structure."""
        return self.blocks[-1] if len(self.blocks) else None

    def forward(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the logits (B, K) of a list of one clip tensor."""
        x = clips[0]
        for block in self.blocks:
            x = block(x)
        return x


class OwnNet(VideoNet):
    """Network of any structure, called with a list of one clip.

    Its modules, parameters and buffers are those of `network`, under the same names.

    Args:
        network: network that takes a clip (B, C, T, H, W) and returns logits (B, K).

    Raises:
        ValueError: a part of `network` has the name of an attribute of this class.
    """

    # Names of attributes that instances set.
    reserved: frozenset[str] = frozenset()

    def __init__(self, network: nn.Module):
        nn.Module.__init__(self)
        for name, part in [*network._modules.items(), *network._parameters.items(), *network._buffers.items()]:
            # A part without tensors is only called, by the network itself.
            has_tensors = not isinstance(part, nn.Module) or any(True for _ in part.state_dict())
            if name in self.reserved or (has_tensors and hasattr(type(self), name)):
                raise ValueError(
                    f"the network's part {name!r} has the name of a part of {type(self).__name__}: rename it"
                )
        # The same dictionaries: what is replaced in either is replaced in both.
        for name in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            self.__dict__[name] = network.__dict__[name]
        self._network = (network,)  # in a tuple it is no module of this one

    @property
    def content(self) -> nn.Module:
        """Network that was wrapped."""
        return self._network[0]

    @property
    def last_block(self) -> nn.Module | None:
        """None: the structure is unknown."""
        return None

    def forward(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the logits (B, K) of a list of one clip tensor."""
        return self._network[0](clips[0])

    def train(self, mode: bool = True) -> OwnNet:
        """Switch all modules to training, or to evaluation."""
        super().train(mode)
        self._network[0].training = mode
        return self


class SlowFastNet(VideoNet):
    """SlowFast (Feichtenhofer et al., arXiv 1812.03982) with adaptive fusion: the two clips need not match.

    The Fast pathway takes nothing from the Slow one, so it runs first, and its features are an interface of their own.

    Args:
        blocks: blocks of pytorchvideo: stem and stages (`MultiPathWayWithFuse`, with adaptive fusions), pooling, head.

    Shape: a list of Slow's clip and Fast's clip, each (B, C, T, H, W) of its own T, H, W -> logits (B, K).
    """

    num_pathways = 2

    def forward(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the logits (B, K) of Slow's clip and Fast's."""
        features = self.fast_features(clips[1])
        return self.slow_logits(clips[0], features)

    def _parts(self) -> tuple[list[Any], Any, Any]:
        """Return stem and stages, pooling, head, as pytorchvideo's untyped modules."""
        *stages, pool, head = self.blocks
        return stages, pool, head

    def fast_features(self, clip: torch.Tensor) -> list[torch.Tensor]:
        """Return the Fast pathway's features: every lateral in order, then its pooled features."""
        stages, pool, _ = self._parts()
        features, x = [], clip
        for stage in stages:
            x = stage.multipathway_blocks[1](x)
            if isinstance(stage.multipathway_fusion, AdaptiveFusion):
                features.append(stage.multipathway_fusion.lateral(x))
        return [*features, pool.pool[1](x)]

    def slow_logits(self, clip: torch.Tensor, fast_features: list[torch.Tensor]) -> torch.Tensor:
        """Return the logits (B, K) of the Slow pathway's clip and the Fast pathway's features."""
        stages, pool, head = self._parts()
        *laterals, fast_pooled = fast_features
        remaining, x = list(laterals), clip
        for stage in stages:
            x = stage.multipathway_blocks[0](x)
            if isinstance(stage.multipathway_fusion, AdaptiveFusion):
                x = fuse(x, remaining.pop(0))
        return head(torch.cat([pool.pool[0](x), fast_pooled], dim=1))

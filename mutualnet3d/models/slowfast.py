"""SlowFast with adaptive fusion, its Slow pathway slimmable (TPAMI 2022, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from pytorchvideo.models.slowfast import create_slowfast
from torch import nn

from mutualnet3d.models.channel_flow import ChannelFlow
from mutualnet3d.models.convert import convert_blocks
from mutualnet3d.models.network import SlowFastNet
from mutualnet3d.models.recipe import remembered_as
from mutualnet3d.models.resnet import STAGE_DEPTHS, check_resnet, start_blocks, temporal_kernels
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.ops import BatchStatistics, SlimBatchNorm3d
from mutualnet3d.shapes import ClipShape, SubnetConfig

# Temporal kernels of the four stages, frames.
_SLOW_STAGES = ((1,), (1,), (3,), (3,))
_FAST_STAGES = ((3,), (3,), (3,), (3,))


class _SharedFeatures:
    """The Fast pathway's features of one batch, computed once; `leaves` gather their gradients."""

    def __init__(self, features: list[torch.Tensor]):
        self.features = features
        self.leaves = [feature.detach().requires_grad_(feature.requires_grad) for feature in features]

    def backward(self) -> None:
        """Send the gathered gradients through the Fast pathway."""
        pairs = [(feature, leaf.grad) for feature, leaf in zip(self.features, self.leaves, strict=True)]
        reached = [(feature, grad) for feature, grad in pairs if grad is not None]
        if reached:
            torch.autograd.backward([feature for feature, _ in reached], [grad for _, grad in reached])


@dataclass(frozen=True)
class _EvaluatedFeatures:
    """The Fast pathway's features of one batch without gradients.

    Args:
        features: laterals and pooled features.
        clip_shape: shape of Fast's clip tensor.
        collecting: True in calibration, where batch norms take the batch's statistics.
        statistics: mean and variance of each of Fast's batch norms; empty in calibration.
    """

    features: list[torch.Tensor]
    clip_shape: tuple[int, ...]
    collecting: bool
    statistics: list[tuple[torch.Tensor, torch.Tensor] | None]

    def fits(self, other: _EvaluatedFeatures) -> bool:
        """Return True if a pass with the clip and statistics of `other` gives the same features."""
        return (
            (self.clip_shape, self.collecting) == (other.clip_shape, other.collecting)
            and len(self.statistics) == len(other.statistics)
            and all(map(_are_equal, self.statistics, other.statistics))
        )


class SlimmableSlowFast(SlimmableNet, SlowFastNet):
    """SlowFast whose Slow pathway runs at many widths and clips; the Fast pathway is the same in every sub-network.

    Width, size and frames of a config are the Slow pathway's. Fast keeps all its channels and its clip: `fast.frames`
    frames of the full clip's size (of Slow's size, where that is the larger: testing at 256 pixels).

    Args:
        blocks: converted blocks of pytorchvideo's SlowFast.
        full_clip: clip shape of the Slow pathway in the full network.
        alpha: number of Fast's frames for each of Slow's.
        flow: flow of channels through the network.

    Shape: a list of Slow's and Fast's clips, float (B, C, T, H, W) -> logits (B, K).
    """

    extracted_class = SlowFastNet

    def __init__(self, blocks: nn.ModuleList, full_clip: ClipShape, alpha: int, flow: ChannelFlow):
        super().__init__(blocks, full_clip, flow=flow)
        self.alpha = alpha
        self._sharing = False
        self._shared: _SharedFeatures | None = None
        # Of one batch; the statistics that Fast's batch norms take of it, by Fast's clip.
        self._evaluated: list[_EvaluatedFeatures] = []
        self._collected: dict[tuple[ClipShape, SlimBatchNorm3d], BatchStatistics] = {}
        stages, pool, _ = self._parts()
        fast_parts = [stage.multipathway_blocks[1] for stage in stages] + [
            stage.multipathway_fusion for stage in stages
        ]
        modules = {module for part in [*fast_parts, pool.pool[1]] for module in part.modules()}
        self._fast_norms = [(name, norm) for name, norm in self.norms() if norm in modules]

    @property
    def fast(self) -> ClipShape:
        """The full network's Fast clip."""
        return ClipShape(self.full_clip.frames * self.alpha, self.full_clip.size)

    def input_shapes(self, config: SubnetConfig) -> tuple[ClipShape, ...]:
        """Return Slow's clip, then Fast's."""
        return (*super().input_shapes(config), ClipShape(self.fast.frames, max(self.fast.size, config.size)))

    def _check(self, clips: Sequence[torch.Tensor]) -> None:
        super()._check(clips)
        slow, fast = (clip.shape[2] for clip in clips)
        if self._active is None and fast != slow * self.alpha:
            raise ValueError(
                f"the Fast pathway takes {self.alpha} frames for each of Slow's: {slow} and {slow * self.alpha}, "
                f"got {slow} and {fast}; sub-networks with fewer Slow frames run inside `active`"
            )

    @contextmanager
    def shared_fast_features(self) -> Iterator[None]:
        """Run the Fast pathway once for all forward passes inside the block, which are on one batch.

        In training mode the first forward computes Fast's features. Every backward inside the block stops at them, and
        at the block's end their summed gradient goes on through the Fast pathway, once. Nothing but Fast's clip enters
        that pathway, and batch norm takes the same batch's statistics in every sub-network, so this is the gradient of
        separate passes in another order of additions (tests/models/test_slowfast.py; benchmarks/shared_fast.py measures
        both). The full network with frozen statistics shares with none.

        In evaluation a sub-network takes the features of an earlier one, if Fast's clip has the same size and Fast's
        statistics are the same numbers. In calibration the clip's size alone decides, and the collected statistics are
        the earlier one's too. The network outside `active` shares with none.
        """
        with self._exclusive():
            self._sharing = True
            try:
                yield
                if self._shared is not None:
                    self._shared.backward()
            finally:
                self._sharing, self._shared = False, None
                self._evaluated.clear()
                self._collected.clear()

    @contextmanager
    def collecting(self, batch_statistics: dict[str, BatchStatistics]) -> Iterator[None]:
        """Collect batch statistics as `SlimmableBase` does, with the shared Fast pathway's among them."""
        if self._sharing and self._active is not None:
            fast_clip = self.input_shapes(self._active)[1]
            for name, norm in self._fast_norms:
                if name not in batch_statistics:
                    batch_statistics[name] = self._collected.setdefault((fast_clip, norm), BatchStatistics())
        with super().collecting(batch_statistics):
            yield

    def fast_features(self, clip: torch.Tensor) -> list[torch.Tensor]:
        """Return the Fast pathway's features, shared ones where there are some."""
        if not self._sharing:
            return super().fast_features(clip)
        if self.training:
            if any(norm.frozen and norm.in_full for _, norm in self._fast_norms):
                return super().fast_features(clip)  # by other statistics than the sub-networks'
            if self._shared is None:
                self._shared = _SharedFeatures(super().fast_features(clip))
            return list(self._shared.leaves)
        if self._active is None:
            return super().fast_features(clip)
        statistics = [] if self._collecting else [norm.statistics for _, norm in self._fast_norms]
        new = _EvaluatedFeatures([], tuple(clip.shape), self._collecting, statistics)
        for evaluated in self._evaluated:
            if evaluated.fits(new):
                return list(evaluated.features)
        new.features.extend(super().fast_features(clip))
        self._evaluated.append(new)
        return list(new.features)


def _are_equal(
    first: tuple[torch.Tensor, torch.Tensor] | None, second: tuple[torch.Tensor, torch.Tensor] | None
) -> bool:
    """Return True for two pairs of statistics of the same numbers."""
    if first is None or second is None:
        return first is second
    return first is second or (torch.equal(first[0], second[0]) and torch.equal(first[1], second[1]))


@remembered_as("slowfast")
def build_slowfast(
    *,
    full_clip: ClipShape,
    alpha: int,
    num_classes: int,
    dropout_rate: float = 0.5,
    depth: int = 50,
    width_per_group: int = 64,
    beta_inv: int = 8,
    fusion_conv_channel_ratio: int = 2,
    fusion_kernel_size: int = 5,
    num_block_temp_kernel: tuple[Sequence[int], Sequence[int]] | None = None,
    zero_init_final_bn: bool = True,
) -> SlimmableSlowFast:
    """Return pytorchvideo's SlowFast, converted.

    Args:
        full_clip: clip shape of the Slow pathway in the full network; Fast's has `alpha` times its frames.
        alpha: number of Fast's frames for each of Slow's; the laterals' temporal stride.
        num_classes: outputs of the classifier.
        dropout_rate: fraction of the features dropped before the classifier.
        depth: layers of each pathway, 50, 101 or 152.
        width_per_group: channels of the Slow stem.
        beta_inv: ratio of Slow's channels to Fast's.
        fusion_conv_channel_ratio: ratio of a lateral's channels to Fast's.
        fusion_kernel_size: temporal kernel of the laterals, frames.
        num_block_temp_kernel: number of blocks with temporal kernels in each stage, of Slow and of Fast; None: all.
        zero_init_final_bn: True to start every block as its shortcut alone (the scale of its last batch norm is 0).

    Raises:
        ValueError: the depth is unknown, the strides leave nothing of the clip, or `beta_inv` does not divide the
            channels.
    """
    check_resnet(depth, full_clip)
    if width_per_group % beta_inv:
        raise ValueError(f"SlowFast: {beta_inv} (beta_inv) does not divide {width_per_group} (width_per_group)")
    depths = STAGE_DEPTHS[depth]
    slow_blocks, fast_blocks = num_block_temp_kernel or (None, None)
    slow_pool = (full_clip.frames, full_clip.size // 32, full_clip.size // 32)
    network = create_slowfast(
        slowfast_channel_reduction_ratio=(beta_inv,),
        slowfast_conv_channel_fusion_ratio=fusion_conv_channel_ratio,
        slowfast_fusion_conv_kernel_size=(fusion_kernel_size, 1, 1),
        slowfast_fusion_conv_stride=(alpha, 1, 1),
        model_depth=depth,
        model_num_class=num_classes,
        dropout_rate=dropout_rate,
        stem_dim_outs=(width_per_group, width_per_group // beta_inv),
        stage_conv_a_kernel_sizes=(
            temporal_kernels(_SLOW_STAGES, depths, slow_blocks),
            temporal_kernels(_FAST_STAGES, depths, fast_blocks),
        ),
        head_pool_kernel_sizes=(slow_pool, (full_clip.frames * alpha, *slow_pool[1:])),
    )
    start_blocks(network, zero_init_final_bn)
    fast_clip = ClipShape(full_clip.frames * alpha, full_clip.size)
    blocks, flow = convert_blocks(network, full_clip, fast_clip)
    return SlimmableSlowFast(blocks, full_clip, alpha, flow)

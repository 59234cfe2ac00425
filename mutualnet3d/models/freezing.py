"""Parts of a network that a training does not change: statistics of batch norms, leading stages with their weights.

Only the statistics of the full network, which were loaded with its weights, are frozen. A sub-network has none before
it is calibrated, so its batch norms take the batch's statistics, frozen or not.
"""

from __future__ import annotations

from torch import nn

from mutualnet3d.models.network import VideoNet
from mutualnet3d.ops import SlimBatchNorm3d


def stages_of(model: VideoNet) -> list[nn.Module]:
    """Return the stages of a network from the stem on, the classifier last.

    These are its blocks that have parameters; of a network of any structure its parts, in their order.
    """
    parts = [part for part in model.content.children() if any(True for _ in part.parameters())]
    return parts or [model]


def freeze_norms(part: nn.Module) -> None:
    """Let the batch norms of a part of a network train the full network with their tracked statistics.

    The statistics do not change. Scales and shifts are trained as before (PySlowFast's MODEL.FROZEN_BN).
    """
    for module in part.modules():
        if isinstance(module, SlimBatchNorm3d):
            module.frozen = True


def freeze_stages(model: VideoNet, number: int) -> None:
    """Freeze the weights and the batch norms' statistics of a network's first stages.

    Args:
        model: network.
        number: number of stages, 0 <= number < all: 1 is the stem alone, all but one leave only the classifier to be
            trained.

    Raises:
        ValueError: no stage is left to be trained.
    """
    stages = stages_of(model)
    if not 0 <= number < len(stages):
        raise ValueError(
            f"{number} frozen stages; the network has {len(stages)}, the classifier among them, of which at most "
            f"{len(stages) - 1} can be frozen"
        )
    for stage in stages[:number]:
        stage.requires_grad_(False)
        freeze_norms(stage)

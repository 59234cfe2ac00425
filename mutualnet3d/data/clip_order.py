"""Order of training clips: a stream without end, and the part of it that each process of a job has.

The stream is all videos in a random order, then in another, and so on. Each process has its rows of every step's batch,
so that without bad videos the processes train together on the batches that one process would.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from mutualnet3d.shapes import Shard


class VideoOrder(Protocol):
    """Stream of training clips without end, a pure function of the position."""

    @property
    def num_videos(self) -> int:
        """Number of videos in the order."""

    def at(self, position: int) -> tuple[int, int]:
        """Return a number and the video, which never come together twice: the number is for random choices."""


@dataclass(frozen=True)
class ClipOrder:
    """Stream of training clips, a pure function of (seed, position).

    Args:
        num_videos: length of the list.
        seed: seed of all orders.
    """

    num_videos: int
    seed: int
    _permutations: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def at(self, position: int) -> tuple[int, int]:
        """Return epoch (number of the order) and video at a position of the stream."""
        epoch, place = divmod(position, self.num_videos)
        if epoch not in self._permutations:
            while len(self._permutations) > 1:  # the stream moves on; two are in use around an epoch's end
                self._permutations.pop(min(self._permutations))
            self._permutations[epoch] = np.random.default_rng((self.seed, epoch)).permutation(self.num_videos)
        return epoch, int(self._permutations[epoch][place])


@dataclass(frozen=True)
class OrderShard:
    """Part of the stream that one process of a job has: `batch_size` of every `world_size * batch_size` positions.

    Args:
        order: the stream.
        batch_size: clips of a step in this process.
        shard: rank of the process, number of processes.
    """

    order: VideoOrder
    batch_size: int
    shard: Shard = Shard()  # noqa: RUF009 - frozen

    @property
    def num_videos(self) -> int:
        """Number of videos in the whole order, of which each process has a part."""
        return self.order.num_videos

    def position_in_order(self, position: int) -> int:
        """Return the position in the whole stream for a position in this part."""
        step, row = divmod(position, self.batch_size)
        return (step * self.shard.world_size + self.shard.rank) * self.batch_size + row

    def at(self, position: int) -> tuple[int, int]:
        """Return epoch and video at a position of this part."""
        return self.order.at(self.position_in_order(position))

"""Which clips a loader worker is to make: batch samplers whose items say the step, the shapes and the view."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mutualnet3d.shapes import ClipShape


@dataclass(frozen=True)
class ClipRequest:
    """One clip, in all shapes that its step needs.

    Args:
        index: of the video in its list.
        shapes: what to deliver.
        epoch: with the index, what the clip's random choices depend on.
        view: which of the views of the video, for a data set that has several.
    """

    index: int
    shapes: tuple[ClipShape, ...]
    epoch: int = 0
    view: int = 0


class TrainRequests:
    """Batches of a training run: every epoch a new order, what does not fill a batch dropped.

    The order is a pure function of (seed, epoch), so that a run which starts in the middle of an epoch goes on with the
    batch that would have come. Made in the main process: `shapes_at_step` need not be pickled.

    Args:
        num_videos: in the list.
        batch_size: clips a step.
        shapes_at_step: the shapes that a step trains with.
        seed: of the orders.

    Attributes:
        steps_per_epoch: whole batches of an epoch.
        start_step, num_steps: which steps to deliver, `start_step` up to `num_steps`; one epoch unless set otherwise.

    Raises:
        ValueError: the list does not fill one batch.
    """

    def __init__(
        self,
        num_videos: int,
        batch_size: int,
        shapes_at_step: Callable[[int], tuple[ClipShape, ...]],
        seed: int,
    ):
        self.steps_per_epoch = num_videos // batch_size
        if self.steps_per_epoch < 1:
            raise ValueError(f"TRAIN.BATCH_SIZE is {batch_size}, but the training list has only {num_videos} videos")
        self.num_videos, self.batch_size = num_videos, batch_size
        self.shapes_at_step, self.seed = shapes_at_step, seed
        self.start_step, self.num_steps = 0, self.steps_per_epoch

    def __len__(self) -> int:
        return max(self.num_steps - self.start_step, 0)

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        order, order_epoch = np.empty(0, dtype=np.int64), -1
        for step in range(self.start_step, self.num_steps):
            epoch, batch = divmod(step, self.steps_per_epoch)
            if epoch != order_epoch:
                order, order_epoch = np.random.default_rng((self.seed, epoch)).permutation(self.num_videos), epoch
            shapes = self.shapes_at_step(step)
            chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [ClipRequest(int(index), shapes, epoch) for index in chosen]


class TestRequests:
    """Every view of every video once, in order; the last batch may be smaller.

    Args:
        num_videos: in the list.
        num_views: of each video.
        batch_size: clips a batch.
        shapes: what every clip is delivered in.
    """

    __test__ = False  # not a test case, whatever its name starts with

    def __init__(self, num_videos: int, num_views: int, batch_size: int, shapes: Sequence[ClipShape]):
        self.num_clips, self.num_views = num_videos * num_views, num_views
        self.batch_size, self.shapes = batch_size, tuple(shapes)

    def __len__(self) -> int:
        return -(-self.num_clips // self.batch_size)

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        for start in range(0, self.num_clips, self.batch_size):
            clips = range(start, min(start + self.batch_size, self.num_clips))
            yield [ClipRequest(clip // self.num_views, self.shapes, view=clip % self.num_views) for clip in clips]

"""Which clips a loader worker is to make: for testing a plain list, for training a stream that bad videos drop out of.

The training clips are a stream without end: the videos in a random order, again in another, and so on. A step takes the
next ones whose videos are not known to be bad, so that within one order every good video is seen exactly once. Workers
run ahead of the training, and may find out that a video is bad when the steps behind it have been handed out; then all
of these move up by a clip. What a step gets is therefore the same as if one worker had made one clip after the other.

The processes of a job share the stream: each has its rows of every step's batch, so that without bad videos they train
together on what one process would. A bad video drops out of the part of the stream of the process that meets it; no
process has to know what the others have met.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from mutualnet3d.shapes import ClipShape, Shard


@dataclass(frozen=True)
class ClipRequest:
    """One clip, in all shapes that its step needs.

    Args:
        index: of the video in its list.
        shapes: what to deliver.
        epoch: with the index, what the clip's random choices depend on.
        view: which of the views of the video, for a data set that has several.
        step, position: of training clips: the step that it is for, and its place in the process's part of the stream.
    """

    index: int
    shapes: tuple[ClipShape, ...]
    epoch: int = 0
    view: int = 0
    step: int = 0
    position: int = 0


@dataclass(frozen=True)
class ClipOrder:
    """The stream of training clips: `num_videos` videos in a random order, then in another, and so on; a pure function
    of (seed, position)."""

    num_videos: int
    seed: int
    _permutations: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def at(self, position: int) -> tuple[int, int]:
        """Epoch (which of the orders) and video at a place of the stream."""
        epoch, place = divmod(position, self.num_videos)
        if epoch not in self._permutations:
            while len(self._permutations) > 1:  # the stream moves on; two are in use around an epoch's end
                self._permutations.pop(min(self._permutations))
            self._permutations[epoch] = np.random.default_rng((self.seed, epoch)).permutation(self.num_videos)
        return epoch, int(self._permutations[epoch][place])


@dataclass(frozen=True)
class OrderShard:
    """The part of the stream that one process of a job has: of every `world_size * batch_size` places the
    `batch_size` of its rank.

    Args:
        order: the stream.
        batch_size: clips of a step that this process has.
        shard: which process.
    """

    order: ClipOrder
    batch_size: int
    shard: Shard = Shard()  # noqa: RUF009 - frozen

    @property
    def num_videos(self) -> int:
        return self.order.num_videos

    def place(self, position: int) -> int:
        """Where in the whole stream a place of this part is."""
        step, row = divmod(position, self.batch_size)
        return (step * self.shard.world_size + self.shard.rank) * self.batch_size + row

    def at(self, position: int) -> tuple[int, int]:
        """Epoch and video at a place of this part."""
        return self.order.at(self.place(position))


class AllVideosBad(RuntimeError):
    """No video of the list can be decoded."""


@dataclass
class _Step:
    """A step that has been handed out: the places of the stream that it takes, and all that were asked for."""

    number: int
    wanted: list[int] = field(default_factory=list)
    asked: set[int] = field(default_factory=set)


class TrainBatchSampler:
    """Hands out the clips of training steps, and learns of the bad videos among them.

    Iterating gives lists of requests, for workers to make, without end; an empty list means that there is nothing to
    do until more is known. Made in the main process: `shapes_at_step` need not be pickled.

    Args:
        order: the stream.
        batch_size: clips a step, of this process.
        shapes_at_step: the shapes that a step trains with.
        start_step, num_steps: which steps: `start_step` up to `num_steps`.
        start_position: where in this process's part of the stream the first of them begins.
        bad_since: videos known to be bad, and since which place of that part; grows.
        shard: which process this is.
    """

    def __init__(
        self,
        order: ClipOrder,
        batch_size: int,
        shapes_at_step: Callable[[int], tuple[ClipShape, ...]],
        *,
        num_steps: int,
        start_step: int = 0,
        start_position: int = 0,
        bad_since: dict[int, int] | None = None,
        shard: Shard | None = None,
    ):
        self.order = OrderShard(order, batch_size, shard or Shard())
        self.batch_size, self.shapes_at_step = batch_size, shapes_at_step
        self.next_step, self.num_steps = start_step, num_steps
        self.bad_since = {} if bad_since is None else bad_since
        self._start = start_position  # of the first step that is not done
        self._steps: deque[_Step] = deque()
        self._asked_again: deque[list[ClipRequest]] = deque()

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        while True:
            if self._asked_again:
                yield self._asked_again.popleft()
            elif self.next_step < self.num_steps:
                self._steps.append(_Step(self.next_step))
                self.next_step += 1
                self._assign(first=len(self._steps) - 1)
                yield self._ask(self._steps[-1])
            else:
                yield []

    def bad_before(self, position: int) -> dict[int, int]:
        """The videos that were found bad before this process's part of the stream had come to `position`, and where:
        what a run that goes on from there has to know."""
        return {index: place for index, place in self.bad_since.items() if place < position}

    def is_bad(self, index: int, position: int) -> bool:
        """Whether a video was known to be bad when the stream had come to `position`."""
        return self.bad_since.get(index, position + 1) <= position

    def report_bad(self, request: ClipRequest) -> bool:
        """Take a clip out of the stream, and its video's later ones. Whether the video was not known to be bad.

        Raises:
            AllVideosBad: no video is left.
        """
        known = request.index in self.bad_since
        self.bad_since[request.index] = min(request.position, self.bad_since.get(request.index, request.position))
        if len(self.bad_since) == self.order.num_videos:
            raise AllVideosBad(f"none of {self.order.num_videos} videos can be decoded")
        self._assign()
        for step in self._steps:
            missing = self._ask(step)
            if missing:
                self._asked_again.append(missing)
        return not known

    def wanted(self) -> tuple[int, list[int]] | None:
        """The first step that has been handed out and is not done, and the places of the stream that make its batch, as
        far as is known now; None if there is none."""
        return (self._steps[0].number, self._steps[0].wanted) if self._steps else None

    def done(self) -> int:
        """The first step has all its clips: go on to the next. Where in the stream that one begins."""
        self._start = self._steps.popleft().wanted[-1] + 1
        return self._start

    def _assign(self, first: int = 0) -> None:
        """Deal the stream out anew to the steps that are not done, from the `first` of them on."""
        position = self._steps[first - 1].wanted[-1] + 1 if first else self._start
        for step in itertools.islice(self._steps, first, None):
            step.wanted = []
            while len(step.wanted) < self.batch_size:
                if not self.is_bad(self.order.at(position)[1], position):
                    step.wanted.append(position)
                position += 1

    def _ask(self, step: _Step) -> list[ClipRequest]:
        missing = [position for position in step.wanted if position not in step.asked]
        step.asked.update(missing)
        shapes = self.shapes_at_step(step.number)
        requests = []
        for position in missing:
            epoch, index = self.order.at(position)
            requests.append(ClipRequest(index, shapes, epoch, step=step.number, position=position))
        return requests


class CalibrationBatchSampler:
    """The first training clips, in batches that are the same whatever the number of processes: each of these has every
    `world_size`-th batch, whole. A clip whose video is bad is left out of its batch, and not replaced.

    Args:
        order: the stream of training clips.
        batch_size: clips a batch.
        num_batches: of the whole job.
        shapes: what every clip is delivered in.
        shard: which process this is.
    """

    def __init__(
        self,
        order: ClipOrder,
        batch_size: int,
        num_batches: int,
        shapes: Sequence[ClipShape],
        shard: Shard | None = None,
    ):
        shard = shard or Shard()
        self.order, self.batch_size, self.shapes = order, batch_size, tuple(shapes)
        self._batches = range(shard.rank, num_batches, shard.world_size)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        for batch in self._batches:
            places = range(batch * self.batch_size, (batch + 1) * self.batch_size)
            clips = [self.order.at(place) for place in places]
            yield [ClipRequest(index, self.shapes, epoch) for epoch, index in clips]


class TestBatchSampler:
    """Every view of every video of a process's shard once, in order; the last batch may be smaller.

    Args:
        num_videos: in the list.
        num_views: of each video.
        batch_size: clips a batch.
        shapes: what every clip is delivered in.
        shard: the process has every `world_size`-th video, from the `rank`-th on.

    Attributes:
        videos: those of the process.
    """

    __test__ = False  # not a test case, whatever its name starts with

    def __init__(
        self, num_videos: int, num_views: int, batch_size: int, shapes: Sequence[ClipShape], shard: Shard | None = None
    ):
        shard = shard or Shard()
        self.videos = range(shard.rank, num_videos, shard.world_size)
        self.num_clips, self.num_views = len(self.videos) * num_views, num_views
        self.batch_size, self.shapes = batch_size, tuple(shapes)

    def __len__(self) -> int:
        return -(-self.num_clips // self.batch_size)

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        for start in range(0, self.num_clips, self.batch_size):
            clips = range(start, min(start + self.batch_size, self.num_clips))
            yield [
                ClipRequest(self.videos[clip // self.num_views], self.shapes, view=clip % self.num_views)
                for clip in clips
            ]

"""Batch samplers: lists of clip requests for loader workers, for training, calibration and testing.

A training step takes the next clips of its process's part of the stream (`clip_order`) whose videos are not known to be
bad, so that within one order every good video is seen exactly once. Workers run ahead of the training, and may find out
that a video is bad when later steps have been handed out; then all of these move up by a clip. So a step gets the same
clips as if one worker had made one clip after the other. A bad video drops out of the part of the process that meets
it; no process has to know the bad videos of the others.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from mutualnet3d.data.clip_order import OrderShard, VideoOrder
from mutualnet3d.shapes import ClipShape, Shard


@dataclass(frozen=True)
class ClipRequest:
    """Request for one clip, in all shapes that its step needs.

    Args:
        index: number of the video in its list.
        shapes: shapes to deliver.
        epoch: number that the clip's random choices depend on, with the index.
        view: number of the view, for a data set that has several of each video.
        step: training step of the clip; 0 in testing.
        position: position of the clip in the process's part of the stream; 0 in testing.
    """

    index: int
    shapes: tuple[ClipShape, ...]
    epoch: int = 0
    view: int = 0
    step: int = 0
    position: int = 0


class AllVideosBad(RuntimeError):
    """Error for a list without a video that can be decoded."""


@dataclass
class _Step:
    """Step that has been handed out: the positions of its clips, and all that were requested for it."""

    number: int
    positions: list[int] = field(default_factory=list)
    requested: set[int] = field(default_factory=set)


class TrainBatchSampler:
    """Batch sampler of training steps that replaces bad videos and can resume.

    Iteration gives lists of requests without end; an empty list means that there is nothing to do until results arrive.
    The sampler lives in the main process: `shapes_at_step` need not be pickled.

    Args:
        order: the stream.
        batch_size: clips per step in this process.
        shapes_at_step: function of the step that returns the shapes that it trains with.
        num_steps: end of the training: steps are `start_step` up to, not including, this one.
        start_step: first step.
        start_position: position in this process's part of the stream at which the first step begins.
        bad_since: videos known to be bad, with the position of that part at which each was met; grows.
        shard: rank of this process, number of processes.
    """

    def __init__(
        self,
        order: VideoOrder,
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
        self._start = start_position  # of the first unfinished step
        self._steps: deque[_Step] = deque()
        self._replacements: deque[list[ClipRequest]] = deque()

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        while True:
            if self._replacements:
                yield self._replacements.popleft()
            elif self.next_step < self.num_steps:
                self._steps.append(_Step(self.next_step))
                self.next_step += 1
                self._assign_positions(first=len(self._steps) - 1)
                yield self._new_requests(self._steps[-1])
            else:
                yield []

    def bad_before(self, position: int) -> dict[int, int]:
        """Return the videos met as bad before `position` of this process's part, with their positions.

        They are the state that a resumed run needs.
        """
        return {index: since for index, since in self.bad_since.items() if since < position}

    def is_bad(self, index: int, position: int) -> bool:
        """Return True if a video had been met as bad when the stream came to `position`."""
        return self.bad_since.get(index, position + 1) <= position

    def report_bad(self, request: ClipRequest) -> bool:
        """Take a clip, and later ones of its video, out of the stream; return True if the video is newly bad.

        Args:
            request: request whose clip could not be read.

        Raises:
            AllVideosBad: no video is left.
        """
        is_new = request.index not in self.bad_since
        self.bad_since[request.index] = min(request.position, self.bad_since.get(request.index, request.position))
        if len(self.bad_since) == self.order.num_videos:
            raise AllVideosBad(f"none of {self.order.num_videos} videos can be decoded")
        self._assign_positions()
        for step in self._steps:
            replacements = self._new_requests(step)
            if replacements:
                self._replacements.append(replacements)
        return is_new

    def current_step(self) -> tuple[int, list[int]] | None:
        """Return the first unfinished step that has been handed out, and the positions of its clips.

        It is None if there is none. The positions are right as far as bad videos are known.
        """
        return (self._steps[0].number, self._steps[0].positions) if self._steps else None

    def finish_step(self) -> int:
        """Go on to the next step, since the current one has all its clips; return its first position."""
        self._start = self._steps.popleft().positions[-1] + 1
        return self._start

    def _assign_positions(self, first: int = 0) -> None:
        """Assign positions of good videos anew to the unfinished steps, from the `first` of them on."""
        position = self._steps[first - 1].positions[-1] + 1 if first else self._start
        for step in itertools.islice(self._steps, first, None):
            step.positions = []
            while len(step.positions) < self.batch_size:
                if not self.is_bad(self.order.at(position)[1], position):
                    step.positions.append(position)
                position += 1

    def _new_requests(self, step: _Step) -> list[ClipRequest]:
        """Return requests for the clips of the step that were not requested before."""
        positions = [position for position in step.positions if position not in step.requested]
        step.requested.update(positions)
        shapes = self.shapes_at_step(step.number)
        requests = []
        for position in positions:
            epoch, index = self.order.at(position)
            requests.append(ClipRequest(index, shapes, epoch, step=step.number, position=position))
        return requests


class CalibrationBatchSampler:
    """Batch sampler of calibration: the first training clips, in batches that do not depend on the number of processes.

    Each process has every `world_size`-th batch, whole. A clip whose video is bad is left out, and not replaced.

    Args:
        order: the stream of training clips.
        batch_size: clips per batch.
        num_batches: batches of the whole job.
        shapes: shapes of every clip.
        shard: rank of this process, number of processes.
    """

    def __init__(
        self,
        order: VideoOrder,
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
            positions = range(batch * self.batch_size, (batch + 1) * self.batch_size)
            clips = [self.order.at(position) for position in positions]
            yield [ClipRequest(index, self.shapes, epoch) for epoch, index in clips]


class TestBatchSampler:
    """Batch sampler of testing: every view of every video of a process's shard once, in order.

    The last batch may be smaller.

    Args:
        num_videos: length of the list.
        num_views: views of each video.
        batch_size: clips per batch.
        shapes: shapes of every clip.
        shard: rank of this process, number of processes; it has every `world_size`-th video, from the `rank`-th on.
        start_batch: number of batches to leave out at the start: a test that was stopped has done them.

    Attributes:
        videos: numbers of the process's videos.
    """

    __test__ = False  # not a test case, whatever its name starts with

    def __init__(
        self,
        num_videos: int,
        num_views: int,
        batch_size: int,
        shapes: Sequence[ClipShape],
        shard: Shard | None = None,
        start_batch: int = 0,
    ):
        shard = shard or Shard()
        self.videos = range(shard.rank, num_videos, shard.world_size)
        self.num_clips, self.num_views = len(self.videos) * num_views, num_views
        self.batch_size, self.shapes, self.start_batch = batch_size, tuple(shapes), start_batch

    def __len__(self) -> int:
        return max(-(-self.num_clips // self.batch_size) - self.start_batch, 0)

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        for start in range(self.start_batch * self.batch_size, self.num_clips, self.batch_size):
            clips = range(start, min(start + self.batch_size, self.num_clips))
            yield [
                ClipRequest(self.videos[clip // self.num_views], self.shapes, view=clip % self.num_views)
                for clip in clips
            ]

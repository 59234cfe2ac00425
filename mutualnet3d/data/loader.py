"""Loaders of batches: for training without gaps where videos are bad, for testing with a list of those that failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from mutualnet3d.data.batch_sampler import (
    AllVideosBad,
    CalibrationBatchSampler,
    TestBatchSampler,
    TrainBatchSampler,
)
from mutualnet3d.data.dataset import Failure, Loaded, VideoDataset
from mutualnet3d.data.outage import DataAway
from mutualnet3d.data.workers import Workers
from mutualnet3d.shapes import ClipBatch

_BAD_START = 1_000  # videos; where all of the first are bad, the rest is not tried


class TrainLoader:
    """Loader of training batches, one for each step; a clip whose video is bad is replaced by the next of the stream.

    The batches do not depend on the number of workers.

    Args:
        dataset: data set of the list.
        batch_sampler: sampler of the steps; it can be iterated over once.
        workers: loader workers.
        report_bad: function that is called once with every video that is found bad.
        report_damaged: function that is called with the number of the video of each clip in which errors are concealed.
    """

    def __init__(
        self,
        dataset: VideoDataset,
        batch_sampler: TrainBatchSampler,
        workers: Workers,
        report_bad: Callable[[Failure], None],
        report_damaged: Callable[[int], None] = lambda index: None,
    ):
        self.dataset, self.batch_sampler, self.workers = dataset, batch_sampler, workers
        self.report_bad, self.report_damaged = report_bad, report_damaged
        self._num_batches = max(batch_sampler.num_steps - batch_sampler.next_step, 0)

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[ClipBatch]:
        remaining = len(self)
        num_good = num_bad = 0
        # Loaded clips by step and position in the stream: the list that each came in, and its row.
        clips: dict[tuple[int, int], tuple[Loaded, int]] = {}
        loads = iter(self.workers.load(self.dataset, self.batch_sampler)) if remaining else iter(())
        for loaded in loads:
            refuse_outage(loaded)
            for index in loaded.damaged:
                self.report_damaged(index)
            for failure in loaded.failures:
                if self.batch_sampler.report_bad(failure.request):
                    self.report_bad(failure)
                    num_bad += 1
            num_good += len(loaded.requests)
            _refuse_bad_start(num_good, num_bad, loaded)
            for row, request in enumerate(loaded.requests):
                clips[request.step, request.position] = loaded, row
            while remaining and (batch := self._next_batch(clips)) is not None:
                remaining -= 1
                yield batch
            if not remaining:
                return

    def _next_batch(self, clips: dict[tuple[int, int], tuple[Loaded, int]]) -> ClipBatch | None:
        """Return the batch of the current step, None as long as a clip is missing."""
        current = self.batch_sampler.current_step()
        if current is None:
            return None
        step, positions = current
        if any((step, position) not in clips for position in positions):
            return None
        batch = _join([clips[step, position] for position in positions])
        for key in [key for key in clips if key[0] == step]:
            del clips[key]
        return replace(batch, next_position=self.batch_sampler.finish_step())


def _join(rows: list[tuple[Loaded, int]]) -> ClipBatch:
    """Return one batch of clips from several; the batch itself if they are all of one, in order."""
    first_loaded = rows[0][0]
    if len(rows) == len(first_loaded.requests) and all(
        loaded is first_loaded and row == number for number, (loaded, row) in enumerate(rows)
    ):
        assert first_loaded.batch is not None
        return first_loaded.batch
    batches = [(loaded.batch, row) for loaded, row in rows if loaded.batch is not None]
    first = batches[0][0]
    joined = ClipBatch(
        {
            # Stacked with the channels last, as they are in memory.
            shape: torch.stack([batch.clips[shape][row].permute(0, 2, 3, 1) for batch, row in batches]).permute(
                0, 1, 4, 2, 3
            )
            for shape in first.clips
        },
        torch.stack([batch.label_B[row] for batch, row in batches]),
        torch.stack([batch.video_B[row] for batch, row in batches]),
    )
    return joined.pin_memory() if first.label_B.is_pinned() else joined


def refuse_outage(loaded: Loaded) -> None:
    """Refuse a batch that lacks a clip because the data disk is away.

    Args:
        loaded: clips of a batch, or the reasons why there are none.

    Raises:
        DataAway: there is such a clip.
    """
    for failure in loaded.failures:
        if failure.is_outage:
            raise DataAway(failure.reason)


def _refuse_bad_start(num_good: int, num_bad: int, loaded: Loaded) -> None:
    """Refuse to go on where no clip could be read and many could not: the list, or all of its videos, are wrong.

    Raises:
        AllVideosBad: `_BAD_START` videos are bad, and no clip was good.
    """
    if not num_good and num_bad >= _BAD_START and loaded.failures:
        raise AllVideosBad(f"none of the first {num_bad} videos can be decoded; the last: {loaded.failures[-1].reason}")


class TestLoader:
    """Loader of a fixed list of clips (every view of every video; those of calibration), in order.

    A clip whose video is bad is left out of its batch.

    Args:
        dataset: data set of the list.
        batch_sampler: sampler of the batches.
        workers: loader workers.
        report_bad: function that is called with every clip that cannot be read.
        report_damaged: see `TrainLoader`.

    Attributes:
        failed: numbers of the videos of which a clip could not be read, up to the current batch.
        num_done: number of batches up to the current one, those before the sampler's first and empty ones too.
    """

    __test__ = False  # not a test case, whatever its name starts with

    def __init__(
        self,
        dataset: VideoDataset,
        batch_sampler: TestBatchSampler | CalibrationBatchSampler,
        workers: Workers,
        report_bad: Callable[[Failure], None],
        report_damaged: Callable[[int], None] = lambda index: None,
    ):
        self.dataset, self.batch_sampler, self.workers = dataset, batch_sampler, workers
        self.report_bad, self.report_damaged = report_bad, report_damaged
        self.failed: set[int] = set()
        self.num_done = self._start_batch

    def __len__(self) -> int:
        return len(self.batch_sampler)

    @property
    def _start_batch(self) -> int:
        return self.batch_sampler.start_batch if isinstance(self.batch_sampler, TestBatchSampler) else 0

    def __iter__(self) -> Iterator[ClipBatch]:
        self.failed.clear()
        self.num_done, num_good = self._start_batch, 0
        for loaded in self.workers.load(self.dataset, self.batch_sampler):
            refuse_outage(loaded)
            for index in loaded.damaged:
                self.report_damaged(index)
            for failure in loaded.failures:
                self.failed.add(failure.request.index)
                self.report_bad(failure)
            num_good += len(loaded.requests)
            _refuse_bad_start(num_good, len(self.failed), loaded)
            self.num_done += 1
            if loaded.batch is not None:
                yield loaded.batch

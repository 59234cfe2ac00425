"""Batches of clips, by torch's DataLoader: for training without gaps where videos are bad, for testing with a list of
those that failed."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import DataLoader

from mutualnet3d.data.batch_sampler import CalibrationBatchSampler, ClipRequest, TestBatchSampler, TrainBatchSampler
from mutualnet3d.data.dataset import Failure, Loaded, VideoDataset, collate
from mutualnet3d.shapes import ClipBatch


@dataclass(frozen=True)
class Workers:
    """Who loads: `number` processes (0: this one), and whether into pinned memory."""

    number: int = 0
    pin_memory: bool = False

    def load(self, dataset: VideoDataset, requests: Iterable[list[ClipRequest]]) -> Iterator[Loaded]:
        """What `dataset` makes of each list of requests, in order.

        Raises:
            RuntimeError: a worker process died.
        """
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=requests,
            num_workers=self.number,
            collate_fn=collate,
            # Without a generator of its own a loader draws from the global one, and a resumed run would differ.
            generator=torch.Generator(),
            pin_memory=self.pin_memory,
            worker_init_fn=_start_worker,
        )
        if self.number:
            # Garbage is destroyed here, once: a worker is a copy of this process without its threads, and what ends
            # with one of them would wait for it for ever.
            gc.collect()
        try:
            yield from loader
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise RuntimeError(
                f"{error}\nIf there was memory enough, a video crashed the decoder; `mutualnet3d check-videos` "
                "finds it."
            ) from error


def _start_worker(number: int) -> None:
    # A cluster signals all processes of a job; what it means is the training's to decide, and it needs its workers.
    for each in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    # What the process begins with is never collected: packets and frames make the collector run often.
    gc.freeze()


class TrainLoader:
    """Training batches, one for each step; a clip whose video is bad is replaced by the next of the stream.

    What the batches hold does not depend on the number of workers.

    Args:
        requests: the steps. They can be gone through once.
        report_bad: called with every video that is found bad, once.
    """

    def __init__(
        self,
        dataset: VideoDataset,
        requests: TrainBatchSampler,
        workers: Workers,
        report_bad: Callable[[Failure], None],
    ):
        self.dataset, self.requests, self.workers, self.report_bad = dataset, requests, workers, report_bad
        self._num_batches = max(requests.num_steps - requests.next_step, 0)

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[ClipBatch]:
        remaining = len(self)
        # For each clip that is there, by step and place in the stream: what it came with, and where in that.
        clips: dict[tuple[int, int], tuple[Loaded, int]] = {}
        loads = iter(self.workers.load(self.dataset, self.requests)) if remaining else iter(())
        for loaded in loads:
            for failure in loaded.failures:
                if self.requests.report_bad(failure.request):
                    self.report_bad(failure)
            for row, request in enumerate(loaded.requests):
                clips[request.step, request.position] = loaded, row
            while remaining and (batch := self._next_batch(clips)) is not None:
                remaining -= 1
                yield batch
            if not remaining:
                return

    def _next_batch(self, clips: dict[tuple[int, int], tuple[Loaded, int]]) -> ClipBatch | None:
        """The next step's batch, if all its clips are there."""
        following = self.requests.wanted()
        if following is None:
            return None
        step, positions = following
        if any((step, position) not in clips for position in positions):
            return None
        batch = _join([clips[step, position] for position in positions])
        for key in [key for key in clips if key[0] == step]:
            del clips[key]
        return replace(batch, next_position=self.requests.done())


def _join(rows: list[tuple[Loaded, int]]) -> ClipBatch:
    """One batch of clips from several; the batch itself if they are all of one, in order."""
    loaded = rows[0][0]
    if len(rows) == len(loaded.requests) and all(
        each is loaded and row == place for place, (each, row) in enumerate(rows)
    ):
        assert loaded.batch is not None
        return loaded.batch
    batches = [(each.batch, row) for each, row in rows if each.batch is not None]
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


class TestLoader:
    """The clips of a list of requests (every view of every video; calibration's), in order. A video that cannot give
    one is left out of its batch.

    Args:
        report_bad: called with every clip that cannot be had.

    Attributes:
        failed: the videos of which a clip could not be had, as far as the iteration has come.
    """

    __test__ = False  # not a test case, whatever its name starts with

    def __init__(
        self,
        dataset: VideoDataset,
        requests: TestBatchSampler | CalibrationBatchSampler,
        workers: Workers,
        report_bad: Callable[[Failure], None],
    ):
        self.dataset, self.requests, self.workers, self.report_bad = dataset, requests, workers, report_bad
        self.failed: set[int] = set()

    def __len__(self) -> int:
        return len(self.requests)

    def __iter__(self) -> Iterator[ClipBatch]:
        self.failed.clear()
        for loaded in self.workers.load(self.dataset, self.requests):
            for failure in loaded.failures:
                self.failed.add(failure.request.index)
                self.report_bad(failure)
            if loaded.batch is not None:
                yield loaded.batch

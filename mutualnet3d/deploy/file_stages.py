"""Run of many files through the stages of a plan: processes read them, this one runs the networks.

Clips gather by stage until a forward pass is full; all clips of a stage have one shape. A forward pass runs in a thread
while further files are read, one pass at a time. In memory are the clips of that pass, those that gather for the next
pass of each stage, and one video of each process, whatever the number of files. Results come in the order of
completion, so that a slow file delays no other.

A file whose process dies is read once more, by another process, since a kill for lack of memory may hit any of them. If
that process dies as well, the file is bad. A file that takes too long, or too much memory, is bad at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace

import torch

from mutualnet3d.data.check_videos import BAD
from mutualnet3d.data.file_reader import FileClips, FileReader, FileRequest, UnreadFile
from mutualnet3d.data.outage import OutageCheck
from mutualnet3d.deploy.prediction import ReadVideo
from mutualnet3d.deploy.stages import Forward, PlannedStage, StagedResult, read_together, run_pass
from mutualnet3d.process_pool import VIDEO_MEMORY, LostItem, map_in_processes
from mutualnet3d.shapes import ClipShape, SubnetConfig


@dataclass(frozen=True)
class FileWork:
    """Work on files that is the same for all of them.

    Args:
        stages: stages, the cheapest first.
        shapes_of: function that returns the clip shapes of a sub-network, one for each pathway.
        reader: function by which the processes read a file.
        forward: forward pass of clips of one shape.
        ensemble: way of putting a video's views together.
        batch_size: largest number of clips of a forward pass, unless a video has more.
        workers: number of processes that read, at least 1.
        timeout: longest time of reading a file, seconds, above 0.
        new_result: function that makes the empty result of a file, by its path.
    """

    stages: Sequence[PlannedStage]
    shapes_of: Callable[[SubnetConfig], tuple[ClipShape, ...]]
    reader: FileReader
    forward: Forward
    ensemble: str
    batch_size: int
    workers: int
    timeout: float
    new_result: Callable[[str], StagedResult] = StagedResult


def run_files(paths: Sequence[str], work: FileWork) -> Iterator[tuple[int, StagedResult | UnreadFile]]:
    """Yield number and result of every file, in the order of completion, see the module.

    The processes end with the iterator.

    Args:
        paths: paths of the files.
        work: work on every file.

    Raises:
        DataAway: the disk of the videos is missing.
        ValueError: a number is out of range.
    """
    run = _FileRun(paths, work)
    with ThreadPoolExecutor(1, "network") as network:
        while run.has_reads:
            reads = map_in_processes(
                work.reader, run.requests(), workers=work.workers, timeout=work.timeout, memory=VIDEO_MEMORY
            )
            with closing(reads):
                for place, read in reads:
                    yield from run.take(place, read, network)
            yield from run.flush(network)


@dataclass(frozen=True)
class _Read:
    """Reading of a file.

    Args:
        number: number of the file.
        stage: number of the first stage that takes its clips.
        is_second: True for a second try, after the process of the first one died.
    """

    number: int
    stage: int = 0
    is_second: bool = False


@dataclass(frozen=True)
class _Pass:
    """Forward pass that runs.

    Args:
        stage: number of the stage.
        videos: clips of the files for the stage, and for stages that were read together with it, by the number of the
            file.
        logits: future of the logits of the videos, and of their seconds.
    """

    stage: int
    videos: dict[int, list[ReadVideo]]
    logits: Future[tuple[torch.Tensor, float]]


class _FileRun:
    """State of `run_files`.

    Args:
        paths: paths of the files.
        work: work on every file.
    """

    def __init__(self, paths: Sequence[str], work: FileWork):
        self._paths, self._work = paths, work
        self._outage = OutageCheck(paths)
        self._fresh = iter(range(len(paths)))
        self._next = next(self._fresh, None)
        self._again: deque[_Read] = deque()
        self._reads: dict[int, _Read] = {}  # by their place among the requests
        self._gathered: list[dict[int, list[ReadVideo]]] = [{} for _ in work.stages]
        self._results: dict[int, StagedResult] = {}
        self._pass: _Pass | None = None

    @property
    def has_reads(self) -> bool:
        """True while files have to be read, for the first time or for a further stage."""
        return bool(self._again) or self._next is not None

    def requests(self) -> Iterator[FileRequest]:
        """Yield the files to be read, further stages and second tries first, as long as there are any."""
        self._reads.clear()
        place = 0
        while self.has_reads:
            if self._again:
                read = self._again.popleft()
            else:
                assert self._next is not None
                read = _Read(self._next)
                self._next = next(self._fresh, None)
            self._reads[place] = read
            place += 1
            views = self._work.stages[read.stage].views
            configs = [stage.config for stage in self._together(read.stage)]
            shapes = dict.fromkeys(shape for config in configs for shape in self._work.shapes_of(config))
            yield FileRequest(self._paths[read.number], tuple(shapes), views.spans, views.crops)

    def take(
        self, place: int, outcome: FileClips | UnreadFile | LostItem, network: ThreadPoolExecutor
    ) -> Iterator[tuple[int, StagedResult | UnreadFile]]:
        """Add the result of the reading of a file; yield the files that are done.

        Args:
            place: place of the request.
            outcome: clips, or the reason for their absence.
            network: thread of the forward passes.
        """
        read = self._reads.pop(place)
        if isinstance(outcome, LostItem):
            if outcome.died and not read.is_second:
                self._again.append(replace(read, is_second=True))
                return
            outcome = UnreadFile(BAD, f"{self._paths[read.number]}: {outcome.reason}")
        if isinstance(outcome, UnreadFile):
            self._outage.refuse(outcome.reason)
            self._results.pop(read.number, None)
            yield read.number, outcome
            return
        self._gathered[read.stage][read.number] = self._clips(read, outcome)
        if self._is_full(read.stage):
            yield from self._start(read.stage, network)
        elif self._pass is not None and self._pass.logits.done():
            yield from self._finish(network)

    def flush(self, network: ThreadPoolExecutor) -> Iterator[tuple[int, StagedResult | UnreadFile]]:
        """Run the gathered clips, full or not; yield the files that are done."""
        while self._pass is not None or any(self._gathered):
            yield from self._finish(network)
            for stage, videos in enumerate(self._gathered):
                if videos:
                    yield from self._start(stage, network)

    def _together(self, stage: int) -> list[PlannedStage]:
        stages = self._work.stages
        return read_together(stages[stage], stages[stage + 1] if stage + 1 < len(stages) else None)

    def _is_full(self, stage: int) -> bool:
        most = max(1, self._work.batch_size // self._work.stages[stage].views.count)
        return len(self._gathered[stage]) >= most

    def _clips(self, read: _Read, clips: FileClips) -> list[ReadVideo]:
        """Return the clips of a file for each stage of the reading, with its time at the first."""
        tensor_of = {shape: torch.from_numpy(views) for shape, views in clips.views_of.items()}
        path = self._paths[read.number]
        videos = []
        seconds = clips.decode_seconds, clips.prepare_seconds
        for stage in self._together(read.stage):
            tensors = tuple(tensor_of[shape] for shape in self._work.shapes_of(stage.config))
            videos.append(ReadVideo(path, stage.config, None, tensors, *seconds, clips.span_times))
            seconds = 0.0, 0.0
        return videos

    def _start(self, stage: int, network: ThreadPoolExecutor) -> Iterator[tuple[int, StagedResult | UnreadFile]]:
        """Start a forward pass, after the end of the running one."""
        while self._pass is not None:
            yield from self._finish(network)
        videos, self._gathered[stage] = self._gathered[stage], {}
        if videos:
            first = [clips[0] for clips in videos.values()]
            logits = network.submit(run_pass, self._work.stages[stage], first, self._work.forward)
            self._pass = _Pass(stage, videos, logits)

    def _finish(self, network: ThreadPoolExecutor) -> Iterator[tuple[int, StagedResult | UnreadFile]]:
        """Wait for the forward pass, if one runs; yield the files that are done after it."""
        if self._pass is None:
            return
        done, self._pass = self._pass, None
        logits_of, seconds = done.logits.result()
        stage, ensemble = self._work.stages[done.stage], self._work.ensemble
        for (number, clips), logits_VK in zip(done.videos.items(), logits_of, strict=True):
            result = self._results.pop(number, None) or self._work.new_result(self._paths[number])
            result.add(stage, clips[0], logits_VK, seconds / len(done.videos), ensemble)
            if done.stage + 1 == len(self._work.stages) or result.is_sure(stage.threshold, ensemble):
                yield number, result
                continue
            self._results[number] = result
            if len(clips) > 1:
                self._gathered[done.stage + 1][number] = clips[1:]
            else:
                self._again.append(_Read(number, done.stage + 1))
        if done.stage + 1 < len(self._work.stages) and self._is_full(done.stage + 1):
            yield from self._start(done.stage + 1, network)

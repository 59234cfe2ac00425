"""Preparation of a data set: all its videos encoded anew so that training reads them quickly, and its lists.

A file has its name only once it is whole, so a run that was stopped goes on where it was. What each was made of is in
the record (`preparation_record`): settings are not mixed, and changed videos are made anew. Processes of several
machines may share the work (`shared_work`).
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.outage import OutageCheck
from mutualnet3d.data.preparation_lists import PreparedLists, is_below, new_name
from mutualnet3d.data.preparation_plan import KEEP as KEEP
from mutualnet3d.data.preparation_plan import REDO as REDO
from mutualnet3d.data.preparation_plan import REFUSE, PreparationPlan, make_plan
from mutualnet3d.data.preparation_record import NAME as RECORD
from mutualnet3d.data.preparation_record import PreparationRecord
from mutualnet3d.data.shared_work import Record, SharedWork, Sharing, refuse_unfinished
from mutualnet3d.data.video_files import VIDEO_EXTENSIONS, find_files, passed_over_text
from mutualnet3d.data.work_status import StatusReader
from mutualnet3d.files.atomic import temporary_path, write_text
from mutualnet3d.files.claims import Claims
from mutualnet3d.files.unfinished import remove_abandoned
from mutualnet3d.log import logger, progress
from mutualnet3d.process_pool import VIDEO_MEMORY, LostItem, map_in_processes
from mutualnet3d.video.errors import VideoDecodeError, VideoEncodeError, is_of_memory
from mutualnet3d.video.transcode import Encoding, transcode

ENCODED, FAILED = "encoded", "failed"  # kinds of results in a shared work
Outcome = int | str  # of a video: number of damages, or the reason why it failed


@dataclass(frozen=True)
class PreparationSummary:
    """Number of a data set's videos that were encoded, were there already, or failed.

    Of the encoded ones it has also the number of those whose sources are damaged.
    """

    encoded: int
    present: int
    failed: int
    damaged: int = 0

    def __str__(self) -> str:
        total = self.encoded + self.present + self.failed
        damaged = f" ({self.damaged} of damaged sources, see {RECORD})" if self.damaged else ""
        return f"{total} videos: {self.encoded} encoded{damaged}, {self.present} there already, {self.failed} failed"


def prepare_videos(
    root: str,
    output: str,
    encoding: Encoding,
    *,
    lists: Sequence[str] = (),
    path_prefix: str = "",
    separator: str = " ",
    label_file: str = "",
    workers: int = 1,
    timeout: float = 3600.0,
    existing: str = REFUSE,
    sharing: Sharing | None = None,
) -> PreparationSummary:
    """Encode every video below `root` anew to the same place below `output`, with the extension .mp4; see `transcode`.

    Files that are there already are left if they were made of the same source with the same settings, as
    output/prepared.csv says; those whose source has another size or time, or that are not in it, are made anew. Videos
    that cannot be encoded are left out; output/failed.csv has a line `path,reason` for each. Of a video with damaged
    packets the other frames are encoded, those that training sees; the record has the number of damages.

    Args:
        root: folder of the videos.
        output: folder of the new videos, not below `root`.
        encoding: size and quality of the new videos.
        lists: Kinetics-style lists of videos below `root`; each is written to `output` under its own name, with the
            new paths, without the videos that failed, and labels.json with the classes' names: `label_file`'s, or those
            of classes.json or labels.json beside the list. missing.csv beside a list is copied. Reports of this project
            among them are passed over.
        path_prefix: folder of the lists' relative paths; "": that of the list.
        separator: character between path and label in the lists.
        label_file: path of the names of the classes; "": labels are numbers.
        workers: number of processes; each encodes with one thread.
        timeout: seconds that one video may take. One that takes more memory than `VIDEO_MEMORY` fails.
        existing: `REFUSE` to raise if files in `output` were encoded with other settings, or if there are files and no
            record; `REDO` to make these anew; `KEEP` to leave them (without a record: as if of these settings).
        sharing: circumstances of a work that processes of several machines share, all of which call this function
            with the same arguments (`workers` may differ); None to work alone. All return the summary of the whole
            work, when it is done; so does a later call.

    Raises:
        FileNotFoundError: there is no such folder or list.
        ValueError: no video, two videos with one output, a list that cannot be rewritten, lists of different class
            names, files of other settings, a number out of range; a shared work of other videos or settings.
        OSError: `output` cannot be written to.
        DataAway: the disk of the videos has gone away; the next start goes on.
    """
    root = _checked_root(root, output)
    files = find_files(root)
    names = files.videos
    if not names:
        raise ValueError(f"{root}: no video; looked for {' '.join(VIDEO_EXTENSIONS)}")
    _check_no_clash(names, root)
    new_lists = PreparedLists(lists, root, output, path_prefix, separator, label_file)
    if files.others:
        logger.info("%s: %s", root, passed_over_text(files.others))
    work = _Work(root, output, encoding, names, existing, workers, timeout)
    if sharing is None:
        refuse_unfinished(shared_folder(output))
        return work.alone(new_lists)
    settings = {"path_prefix": path_prefix, "separator": separator, "label_file": label_file}
    return work.with_others(new_lists, sharing, settings)


def status_of(output: str) -> str:
    """Return the state of a shared preparation, as text.

    Args:
        output: folder of its videos.

    Raises:
        FileNotFoundError: there is none.
    """
    status = StatusReader(shared_folder(output)).read()
    return str(status if status.result is None else PreparationSummary(**status.result))


def shared_folder(output: str) -> str:
    """Return the folder of a shared work on the videos below `output`."""
    return os.path.join(output, f"{RECORD}.work")


@dataclass(frozen=True)
class _Work:
    """Work of this process on a data set; see `prepare_videos`."""

    root: str
    output: str
    encoding: Encoding
    names: Sequence[str]
    existing: str
    workers: int
    timeout: float

    def alone(self, lists: PreparedLists) -> PreparationSummary:
        """Encode all videos; write record, report and lists."""
        plan, record, outcomes = self.plan(), PreparationRecord(self.output), dict[str, Outcome]()
        encoded = self.encode(plan.to_do)
        for name, outcome in progress(encoded, total=len(plan.to_do), what="videos encoded"):
            outcomes[name] = outcome
            if isinstance(outcome, int):
                record.add(name, replace(plan.to_do[name], damages=outcome))
        return self.write(plan, outcomes, lists)

    def with_others(self, lists: PreparedLists, sharing: Sharing, settings: Mapping[str, object]) -> PreparationSummary:
        """Encode a part of the videos, while processes of other machines encode the others."""
        # Paths as they are on all machines: reports and lists have them.
        settings = {"input": self.root, **asdict(self.encoding), "existing videos": self.existing, **settings}
        settings |= {**lists.hashes(), "timeout": self.timeout, "block": sharing.block, "lease": sharing.lease_seconds}
        folder = shared_folder(self.output)
        status = StatusReader(folder)
        with Claims(folder, sharing.lease_seconds) as claims:
            work = SharedWork(claims, settings, self.names, lambda: logger.info("%s", status.read()))

            def make_shared_plan() -> tuple[object, int, int]:
                plan = self.plan()
                return plan.to_json(), len(plan.to_do), len(plan.valid)

            values = work.join(make_shared_plan)
            plan = PreparationPlan({}, {}) if values is None else PreparationPlan.from_json(values)
            names = list(plan.to_do)

            def encode(items: Iterator[int]) -> Iterator[tuple[int, Record]]:
                numbers = dict[str, int]()

                def taken() -> Iterator[str]:
                    for item in items:
                        numbers[names[item]] = item
                        yield names[item]

                with contextlib.closing(self.encode(taken(), sample=names)) as encoded:
                    for name, outcome in encoded:
                        yield numbers[name], _record_of(outcome)

            work.run(encode, lambda item, record: record["kind"] == FAILED or os.path.isfile(self.target(names[item])))

            def write(records: Sequence[Record]) -> dict[str, int]:
                for place in {os.path.dirname(self.target(name)) for name in names}:
                    remove_abandoned(place)  # of killed processes
                outcomes = {name: _outcome_of(record) for name, record in zip(names, records, strict=True)}
                return asdict(self.write(plan, outcomes, lists))

            return PreparationSummary(**work.finish(write))

    def plan(self) -> PreparationPlan:
        return make_plan(self.root, self.output, self.names, self.encoding, self.existing)

    def target(self, name: str) -> str:
        return os.path.join(self.output, new_name(name))

    def encode(self, names: Iterable[str], sample: Iterable[str] | None = None) -> Generator[tuple[str, Outcome]]:
        """Encode some videos; yield name and outcome as they are done.

        Args:
            names: their names; each is taken when a process is free for it.
            sample: names of videos to tell an outage of the disk by; None: those.

        Raises:
            OSError: `output` cannot be written to.
            DataAway: the disk of the videos has gone away.
        """
        taken = list[str]()

        def jobs() -> Iterator[tuple[str, str]]:
            for name in names:
                taken.append(name)
                yield os.path.join(self.root, name), self.target(name)

        outage = OutageCheck([os.path.join(self.root, name) for name in (names if sample is None else sample)])
        function = partial(_encode, encoding=self.encoding)
        done = map_in_processes(function, jobs(), workers=self.workers, timeout=self.timeout, memory=VIDEO_MEMORY)
        with contextlib.closing(done):
            for index, result in done:
                if isinstance(result, LostItem):
                    with contextlib.suppress(FileNotFoundError):  # it had no time to do so itself
                        os.remove(temporary_path(self.target(taken[index]), result.pid))
                if isinstance(result, _NoOutput):
                    raise OSError(result.reason)
                if not isinstance(result, int):
                    outage.refuse(result.reason)
                yield taken[index], result if isinstance(result, int) else result.reason

    def write(self, plan: PreparationPlan, outcomes: Mapping[str, Outcome], lists: PreparedLists) -> PreparationSummary:
        """Write the record, failed.csv and the lists, all in the order of names; return the summary."""
        reasons = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, str)}
        damages = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, int)}
        made = {name: replace(plan.to_do[name], damages=number) for name, number in damages.items()}
        entries = plan.valid | made
        PreparationRecord(self.output).write({name: entries[name] for name in self.names if name in entries})

        text = io.StringIO()
        failed = [(os.path.join(self.root, name), reasons[name]) for name in plan.to_do if name in reasons]
        csv.writer(text, lineterminator="\n").writerows([("path", "reason"), *failed])
        write_text(os.path.join(self.output, "failed.csv"), text.getvalue())
        # Of files that another machine has just made a disk on a network may not tell yet.
        is_made = {self.target(name): name in entries for name in self.names}
        lists.write(lambda target: is_made[target] if target in is_made else os.path.isfile(target))
        num_damaged = sum(number > 0 for number in damages.values())
        return PreparationSummary(len(damages), len(plan.valid), len(reasons), num_damaged)


def _record_of(outcome: Outcome) -> Record:
    if isinstance(outcome, int):
        return {"kind": ENCODED, "damages": outcome}
    return {"kind": FAILED, "reason": outcome}


def _outcome_of(record: Record) -> Outcome:
    outcome: Outcome = record["reason"] if record["kind"] == FAILED else record["damages"]
    return outcome


def _checked_root(root: str, output: str) -> str:
    if not g_pathmgr.isdir(root):
        raise FileNotFoundError(f"no folder at {root}")
    root = os.path.abspath(g_pathmgr.get_local_path(root))
    if is_below(os.path.realpath(output), os.path.realpath(root)):
        raise ValueError(f"{output} lies in {root}; the next run would take its videos for new ones")
    return root


@dataclass(frozen=True)
class _Failed:
    reason: str


@dataclass(frozen=True)
class _NoOutput:
    reason: str


def _encode(job: tuple[str, str], encoding: Encoding) -> int | _Failed | _NoOutput:
    """Run `transcode` in a process of its own: a `_Failed` concerns one video, a `_NoOutput` would concern all."""
    source, target = job
    try:
        return transcode(source, target, encoding)
    except (VideoDecodeError, VideoEncodeError, MemoryError) as error:
        if is_of_memory(error):
            raise MemoryError from error
        return _Failed(str(error) if isinstance(error, VideoDecodeError) else f"{source}: {error}")
    except OSError as error:
        return _NoOutput(f"{target}: {type(error).__name__}: {error}")
    except (ValueError, ArithmeticError, RuntimeError) as error:
        return _Failed(f"{source}: cannot be encoded: {type(error).__name__}: {error}")


def _check_no_clash(names: Sequence[str], root: str) -> None:
    source_of: dict[str, str] = {}
    for name in names:
        other = source_of.setdefault(new_name(name), name)
        if other != name:
            raise ValueError(f"{root}: {other} and {name} would both become {new_name(name)}; rename one of them")

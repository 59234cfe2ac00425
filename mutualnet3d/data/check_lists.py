"""Check of the videos of lists: a report, and lists of the good ones."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import chain

from mutualnet3d.data.any_list import read_any_list
from mutualnet3d.data.check_videos import (
    ANY_LABEL,
    BAD,
    DAMAGED,
    FEWER,
    MISSING,
    OK,
    SHARED,
    SHORT,
    Note,
    Result,
    check_videos,
    checked_videos,
)
from mutualnet3d.data.list_labels import LabelSets
from mutualnet3d.data.lists import Video, path_in_list, write_list
from mutualnet3d.data.shared_videos import shared_videos
from mutualnet3d.data.shared_work import Record, SharedWork, Sharing, refuse_unfinished
from mutualnet3d.data.video_list import VideoList
from mutualnet3d.data.work_status import StatusReader
from mutualnet3d.files.atomic import write_text
from mutualnet3d.files.claims import Claims
from mutualnet3d.files.hashes import sha256_of
from mutualnet3d.log import logger


@dataclass(frozen=True)
class CheckSummary:
    """Number of videos of each status, and of videos with each kind of note."""

    ok: int
    missing: int
    bad: int
    short: int
    notes: Mapping[str, int] = field(default_factory=dict)

    @property
    def all_ok(self) -> bool:
        """True if every video can be used, with a note or without."""
        return self.missing == self.bad == self.short == 0

    def __str__(self) -> str:
        total = self.ok + self.missing + self.bad + self.short
        counts = f"{total} videos: {self.ok} ok, {self.missing} missing, {self.bad} bad, {self.short} short"
        return "; ".join([counts, *(f"{number} {kind}" for kind, number in self.notes.items() if number)])


def check_lists(
    list_paths: Sequence[str],
    output: str,
    *,
    clean_lists: Sequence[str] = (),
    path_prefix: str = "",
    separator: str = " ",
    label_file: str = "",
    min_frames: int = 1,
    workers: int = 1,
    timeout: float = 300.0,
    sharing: Sharing | None = None,
) -> CheckSummary:
    """Check every video of some lists; write a report and, if asked, the lists of the good ones.

    All files are whole or absent. The log says which lists share videos, by path or content; see `shared_videos`.

    Args:
        list_paths: paths of the lists.
        output: path of the report, CSV: `path,status,reason,note,listed_at` for each line of a list whose video is not
            ok or has a note, in the lists' order.
        clean_lists: a path for each list: lists of the good videos, lines `path label` in the list's order; empty:
            none. Paths stay relative if they were: to `path_prefix` if there is one, else to the new list's folder.
        path_prefix: folder of relative paths; "": that of the list.
        separator: character between path and label.
        label_file: path of the names of the classes; "": labels are numbers.
        min_frames: number of frames, 1 or more; a video of fewer is short.
        workers: number of processes, 1 or more.
        timeout: seconds that one video may take, above 0.
        sharing: circumstances of a check that processes of several machines share, all of which call this function
            with the same arguments (`workers` may differ); None to work alone. All return the summary of the whole
            check, when it is done; so does a later call.

    Raises:
        DataAway: the disk of the videos has gone away; nothing is written.
        FileNotFoundError, ValueError: see `read_kinetics_list`; a number that is out of range; other numbers of lists
            and clean lists; no good video to list; a shared check of other lists or settings.
    """
    if clean_lists and len(clean_lists) != len(list_paths):
        raise ValueError(f"{len(list_paths)} lists need as many clean lists, got {len(clean_lists)}")
    form = {"path_prefix": path_prefix, "separator": separator, "label_file": label_file}
    read = [read_any_list(path, ANY_LABEL, **form) for path in list_paths]
    lists = [videos for videos, _ in read]
    # Each is checked once, however often it is listed.
    paths = list(dict.fromkeys(path for videos in lists for path in videos.paths()))

    def write(results: Iterable[Result]) -> CheckSummary:
        of_path = {result.path: result for result in results}
        return _write_results(list_paths, read, of_path, output, clean_lists, path_prefix)

    if sharing is None:
        refuse_unfinished(shared_folder(output))
        return write(check_videos(paths, min_frames, workers, timeout))
    settings = {**form, "min_frames": min_frames, "timeout": timeout, "clean lists": list(clean_lists)}
    settings |= {"lists": list(list_paths), "block": sharing.block, "lease": sharing.lease_seconds}
    settings |= {path: f"with SHA-256 {sha256_of(path)}" for path in [*list_paths, *filter(None, [label_file])]}

    def check(items: Iterator[int]) -> Iterator[tuple[int, Record]]:
        numbers = list[int]()

        def taken() -> Iterator[str]:
            for item in items:
                numbers.append(item)
                yield paths[item]

        with closing(checked_videos(taken(), min_frames, workers, timeout, paths)) as checked:
            for index, result in checked:
                yield numbers[index], {"kind": result.status, **asdict(result)}

    with Claims(shared_folder(output), sharing.lease_seconds) as claims:
        status = StatusReader(claims.folder)
        work = SharedWork(claims, settings, paths, lambda: logger.info("%s", status.read()))
        work.join(lambda: (None, len(paths), 0))
        work.run(check)
        return CheckSummary(**work.finish(lambda records: asdict(write(map(_result_of, records)))))


def shared_folder(output: str) -> str:
    """Return the folder of a shared check whose report is `output`."""
    return f"{output}.work"


def status_of(output: str) -> str:
    """Return the state of a shared check, as text.

    Args:
        output: path of its report.

    Raises:
        FileNotFoundError: there is none.
    """
    status = StatusReader(shared_folder(output)).read()
    return str(status if status.result is None else CheckSummary(**status.result))


def _result_of(record: Record) -> Result:
    notes = tuple(Note(**note) for note in record["notes"])
    return Result(record["path"], record["status"], record["reason"], record["num_frames"], notes)


def _write_results(
    list_paths: Sequence[str],
    read: Sequence[tuple[VideoList, LabelSets | None]],
    results: Mapping[str, Result],
    output: str,
    clean_lists: Sequence[str],
    path_prefix: str,
) -> CheckSummary:
    """Write the report and the clean lists; see `check_lists`."""
    lists = [videos for videos, _ in read]
    shared = _notes_of_shared(list_paths, lists)

    report = io.StringIO()
    rows = csv.writer(report, lineterminator="\n")
    rows.writerow(["path", "status", "reason", "note", "listed_at"])
    status_count, note_count = Counter[str](), Counter[str]({FEWER: 0, DAMAGED: 0, SHARED: 0})
    for video in chain.from_iterable(lists):
        result = results[video.path]
        notes = (*result.notes, *shared.get(video.listed_at, ()))
        status_count[result.status] += 1
        note_count.update({note.kind for note in notes})
        if result.status != OK or notes:
            texts = "; ".join(note.text for note in notes)
            rows.writerow([result.path, result.status, result.reason, texts, video.listed_at])
    write_text(output, report.getvalue())

    for list_path, clean_list, (videos, label_sets) in zip(list_paths, clean_lists, read, strict=False):
        good = [video for video in videos if results[video.path].status == OK]
        if not good:
            raise ValueError(f"{clean_list} is not written: no video of {list_path} is ok; {output} says why")
        labels = label_sets.texts() if label_sets else None
        write_list(
            clean_list,
            [
                (
                    _path_to_write(video, list_path, clean_list, path_prefix),
                    labels[video.label] if labels else video.label,
                )
                for video in good
            ],
        )
    count = status_count
    return CheckSummary(count[OK], count[MISSING], count[BAD], count[SHORT], dict(note_count))


def _notes_of_shared(list_paths: Sequence[str], lists: Sequence[VideoList]) -> dict[str, list[Note]]:
    """Return the notes about videos that two lists share, by the place of their lines; log their numbers."""
    notes: dict[str, list[Note]] = defaultdict(list)
    for (first, second), pairs in shared_videos(lists).items():
        num_copies = sum(pair.is_copy for pair in pairs)
        logger.warning(
            "%s: %d of %d videos are in %s too, %d of them as another file of the same content; the first: %s, %s",
            list_paths[second],
            len(pairs),
            len(lists[second]),
            list_paths[first],
            num_copies,
            pairs[0].video.path,
            pairs[0],
        )
        for pair in pairs:
            notes[pair.video.listed_at].append(Note(SHARED, str(pair)))
    return notes


def _path_to_write(video: Video, list_path: str, clean_list: str, path_prefix: str) -> str:
    """Return a listed video's path in the form that a list at `clean_list` needs."""
    base = path_prefix or os.path.dirname(list_path)
    relative = video.path.removeprefix(os.path.join(base, "")) if base else video.path
    if relative == video.path and (base or os.path.isabs(relative) or "://" in relative):
        return video.path  # it was not relative
    folders_differ = os.path.abspath(os.path.dirname(clean_list)) != os.path.abspath(os.path.dirname(list_path))
    if folders_differ and not path_prefix:
        return path_in_list(video.path, os.path.dirname(clean_list))
    return relative
